"""Driver of OpenDAC-type Arduino boards: ±10 V DACs and slow ADCs on one serial line.

The unit on the wire (V or mV) follows from the whole identity; every acknowledgement repeats
channel and unit and is checked. Opening the port may restart the board.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.drivers.errors import (
    DeviceError,
    IdentityError,
    InstrumentError,
    LimitError,
    LostError,
    ProtocolError,
    StateLostError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import FixedProbe, LineProtocol
from eqp_hw.drivers.transports.session import Session
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.substrate import SelfTestStep

from .checks import Count, SourceOptions, check_identity, named_step, require_open, twice
from .clock import Clock
from .interface import Identity, MultichannelSource, Samples
from .limits import check_channels, source_limits
from .opendac_wire import (
    DIALECTS,
    FULL_SCALE_V,
    TOP_CODE,
    BoardDialect,
    parse_update,
    parse_volts,
)
from .outputs import OutputBank
from .safe_state import make_safe
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
class OpenDac(MultichannelSource):
    """A DAC/ADC board.

    Parameters
    ----------
    name
        Name in the rig file.
    settings
        Its table there.
    options
        The options of this kind.
    transport
        The wire.
    clock
        What ramps go by.
    """

    description: ClassVar[str] = "OpenDAC-type Arduino DAC/ADC boards (unit pinned by identity)"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: OpenDacOptions,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self.name = name
        self._settings = settings
        self._options = options
        self._clock = clock
        self._session = Session(transport, _PROTOCOL, FixedProbe(b"*RDY?", b"READY"), name=name)
        self._dialect: BoardDialect | None = None
        self._identity = ""
        self._restarted = False
        self._bank: OutputBank | None = None
        self._log = logging.getLogger(f"eqp_hw.drivers.{name}")

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

    @property
    @override
    def setpoint_V(self) -> FloatArray:
        return self._outputs().setpoint_V

    def set_resistance(self, resistance_ohm: FloatArray) -> None:
        """Judge currents and powers by measured loads, (n_channels,) ohm."""
        self._outputs().set_resistance(resistance_ohm)

    @override
    def connect(self) -> Identity:
        try:
            try:
                self._session.open()
            except ProtocolError as error:
                raise IdentityError(
                    f"no OpenDAC board: {error.problem}",
                    instrument=self.name,
                    advice="check the address in the rig file",
                ) from error
            self._identify()
            limits = source_limits(
                self.name,
                self._settings.limits,
                highest_V=np.full(self.n_channels, FULL_SCALE_V),
                bipolar=True,
                resistance_ohm=self._options.resistance_ohm,
            )
            self._restarted = False
            self._bank = OutputBank(limits, self.resolution_V, self._clock)
            held = self._held()
            if held is not None:
                self._bank.observe(held)
        except BaseException:
            self._session.close()
            raise
        return Identity("OpenDAC", self._identity, "", "", self._identity)

    @override
    def recover(self) -> bool:
        bank = self._outputs()
        self._session.recover(patience_s=self._settings.timeout_s)
        self._identify(self._identity)
        held = self._held()
        survived = (
            not (self._restarted or bank.doubtful) and held is not None and self._agrees(held)
        )
        if not survived:
            bank.forget()
        if held is not None:
            bank.observe(held)
        bank.trust()
        self._restarted = False
        self._log.info("recovered, outputs %s", "as they were" if survived else "lost")
        return survived

    @override
    def check_errors(self) -> None:
        self._ready()
        held = self._held()
        if held is not None and not self._agrees(held):
            self._restarted = True
            self._outputs().forget()
            raise self._restart_error()

    @override
    def write_voltages(self, channels: IntArray, voltage_V: FloatArray) -> None:
        bank = self._ready()
        bank.write(channels, voltage_V, self._send, self._present)

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
        if n_samples < 1:
            raise LimitError(
                "nothing to read", field=f"{self.name}.n_samples", value=n_samples, allowed=">= 1"
            )
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
    def self_test(self) -> list[SelfTestStep]:
        return [
            named_step("identity", self._test_identity),
            named_step("outputs", self._test_outputs),
            named_step("converter", self._test_converter),
        ]

    @override
    def safe(self) -> None:
        if self._bank is None:  # never connected, or closed and so safe
            return
        zeros = np.zeros(self.n_channels)
        everything = np.arange(self.n_channels)
        self._bank.forget()
        make_safe(
            self._session,
            lambda: _ignore(self._send(everything, zeros)),
            self.safe_messages(),
            self._log,
        )
        self._bank.accept(everything, zeros, zeros)
        self._bank.trust()

    @override
    def close(self) -> None:
        if self._bank is not None:
            try:
                self.safe()
            except InstrumentError as error:
                self._log.error("closed without safe outputs: %s", error)
            self._bank = None
        self._session.close()

    @override
    def safe_messages(self) -> Sequence[bytes]:
        largest = max(dialect.n_channels for dialect in DIALECTS.values())
        n = self._options.channels or (self._dialect.n_channels if self._dialect else largest)
        return [b"\r", *(f"SET,{channel},0\r".encode("ascii") for channel in range(n))]

    def _speaks(self) -> BoardDialect:
        if self._dialect is None:
            raise LostError("not connected", instrument=self.name, advice="connect first")
        return self._dialect

    def _outputs(self) -> OutputBank:
        if self._bank is None:
            raise LostError("not connected", instrument=self.name, advice="connect first")
        return self._bank

    def _ready(self) -> OutputBank:
        bank = self._outputs()
        require_open(self._session, self.name)
        if self._restarted:
            raise self._restart_error()
        return bank

    def _restart_error(self) -> StateLostError:
        return StateLostError(
            "the outputs are not what was written: the board has restarted",
            code=0,
            instrument=self.name,
            advice="recover, then write everything again",
        )

    def _identify(self, wanted: str | None = None) -> None:
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

    def _send(self, index: IntArray, voltage_V: FloatArray) -> FloatArray:
        dialect = self._speaks()
        codes = np.rint(voltage_V / self.resolution_V).astype(np.int64)
        accepted = np.empty(len(index))
        for k, (channel, code) in enumerate(zip(index.tolist(), codes.tolist(), strict=True)):

            def parse(line: bytes, channel: int = channel, wanted: float = voltage_V[k]) -> float:
                value = parse_update(line, channel, dialect)
                if abs(value - wanted) > 1.5 * self.resolution_V:
                    raise ValueError(f"channel {channel} went to {value:g} V, not {wanted:g} V")
                return value

            # Not asked again where the acknowledgement misfits: another channel may have moved.
            accepted[k] = self._session.ask(dialect.set_message(channel, code), parse)
        return accepted

    def _present(self, channels: IntArray) -> FloatArray:
        held = self._held()
        if held is None:
            raise LimitError(
                "cannot ramp from an unknown set-point: the firmware does not tell it",
                field=f"instruments.{self.name}.limits.slew_V_per_s",
            )
        return held[channels]

    def _held(self) -> FloatArray | None:
        """Return what the DACs hold by their own account, None where the firmware is too old."""
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

    def _agrees(self, held_V: FloatArray) -> bool:
        setpoint = self._outputs().setpoint_V
        known = ~np.isnan(setpoint)
        return bool((np.abs(held_V - setpoint)[known] <= 1.5 * self.resolution_V).all())

    def _test_identity(self) -> str:
        self._identify(self._identity)
        return f"{self._identity}, speaks {self._speaks().unit}"

    def _test_outputs(self) -> str:
        self.check_errors()
        return "as set"

    def _test_converter(self) -> str:
        values = self.read_adc(np.arange(self.n_adc_channels)).voltage_V
        return ", ".join(f"{value:.4f} V" for value in values[0])


def _ignore(accepted: FloatArray) -> None:
    del accepted


@final
class OpenDacFactory(TableFactory[OpenDacOptions, OpenDac]):
    """Makes boards."""

    description: ClassVar[str] = OpenDac.description
    options_type = OpenDacOptions

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: OpenDacOptions) -> OpenDac:
        wire = self._wire(name, settings, reset_on_open=options.reset_on_open)
        return OpenDac(name, settings, options, wire, self._clock)
