"""Driver of Qontrol Q8iv, Q8b and Q8a heater drivers: a chain of modules on one serial line.

Error lines come when they like; they are queued and raised by the call that finds them. ``E90``
(powered up) means that nothing of what was written holds any more.
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
    LostError,
    ProtocolError,
    StateLostError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.substrate import SelfTestStep

from .checks import Count, SourceOptions, check_identity, named_step, require_open, twice
from .clock import Clock
from .interface import Identity, MultichannelSource
from .limits import SourceLimits, check_channels, source_limits
from .outputs import OutputBank
from .qontrol_chain import ASK_ALL_FROM, QontrolChain, device_error, restart_error
from .qontrol_wire import (
    CHANNELS_PER_MODULE,
    POWERED_UP,
    TOP_CODE,
    Module,
    QontrolEvent,
    number_in,
    parse_event,
    set_messages,
    zero_messages,
)
from .safe_state import make_safe
from .table_factory import TableFactory

__all__ = ["Qontrol", "QontrolFactory", "QontrolOptions"]


@final
class QontrolOptions(SourceOptions):
    """Options of ``kind = "qontrol"``."""

    binary: bool = Field(False, description="write set-points as binary frames")
    modules: Count | None = Field(None, description="modules that the chain must have")
    model: Literal["Q8iv", "Q8b", "Q8a", "Q8bi"] | None = Field(
        None, description="what every module must be"
    )
    serial: int | None = Field(None, ge=0, le=0xFFFF, description="serial of the first module")
    ok_per_module: bool = Field(False, description="of the simulated twin only")


@final
class Qontrol(MultichannelSource):
    """A chain of heater drivers; channels count from 0 along the chain.

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

    description: ClassVar[str] = "Qontrol Q8iv, Q8b, Q8a chain (8 heaters a module, USB serial)"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: QontrolOptions,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self.name = name
        self._settings = settings
        self._options = options
        self._clock = clock
        self._chain = QontrolChain(transport, name)
        self._session = self._chain.session
        self._modules: list[Module] = []
        self._pending: list[QontrolEvent] = []
        self._restarted = False
        self._bank: OutputBank | None = None
        self._full_V = self._full_A = float("nan")
        self._log = logging.getLogger(f"eqp_hw.drivers.{name}")

    @property
    @override
    def n_channels(self) -> int:
        return CHANNELS_PER_MODULE * len(self._modules)

    @property
    @override
    def full_scale_V(self) -> float:
        return self._full_V

    @property
    @override
    def resolution_V(self) -> float:
        return self._full_V / TOP_CODE

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
                    f"no Qontrol chain: {error.problem}",
                    instrument=self.name,
                    advice="check the address in the rig file",
                ) from error
            self._pending.clear()
            self._modules = twice(
                self.name, lambda: self._chain.count_modules(self._options.modules)
            )
            self._check_modules()
            self._chain.prepare(self._modules)
            limits = self._read_limits()
            self._restarted = False
            self._bank = OutputBank(limits, self.resolution_V, self._clock)
            self._bank.observe(self._chain.read_all("V", "V", self.n_channels))
            self._surface()
        except BaseException:
            self._session.close()
            raise
        return self._identity()

    @override
    def recover(self) -> bool:
        bank = self._outputs()
        self._session.recover(patience_s=self._settings.timeout_s)
        for attempt in range(3):
            try:
                self._chain.prepare(self._modules)
                self._apply_current_limit(self._chain.read_all("IMAX", "mA", self.n_channels))
                measured = self._chain.read_all("V", "V", self.n_channels)
                break
            except StateLostError:
                self._restarted = True
                if attempt == 2:
                    raise
        self._collect()
        known = ~np.isnan(bank.setpoint_V)
        error = np.abs(measured - bank.setpoint_V)[known]
        survived = not (self._restarted or bank.doubtful) and bool(
            (error <= self._options.readback_tolerance_V).all()
        )
        if not survived:
            bank.forget()
        bank.observe(measured)
        bank.trust()
        self._restarted = False
        self._log.info("recovered, outputs %s", "as they were" if survived else "lost")
        return survived

    @override
    def write_voltages(self, channels: IntArray, voltage_V: FloatArray) -> None:
        bank = self._ready()
        with _Guard(self):
            bank.write(channels, voltage_V, self._send, self._measure)
        self._surface()

    @override
    def measure_voltages(self, channels: IntArray) -> FloatArray:
        self._ready()
        index = check_channels(self.name, channels, self.n_channels)
        with _Guard(self):
            measured = self._measure(index)
        self._surface()
        return measured

    @override
    def measure_currents(self, channels: IntArray) -> FloatArray:
        self._ready()
        index = check_channels(self.name, channels, self.n_channels)
        with _Guard(self):
            measured = self._chain.read(index, self.n_channels, "I", "mA") * 1e-3
        self._surface()
        return measured

    @override
    def check_errors(self) -> None:
        self._ready()
        with _Guard(self):
            first = self._chain.first_module()
            if first != self._modules[0]:  # a garbled digit, or another chain?
                first = twice(self.name, self._chain.first_module)
        self._surface()
        if first != self._modules[0]:
            raise IdentityError(f"{first} answers, not {self._modules[0]}", instrument=self.name)

    @override
    def self_test(self) -> list[SelfTestStep]:
        return [
            named_step("identity", self._test_identity),
            named_step("limits", self._test_limits),
            named_step("errors", self._test_errors),
            named_step("read-back", self._test_read_back),
        ]

    @override
    def safe(self) -> None:
        if self._bank is None:  # never connected, or closed and so safe
            return
        self._bank.forget()
        make_safe(self._session, self._write_zeros, self.safe_messages(), self._log)
        zeros = np.zeros(self.n_channels)
        self._bank.accept(np.arange(self.n_channels), zeros, zeros)
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
        n = self.n_channels or CHANNELS_PER_MODULE * (self._options.modules or 1)
        return zero_messages(n)

    def _write_zeros(self) -> None:
        for data in zero_messages(self.n_channels)[1:]:
            try:
                self._chain.write(data)
            except StateLostError as error:  # all outputs are zero then
                self._log.warning("while making safe: %s", error)
                self._restarted = True

    def _outputs(self) -> OutputBank:
        if self._bank is None:
            raise LostError("not connected", instrument=self.name, advice="connect first")
        return self._bank

    def _ready(self) -> OutputBank:
        bank = self._outputs()
        require_open(self._session, self.name)
        if self._restarted:
            raise restart_error(self.name)
        return bank

    def _forget(self) -> None:
        if self._bank is not None:
            self._bank.forget()

    def note_restart(self) -> None:
        """Take note that the instrument has restarted; `recover` comes next."""
        self._restarted = True
        self._forget()

    def _identity(self) -> Identity:
        first = self._modules[0]
        raw = ",".join(str(module) for module in self._modules)
        return Identity("Qontrol", first.kind, first.serial, "", raw)

    def _check_modules(self) -> None:
        raw = self._identity().raw
        check_identity(self.name, raw, self._settings.identity)
        model, serial = self._options.model, self._options.serial
        others = [str(m) for m in self._modules if model is not None and m.kind != model]
        if others:
            raise IdentityError(
                f"{', '.join(others)} in the chain, the rig file wants {model}",
                instrument=self.name,
            )
        if serial and self._modules[0].serial != f"{serial:04X}":
            raise IdentityError(
                f"{self._modules[0]} comes first, the rig file wants serial {serial:04X}",
                instrument=self.name,
            )

    def _read_limits(self) -> SourceLimits:
        def ask(text: bytes, unit: str) -> float:
            return twice(
                self.name, lambda: self._session.ask(text, number_in(unit), idempotent=True)
            )

        self._full_V = ask(b"VFULL?\n", "V")
        self._full_A = 1e-3 * ask(b"IFULL?\n", "mA")
        own = twice(self.name, lambda: self._chain.read_all("VMAX", "V", self.n_channels).tolist())
        highest = np.minimum(own, self._full_V)
        limits = source_limits(
            self.name,
            self._settings.limits,
            highest_V=highest,
            bipolar=False,
            full_scale_A=self._full_A,
            resistance_ohm=self._options.resistance_ohm,
        )
        self._apply_current_limit(self._chain.read_all("IMAX", "mA", self.n_channels))
        return limits

    def _apply_current_limit(self, present_mA: FloatArray) -> None:
        wanted_A = self._settings.limits.current_A
        if wanted_A is None:
            return
        step_mA = 1e3 * self._full_A / TOP_CODE
        wanted_mA = float(np.floor(1e3 * wanted_A / step_mA + 1e-6) * step_mA)
        for channel in np.flatnonzero(np.abs(present_mA - wanted_mA) > 1.5 * step_mA):
            data = f"IMAX{channel}={wanted_mA:.4f}\n".encode()
            self._chain.write(data)

    def _measure(self, index: IntArray) -> FloatArray:
        return self._chain.read(index, self.n_channels)

    def _send(self, index: IntArray, voltage_V: FloatArray) -> None:
        order = np.argsort(index)
        channels, voltage = index[order], voltage_V[order]
        codes = np.rint(voltage / self.resolution_V).astype(np.int64)
        messages = set_messages(channels, codes, self._full_V, binary=self._options.binary)
        for _, data in messages:
            self._chain.write(data)
        if self._options.verify:
            self._verify(channels, voltage)

    def _verify(self, channels: IntArray, voltage_V: FloatArray) -> None:
        """Measure what was written; all channels, if that costs little more."""
        expected = self._outputs().setpoint_V
        expected[channels] = voltage_V
        if len(channels) * ASK_ALL_FROM > self.n_channels:
            channels = np.flatnonzero(~np.isnan(expected))
        measured, expected = self._measure(channels), expected[channels]
        wrong = np.flatnonzero(np.abs(measured - expected) > self._options.readback_tolerance_V)
        if not wrong.size:
            return
        self._collect()
        if self._pending:  # it says itself why
            return
        k = wrong[0]
        raise ProtocolError(
            f"channel {channels[k]} drives {measured[k]:.4f} V where {expected[k]:.4f} V "
            "was written and acknowledged",
            instrument=self.name,
            advice="write again; a garbled line or a broken channel",
        )

    def _collect(self) -> None:
        """Take in error lines that came unasked."""
        for line in self._session.take_events():
            event = parse_event(line)
            if event is None:
                continue
            self._log.warning("channel %d: E%02d, %s", event.channel, event.code, event.text)
            if event.code == POWERED_UP:
                self.note_restart()
                continue
            self._pending.append(event)
            if self._bank is not None and event.channel < self.n_channels:
                self._bank.forget(np.array([event.channel]))

    def _surface(self) -> None:
        """Raise what has been reported since the last call."""
        self._collect()
        if self._restarted:
            raise restart_error(self.name)
        if self._pending:
            first, more = self._pending[0], len(self._pending) - 1
            self._pending.clear()
            raise device_error(first, self.name, f"and {more} more, see the log" if more else "")

    def _test_identity(self) -> str:
        self.check_errors()
        return self._identity().raw

    def _test_limits(self) -> str:
        highest = self._chain.read_all("VMAX", "V", self.n_channels)
        short = np.flatnonzero(highest < self._outputs().limits.highest_V - self.resolution_V)
        if short.size:
            raise DeviceError(
                f"channel {short[0]} allows {highest[short[0]]:g} V only",
                code=1,
                channel=int(short[0]),
                instrument=self.name,
            )
        return f"{self._outputs().limits.highest_V.min():g} V of {self._full_V:g} V"

    def _test_errors(self) -> str:
        self.check_errors()
        return "none"

    def _test_read_back(self) -> str:
        started = time.monotonic()
        setpoint = self.setpoint_V
        error = np.abs(self.measure_voltages(np.arange(self.n_channels)) - setpoint)
        worst = float(np.nanmax(error, initial=0.0))
        if worst > self._options.readback_tolerance_V:
            channel = int(np.nanargmax(error))
            raise DeviceError(
                f"channel {channel} is {worst:.4f} V off its set-point; heater or cable?",
                code=0,
                channel=channel,
                instrument=self.name,
            )
        known = int(np.sum(~np.isnan(setpoint)))
        return f"{known} set-points within {worst:.4f} V ({time.monotonic() - started:.3f} s)"


@final
class _Guard:
    """Takes note of a restart that a transaction reports."""

    def __init__(self, driver: Qontrol) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StateLostError):
            self._driver.note_restart()


@final
class QontrolFactory(TableFactory[QontrolOptions, Qontrol]):
    """Makes Qontrol chains."""

    description: ClassVar[str] = Qontrol.description
    options_type = QontrolOptions

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: QontrolOptions) -> Qontrol:
        return Qontrol(name, settings, options, self._wire(name, settings), self._clock)
