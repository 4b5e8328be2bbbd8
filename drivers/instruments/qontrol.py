"""Driver of Qontrol Q8iv, Q8b and Q8a heater drivers: a chain of modules on one serial line.

Error lines come when they like; they are queued and raised by the call that finds them. ``E90``
(powered up) means that nothing of what was written holds any more.
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
    ProtocolError,
    StateLostError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings

from .checks import Count, SourceOptions, check_identity, open_session, twice
from .clock import Clock
from .interface import Identity
from .limits import SourceLimits, check_channels, source_limits
from .outputs import OutputBank
from .presence import Presence
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
from .source_driver import SourceDriver
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
class Qontrol(SourceDriver):
    """A chain of heater drivers; channels count from 0 along the chain."""

    description: ClassVar[str] = "Qontrol Q8iv, Q8b, Q8a chain (8 heaters a module, USB serial)"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: QontrolOptions,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self._chain = QontrolChain(transport, name)
        presence = Presence(self._chain.session, name, lambda: restart_error(name))
        super().__init__(name, settings, self._chain.session, presence, clock)
        self._options = options
        self._modules: list[Module] = []
        self._pending: list[QontrolEvent] = []
        self._full_V = self._full_A = float("nan")

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

    @override
    def _identify(self) -> Identity:
        open_session(self._session, self.name, "no Qontrol chain")
        self._pending.clear()
        self._modules = twice(self.name, lambda: self._chain.count_modules(self._options.modules))
        self._check_modules()
        self._chain.prepare(self._modules)
        return self._chain_identity()

    @override
    def _resume(self, bank: OutputBank) -> tuple[bool, FloatArray | None]:
        self._session.recover(patience_s=self._settings.timeout_s)
        for attempt in range(3):
            try:
                self._chain.prepare(self._modules)
                self._apply_current_limit(self._chain.read_all("IMAX", "mA", self.n_channels))
                measured = self._held()
                break
            except StateLostError:
                self._presence.restarted = True
                if attempt == 2:
                    raise
        self._collect()
        agrees = bank.agrees(measured, self._options.readback_tolerance_V)
        return agrees and not self._presence.restarted, measured

    @override
    def measure_voltages(self, channels: IntArray) -> FloatArray:
        self._ready()
        index = check_channels(self.name, channels, self.n_channels)
        with self._noting_restarts():
            measured = self._present(index)
        self._surface()
        return measured

    @override
    def measure_currents(self, channels: IntArray) -> FloatArray:
        self._ready()
        index = check_channels(self.name, channels, self.n_channels)
        with self._noting_restarts():
            measured = self._chain.read(index, self.n_channels, "I", "mA") * 1e-3
        self._surface()
        return measured

    @override
    def check_errors(self) -> None:
        self._ready()
        with self._noting_restarts():
            first = self._chain.first_module()
            if first != self._modules[0]:  # a garbled digit, or another chain?
                first = twice(self.name, self._chain.first_module)
        self._surface()
        if first != self._modules[0]:
            raise IdentityError(f"{first} answers, not {self._modules[0]}", instrument=self.name)

    @override
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        return {
            "identity": self._test_identity,
            "limits": self._test_limits,
            "errors": self._test_errors,
            "read-back": self._test_read_back,
        }

    @override
    def safe_messages(self) -> Sequence[bytes]:
        n = self.n_channels or CHANNELS_PER_MODULE * (self._options.modules or 1)
        return zero_messages(n)

    @override
    def _write_zeros(self) -> None:
        for data in zero_messages(self.n_channels)[1:]:
            try:
                self._chain.write(data)
            except StateLostError as error:  # all outputs are zero then
                self._log.warning("while making safe: %s", error)
                self._presence.restarted = True

    def _chain_identity(self) -> Identity:
        first = self._modules[0]
        raw = ",".join(str(module) for module in self._modules)
        return Identity("Qontrol", first.kind, first.serial, "", raw)

    def _check_modules(self) -> None:
        raw = self._chain_identity().raw
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

    @override
    def _limits(self) -> SourceLimits:
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

    @override
    def _held(self) -> FloatArray:
        return self._chain.read_all("V", "V", self.n_channels)

    @override
    def _present(self, channels: IntArray) -> FloatArray:
        return self._chain.read(channels, self.n_channels)

    @override
    def _send(self, channels: IntArray, voltage_V: FloatArray) -> None:
        order = np.argsort(channels)
        channels, voltage = channels[order], voltage_V[order]
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
        measured, expected = self._present(channels), expected[channels]
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
                self._note_restart()
                continue
            self._pending.append(event)
            if self._bank is not None and event.channel < self.n_channels:
                self._bank.forget(np.array([event.channel]))

    @override
    def _surface(self) -> None:
        self._collect()
        if self._presence.restarted:
            raise self._presence.restart_error()
        if self._pending:
            first, more = self._pending[0], len(self._pending) - 1
            self._pending.clear()
            raise device_error(first, self.name, f"and {more} more, see the log" if more else "")

    def _test_identity(self) -> str:
        self.check_errors()
        return self._chain_identity().raw

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
class QontrolFactory(TableFactory[QontrolOptions, Qontrol]):
    """Makes Qontrol chains."""

    description: ClassVar[str] = Qontrol.description
    options_type = QontrolOptions

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: QontrolOptions) -> Qontrol:
        return Qontrol(name, settings, options, self._wire(name, settings), self._clock)
