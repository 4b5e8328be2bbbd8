"""Question and answer with an IEEE 488.2 / SCPI instrument.

Commands and the questions that prove them go out as one message: an answer shows that the whole
message arrived. A restart shows in bit 7 of ``*ESR?``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar, final

from eqp_hw.drivers.errors import (
    DeviceError,
    IdentityError,
    InstrumentError,
    ProtocolError,
    StateLostError,
    TransportError,
    TransportTimeout,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import LineProtocol, NonceProbe, SyncProbe
from eqp_hw.drivers.transports.session import Session

from .checks import check_identity, not_connected, open_session, twice
from .interface import Identity
from .presence import Presence
from .scpi_wire import (
    Part,
    ScpiReport,
    joined,
    parse_number,
    parse_scpi_identity,
    split_answers,
)
from .scpi_wire import parse_report as parse_scpi_report

__all__ = ["IEEE_488_PROBE", "POWER_ON", "ScpiLink"]

T = TypeVar("T")

IEEE_488_PROBE = NonceProbe(b"*ESE %d;*ESE?")
"""Gives back a number through the event enable register, which nothing here uses."""
POWER_ON = 128
"""Bit of ``*ESR?``."""
_MISTAKES = 8 | 16 | 32
"""Bits of ``*ESR?``: device, execution and command error."""
_MAX_REPORTS = 50


@final
class ScpiLink:
    """Messages to one instrument.

    Parameters
    ----------
    transport
        The wire.
    name
        Name in the rig file.
    probe
        Proves that question and answer are in step.
    error_query
        Asks for the oldest entry of the error queue.
    parse_report
        Reads that entry; None for "no error", ValueError for another form.
    events_query
        Asks for the event register, None where there is none.
    join
        Whether units go out together, separated by semicolons.
    line_end
        Of requests and replies.
    """

    def __init__(
        self,
        transport: Transport,
        name: str,
        *,
        probe: SyncProbe = IEEE_488_PROBE,
        error_query: str = "SYST:ERR?",
        parse_report: Callable[[str], ScpiReport | None] = parse_scpi_report,
        events_query: str | None = "*ESR?",
        join: bool = True,
        line_end: bytes = b"\n",
    ) -> None:
        protocol = LineProtocol(request_end=line_end, reply_end=line_end)
        self.session = Session(transport, protocol, probe, name=name)
        self._name = name
        self._error_query = error_query
        self._parse_report = parse_report
        self._events_query = events_query
        self._join = join
        self._identity: Identity | None = None
        self.presence = Presence(self.session, name, lambda: _restart_error(name))
        """What is known of restarts."""
        self._log = logging.getLogger(f"eqp_hw.drivers.{name}")

    @property
    def is_open(self) -> bool:
        """Whether the wire is open."""
        return self.session.transport.is_open

    def connect(self, wanted: str | None, known: Callable[[Identity], bool]) -> Identity:
        """Open the wire and identify; forget errors and events of before.

        Parameters
        ----------
        wanted
            What the identity must contain.
        known
            Whether this driver is made for such an instrument.

        Raises
        ------
        IdentityError
            Another instrument answers; nothing but questions was sent.
        """
        try:
            open_session(self.session, self._name, "another instrument answers")
            identity = twice(self._name, self._ask_identity)
            check_identity(self._name, identity.raw, wanted)
            if not known(identity):
                raise IdentityError(
                    f"{identity.raw!r} answers, no instrument of this kind",
                    instrument=self._name,
                    advice="check address and kind in the rig file",
                )
            self._identity = identity
            self.clear_reports()
            self.presence.restarted = False
        except BaseException:
            self.session.close()
            raise
        return identity

    def recover(self, patience_s: float) -> None:
        """Bring question and answer into step, reopen if need be, and identify again.

        Raises
        ------
        IdentityError
            Another instrument answers than before.
        TransportError
            It cannot be recovered, or was never connected.
        """
        if self._identity is None:
            raise not_connected(self._name)
        self.session.recover(patience_s=patience_s)
        identity = twice(self._name, self._ask_identity)
        if identity.raw != self._identity.raw:
            raise IdentityError(
                f"{identity.raw!r} answers where {self._identity.raw!r} was",
                instrument=self._name,
            )
        self.clear_reports()

    def ask(self, text: str, parse: Callable[[str], T], *, timeout_s: float | None = None) -> T:
        """Ask one question; see `run` for errors."""

        def read(line: bytes) -> T:
            return parse(line.decode("latin-1"))

        self.presence.require()
        try:
            return self.session.ask(
                text.encode("ascii"), read, idempotent=True, timeout_s=timeout_s
            )
        except (TransportTimeout, ProtocolError) as error:
            raise self.explained(error) from error

    def ask_block(self, text: str, parse: Callable[[bytes], T], length: int) -> T:
        """Ask for a block of ``length`` bytes; see `run` for errors."""
        self.presence.require()
        try:
            data = self.session.ask_block(text.encode("ascii"), length=length, idempotent=True)
            return parse(data)
        except (TransportTimeout, ProtocolError) as error:
            raise self.explained(error) from error
        except ValueError as error:
            raise ProtocolError(
                f"the block does not fit: {error}",
                instrument=self._name,
                advice="overrange: is the detector's range large enough?",
            ) from None

    def run(self, parts: Sequence[Part], parse: Callable[[list[str]], T]) -> T:
        """Send units and read all their answers; ``parse`` raises ValueError where they misfit.

        Only for what may be sent twice: questions and absolute set-points.

        Raises
        ------
        DeviceError
            The instrument objected, so that an answer is missing.
        StateLostError
            It has restarted.
        TransportError
            The outcome is unknown.
        """
        if not self._join:
            return self._run_apart(parts, parse)
        answers: list[str] = []
        for text, count in joined(parts):

            def read(line: str, count: int = count) -> list[str]:
                found = split_answers(line)
                if len(found) != count:
                    raise ValueError(f"{len(found)} answers, not {count}")
                return found

            own = self.ask(text, read)
            answers += own
        n_wanted = sum(part.answers for part in parts)
        return self._parsed(answers[-n_wanted:] if n_wanted else [], parse)

    def _run_apart(self, parts: Sequence[Part], parse: Callable[[list[str]], T]) -> T:
        answers = []
        for part in parts:
            self.presence.require()
            if part.answers:
                answers.append(self.ask(part.text, str))
            else:
                self.session.command(part.text.encode("ascii"), idempotent=True)
        return self._parsed(answers, parse)

    def _parsed(self, answers: list[str], parse: Callable[[list[str]], T]) -> T:
        try:
            return parse(answers)
        except ValueError as error:
            self.session.transport.mark_dirty()
            raise self.explained(
                ProtocolError(f"the answers do not fit: {error}", instrument=self._name)
            ) from None

    def check(self) -> None:
        """Ask once whether it has restarted or queued an error.

        Raises
        ------
        DeviceError
            The oldest entry of the queue; the queue is emptied.
        StateLostError
            It has restarted.
        """
        self.presence.require()
        self.judge(self._events(), self._report())

    def judge(self, events: int, report: ScpiReport | None) -> None:
        """Raise what ``*ESR?`` and the error queue say; errors as `check`."""
        if events & POWER_ON:
            self.presence.restarted = True
            raise self.presence.restart_error()
        if report is not None:
            self.clear_reports()
            raise self.device_error(report)
        if events & _MISTAKES:
            raise DeviceError(
                f"the event register is {events}: a message was refused",
                code=events,
                instrument=self._name,
            )

    def device_error(self, report: ScpiReport) -> DeviceError:
        """Return the error of an entry of the queue; SCPI names no channel."""
        return DeviceError(f"{report.code}, {report.text}", code=report.code, instrument=self._name)

    def explained(self, error: TransportError) -> InstrumentError:
        """Return what the instrument itself says of a failed question, else ``error``."""
        if not self.is_open:
            return error
        try:
            self.judge(self._events(), self._report())
        except DeviceError as better:
            self._log.info("%s, because: %s", error, better)
            return better
        except TransportError as further:
            self._log.debug("no explanation: %s", further)
        return error

    def clear_reports(self) -> None:
        """Empty the error queue, logging what is in it; events too.

        A restart among the events is noted in `presence`.
        """
        if self._events() & POWER_ON:
            self.presence.restarted = True
        for _ in range(_MAX_REPORTS):
            report = self._report()
            if report is None:
                return
            self._log.warning("cleared: %d, %s", report.code, report.text)

    def parse_events(self, text: str) -> int:
        """Read the answer to ``*ESR?``."""
        value = parse_number(text)
        if not (value.is_integer() and 0 <= value <= 255):
            raise ValueError("not an event register")
        return int(value)

    def parse_report(self, text: str) -> ScpiReport | None:
        """Read an entry of the error queue."""
        return self._parse_report(text)

    @property
    def error_query(self) -> str:
        """What asks for the oldest entry of the error queue."""
        return self._error_query

    def _events(self) -> int:
        if self._events_query is None:
            return 0
        return self.session.ask(
            self._events_query.encode("ascii"),
            lambda line: self.parse_events(line.decode("latin-1")),
            idempotent=True,
        )

    def _report(self) -> ScpiReport | None:
        return self.session.ask(
            self._error_query.encode("ascii"),
            lambda line: self._parse_report(line.decode("latin-1")),
            idempotent=True,
        )

    def _ask_identity(self) -> Identity:
        try:
            return self.session.ask(
                b"*IDN?",
                lambda line: parse_scpi_identity(line.decode("latin-1")),
                idempotent=True,
            )
        except ProtocolError as error:
            raise IdentityError(error.problem, instrument=self._name) from error


def _restart_error(instrument: str) -> StateLostError:
    return StateLostError(
        "the instrument has restarted, its settings are lost",
        code=POWER_ON,
        instrument=instrument,
        advice="recover, then write everything again",
    )
