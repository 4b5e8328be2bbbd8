"""The dialogue with a Qontrol chain: who is there, and what it measures."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.drivers.errors import (
    DeviceError,
    IdentityError,
    IncompleteError,
    InstrumentError,
    StateLostError,
    TransportTimeout,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import FixedProbe, LineProtocol
from eqp_hw.drivers.transports.session import Session
from eqp_hw.network.graph import FloatArray, IntArray

from .checks import twice
from .qontrol_wire import (
    IDENTITY_PATTERN,
    POWERED_UP,
    REFUSALS,
    Module,
    QontrolEvent,
    number_in,
    parse_event,
    parse_identity,
    parse_ok,
    strip_line,
)

__all__ = ["ASK_ALL_FROM", "QontrolChain", "device_error", "restart_error"]

ASK_ALL_FROM = 4
"""``VALL?`` of n channels takes about 3 + 2n ms, n single reads 6n to 8n ms."""
QUESTIONS_AT_ONCE = 8
"""Single reads sent together: 56 bytes at most, well below the line that overruns the buffer."""


def _refusal(line: bytes) -> InstrumentError | None:
    event = parse_event(line)
    if event is None:
        return None
    if event.code == POWERED_UP:
        return restart_error()
    if event.code in REFUSALS:
        return device_error(event)
    return None


def restart_error(instrument: str = "") -> StateLostError:
    """Return the error of ``E90``."""
    return StateLostError(
        "the instrument has restarted, its outputs are zero",
        code=POWERED_UP,
        instrument=instrument,
        advice="recover, then write everything again",
    )


def device_error(event: QontrolEvent, instrument: str = "", advice: str = "") -> DeviceError:
    """Return the error of an error line."""
    return DeviceError(
        f"channel {event.channel} reports E{event.code:02d}, {event.text}",
        code=event.code,
        channel=event.channel,
        instrument=instrument,
        advice=advice,
    )


_PROTOCOL = LineProtocol(
    request_end=b"",  # binary frames may hold any byte
    strip=b"\r\n\x00\x06\t ",
    is_event=lambda line: parse_event(line) is not None,
    refusal=_refusal,
    longest=256,
)


@final
class QontrolChain:
    """Questions to a chain over one wire.

    Parameters
    ----------
    transport
        The wire.
    name
        Name in the rig file.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self._name = name
        self.session = Session(
            transport, _PROTOCOL, FixedProbe(b"id?\n", IDENTITY_PATTERN), name=name
        )

    def write(self, data: bytes) -> None:
        """Send an absolute setting and see it acknowledged."""
        self.session.ask(data, parse_ok, idempotent=True)

    def count_modules(self, wanted: int | None) -> list[Module]:
        """Ask the whole chain who is there; nobody says beforehand how many lines will come.

        Raises
        ------
        IncompleteError
            Another number of modules than ``wanted``.
        """
        wire = self.session.transport
        for _ in range(3):
            wire.write(b"idall?\n")
            quiet_s = min(max(0.1, 0.25 * wire.timeout_s), 0.5)
            lines = [strip_line(line) for line in wire.listen(quiet_s).split(b"\n")]
            lines = [line for line in lines if line and parse_event(line) is None]
            try:
                modules = [parse_identity(line) for line in lines]
            except ValueError:
                modules = []
            if modules and len(modules) == (wanted or len(modules)):
                return modules
            self.session.resynchronise()
        if modules:
            raise IncompleteError(
                f"the chain has {len(modules)} modules",
                option="modules",
                instrument=self._name,
                advice=f"instruments.{self._name}.modules = {wanted}: "
                "is a module unplugged or unpowered?",
            )
        raise TransportTimeout("no usable answer to idall?", instrument=self._name)

    def first_module(self) -> Module:
        """Ask for the first module."""
        return self.session.ask(b"id?\n", parse_identity, idempotent=True)

    def prepare(self, modules: list[Module]) -> None:
        """Enumerate the modules, which must be the ones given.

        Raises
        ------
        IdentityError
            They are not.
        """
        n = len(modules)
        self.session.ask_lines(b"nup=0\n", n, parse_ok, idempotent=True)

        def ask() -> list[Module]:
            return self.session.ask_lines(b"nupall?\n", n, parse_identity, idempotent=True)

        found = ask()
        if found != modules:
            found = twice(self._name, ask)
        if found != modules:
            raise IdentityError(
                f"{', '.join(map(str, found))} answers, not {', '.join(map(str, modules))}",
                instrument=self._name,
                advice="connect again to work with another chain",
            )

    def read_all(self, quantity: str, unit: str, n_channels: int) -> FloatArray:
        """Return a quantity of all channels, (n_channels,) in ``unit``."""
        lines = self.session.ask_lines(
            f"{quantity}ALL?\n".encode(), n_channels, number_in(unit), idempotent=True
        )
        return np.array(lines)

    def read(
        self, index: IntArray, n_channels: int, quantity: str = "V", unit: str = "V"
    ) -> FloatArray:
        """Return a quantity of some channels: all at once where that is quicker."""
        if len(index) * ASK_ALL_FROM > n_channels:
            return self.read_all(quantity, unit, n_channels)[index]
        questions = [f"{quantity}{k}?\n".encode() for k in index]
        values: list[float] = []
        for first in range(0, len(questions), QUESTIONS_AT_ONCE):
            some = questions[first : first + QUESTIONS_AT_ONCE]
            values += self.session.ask_each(some, number_in(unit))
        return np.array(values)
