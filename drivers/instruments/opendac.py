"""Driver of OpenDAC-type Arduino boards: ±10 V DACs and slow ADCs on one serial line.

The unit on the wire (V or mV) follows from the whole identity; every acknowledgement repeats
channel and unit and is checked. Opening the port may restart the board.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.drivers.errors import (
    DeviceError,
    IdentityError,
    InstrumentError,
    LimitError,
    StateLostError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import FixedProbe, LineProtocol
from eqp_hw.drivers.transports.session import Session
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings

from .checks import Count, SourceOptions, check_identity, not_connected, open_session, twice
from .clock import Clock
from .interface import Identity, Samples
from .limits import SourceLimits, check_channels, check_samples, source_limits
from .opendac_wire import (
    DIALECTS,
    FULL_SCALE_V,
    TOP_CODE,
    BoardDialect,
    parse_update,
    parse_volts,
)
from .outputs import OutputBank
from .presence import Presence
from .source_driver import SourceDriver
from .table_factory import TableFactory

__all__ = ["OpenDac", "OpenDacFactory", "OpenDacOptions"]


@final
class OpenDacOptions(SourceOptions):
    """Options of ``kind = "opendac"``."""

    unit: Literal["V", "mV"] | None = Field(
        None, description="what the identity must imply; refused where it implies the other"
    )
    channels: Count | None = Field(None, description="DAC channels, where not all are there")
    adc_channels: Count | None = Field(None, description="ADC channels, where not all are there")
    reset_on_open: bool = Field(True, description="whether opening the port may restart the board")


def _refusal(line: bytes) -> InstrumentError | None:
    if line == b"NOP":
        return DeviceError("the board does not know the command (NOP)", code=1)
    if line == b"VOLTAGE_OVERRANGE":
        return DeviceError("the board refuses the voltage (VOLTAGE_OVERRANGE)", code=2)
    return None


_PROTOCOL = LineProtocol(request_end=b"\r", reply_end=b"\r\n", refusal=_refusal)


@final
class OpenDac(SourceDriver):
    """A DAC/ADC board."""

    description: ClassVar[str] = "OpenDAC-type Arduino DAC/ADC boards (unit pinned by identity)"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: OpenDacOptions,
        transport: Transport,
        clock: Clock,
    ) -> None:
        session = Session(transport, _PROTOCOL, FixedProbe(b"*RDY?", b"READY"), name=name)
        presence = Presence(session, name, lambda: _restart_error(name))
        super().__init__(name, settings, session, presence, clock)
        self._options = options
        self._dialect: BoardDialect | None = None
        self._identity = ""

    @property
    @override
    def n_channels(self) -> int:
        return self._options.channels or self._speaks().n_channels

    @property
    def n_adc_channels(self) -> int:
        """Number of ADC channels, known after `connect`."""
        return self._options.adc_channels or self._speaks().n_adc

    @property
    @override
    def full_scale_V(self) -> float:
        return FULL_SCALE_V

    @property
    @override
    def resolution_V(self) -> float:
        return FULL_SCALE_V / TOP_CODE

    @override
    def _identify(self) -> Identity:
        open_session(self._session, self.name, "no OpenDAC board")
        self._see_identity()
        return Identity("OpenDAC", self._identity, "", "", self._identity)

    @override
    def _limits(self) -> SourceLimits:
        return source_limits(
            self.name,
            self._settings.limits,
            highest_V=np.full(self.n_channels, FULL_SCALE_V),
            bipolar=True,
            resistance_ohm=self._options.resistance_ohm,
        )

    @override
    def _resume(self, bank: OutputBank) -> tuple[bool, FloatArray | None]:
        self._session.recover(patience_s=self._settings.timeout_s)
        self._see_identity(self._identity)
        held = self._held()
        agrees = held is not None and bank.agrees(held, self._slack_V)
        return agrees and not self._presence.restarted, held

    @override
    def check_errors(self) -> None:
        bank = self._ready()
        held = self._held()
        if held is not None and not bank.agrees(held, self._slack_V):
            self._note_restart()
            raise self._presence.restart_error()

    @override
    def measure_voltages(self, channels: IntArray) -> FloatArray:
        check_channels(self.name, channels, self.n_channels)
        raise CapabilityError(f"{self.name} cannot measure its outputs; see setpoint_V")

    @override
    def measure_currents(self, channels: IntArray) -> FloatArray:
        check_channels(self.name, channels, self.n_channels)
        raise CapabilityError(f"{self.name} cannot measure currents")

    def read_adc(self, channels: IntArray, n_samples: int = 1) -> Samples:
        """Convert ADC channels one after another, ``n_samples`` times.

        Raises
        ------
        LimitError
            No such channel, or nothing to read.
        ProtocolError
            No number, or one beyond the board's range.
        """
        self._ready()
        dialect = self._speaks()
        index = check_channels(self.name, channels, self.n_adc_channels)
        check_samples(self.name, n_samples)
        started_s = time.monotonic()
        rows = [
            [
                self._session.ask(
                    f"GET_ADC,{k}".encode(),
                    lambda line: parse_volts(line, dialect),
                    idempotent=True,
                )
                for k in index
            ]
            for _ in range(n_samples)
        ]
        return Samples(np.array(rows), started_s, time.monotonic())

    @override
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        return {
            "identity": self._test_identity,
            "outputs": self._test_outputs,
            "converter": self._test_converter,
        }

    @override
    def _write_zeros(self) -> None:
        self._send(np.arange(self.n_channels), np.zeros(self.n_channels))

    @override
    def safe_messages(self) -> Sequence[bytes]:
        largest = max(dialect.n_channels for dialect in DIALECTS.values())
        n = self._options.channels or (self._dialect.n_channels if self._dialect else largest)
        return [b"\r", *(f"SET,{channel},0\r".encode("ascii") for channel in range(n))]

    def _speaks(self) -> BoardDialect:
        if self._dialect is None:
            raise not_connected(self.name)
        return self._dialect

    def _see_identity(self, wanted: str | None = None) -> None:
        raw = twice(
            self.name, lambda: self._session.query(b"*IDN?", idempotent=True).decode("latin-1")
        )
        check_identity(self.name, raw, self._settings.identity)
        if raw not in DIALECTS or (wanted is not None and raw != wanted):
            raise IdentityError(
                f"{raw!r} answers: no firmware whose unit (V or mV) is known"
                if raw not in DIALECTS
                else f"{raw!r} answers where {wanted!r} was",
                instrument=self.name,
                advice=f"known: {', '.join(DIALECTS)}",
            )
        dialect = DIALECTS[raw]
        if self._options.unit not in {None, dialect.unit}:
            raise IdentityError(
                f"{raw!r} speaks {dialect.unit}, the rig file says {self._options.unit}",
                instrument=self.name,
                advice=f"instruments.{self.name}.unit",
            )
        self._dialect, self._identity = dialect, raw

    @override
    def _send(self, channels: IntArray, voltage_V: FloatArray) -> FloatArray:
        dialect = self._speaks()
        codes = np.rint(voltage_V / self.resolution_V).astype(np.int64)
        accepted = np.empty(len(channels))
        for k, (channel, code) in enumerate(zip(channels.tolist(), codes.tolist(), strict=True)):

            def parse(line: bytes, channel: int = channel, wanted: float = voltage_V[k]) -> float:
                value = parse_update(line, channel, dialect)
                if abs(value - wanted) > self._slack_V:
                    raise ValueError(f"channel {channel} went to {value:g} V, not {wanted:g} V")
                return value

            # Not asked again where the acknowledgement misfits: another channel may have moved.
            accepted[k] = self._session.ask(dialect.set_message(channel, code), parse)
        return accepted

    @override
    def _present(self, channels: IntArray) -> FloatArray:
        held = self._held()
        if held is None:
            raise LimitError(
                "cannot ramp from an unknown set-point: the firmware does not tell it",
                field=f"instruments.{self.name}.limits.slew_V_per_s",
            )
        return held[channels]

    @override
    def _held(self) -> FloatArray | None:
        # What the DACs hold by their own account; an old firmware does not tell.
        dialect = self._speaks()
        try:
            return np.array(
                [
                    self._session.ask(
                        f"GET_DAC,{k}".encode(),
                        lambda line: parse_volts(line, dialect),
                        idempotent=True,
                    )
                    for k in range(self.n_channels)
                ]
            )
        except DeviceError as error:
            self._log.info("set-points cannot be read back: %s", error)
            return None

    @property
    def _slack_V(self) -> float:
        """How far the board's own account of a set-point may be off."""
        return 1.5 * self.resolution_V

    def _test_identity(self) -> str:
        self._see_identity(self._identity)
        return f"{self._identity}, speaks {self._speaks().unit}"

    def _test_outputs(self) -> str:
        self.check_errors()
        return "as set"

    def _test_converter(self) -> str:
        values = self.read_adc(np.arange(self.n_adc_channels)).voltage_V
        return ", ".join(f"{value:.4f} V" for value in values[0])


def _restart_error(instrument: str) -> StateLostError:
    return StateLostError(
        "the outputs are not what was written: the board has restarted",
        code=0,
        instrument=instrument,
        advice="recover, then write everything again",
    )


@final
class OpenDacFactory(TableFactory[OpenDacOptions, OpenDac]):
    """Makes boards."""

    description: ClassVar[str] = OpenDac.description
    options_type = OpenDacOptions

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: OpenDacOptions) -> OpenDac:
        wire = self._wire(name, settings, reset_on_open=options.reset_on_open)
        return OpenDac(name, settings, options, wire, self._clock)
