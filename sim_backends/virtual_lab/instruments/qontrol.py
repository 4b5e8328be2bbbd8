"""A chain of Qontrol Q8iv, Q8a or Q8b heater drivers on one serial line.

Grammar, replies and error codes as the vendor's public client reads them. What the vendor does
not say is decided here and kept in one place: a channel that would exceed its voltage or current
limit answers ``OK``, reports ``E01`` or ``E02`` a moment later and goes to zero; ``VALL=`` is
acknowledged by one ``OK`` (option ``ok_per_module``: one a module); VCAL, ICAL, SAFE and ROCOM
are forbidden (``E13``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument

from .common import Desk, Options, quantised, wire_time_s
from .qontrol_grammar import (
    Header,
    Request,
    frame_length,
    has_even_parity,
    parse_frame,
    parse_line,
)

__all__ = ["QontrolChain", "make_qontrol"]

CHANNELS_PER_MODULE: Final = 8

FULL_SCALES: Final[Mapping[str, tuple[float, float]]] = {
    "Q8iv": (12.0, 24.0),
    "Q8a": (12.0, 100.0),
    "Q8b": (12.0, 83.333),
    "Q8bi": (12.0, 100.0),
}
"""Volts and milliamperes by model."""

_LINE_LIMIT = 128
_FRAME_PATIENCE_S = 0.5
_BINARY, _EXTENDED = int(Header.BIN), int(Header.DEXT)
_ASCII_S, _BINARY_S, _READ_S, _VIP_S, _REPORT_S = 3.5e-3, 2e-3, 0.6e-3, 20e-3, 1e-3

_OVER_VOLTAGE, _OVER_CURRENT = 1, 2
_UNKNOWN_COMMAND, _PARAMETER, _CHANNEL, _FORBIDDEN = 10, 11, 12, 13
_OVERFLOW, _COMMUNICATION, _TIMEOUT, _POWERED_UP = 14, 15, 16, 90


class _RefusalError(Exception):
    """Ends a request with error lines instead of a reply."""

    def __init__(self, *codes: int, channel: int = 0) -> None:
        super().__init__(codes, channel)
        self.codes = codes
        self.channel = channel


@final
class QontrolChain(SimulatedInstrument):
    """All modules of a chain behind one port; channels count from 0 along the chain."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        rng: np.random.Generator,
        *,
        model: str = "Q8iv",
        modules: int = 1,
        first_serial: int = 1,
        bits: int | None = 16,
        ok_per_module: bool = False,
    ) -> None:
        self._name = name
        self._plant = plant
        self._rng = rng
        self._model = model
        self._full_V, self._full_mA = FULL_SCALES[model]
        self._modules = modules
        self._serials = [first_serial + k for k in range(modules)]
        self._n = CHANNELS_PER_MODULE * modules
        self._bits = bits
        self._ok_lines = modules if ok_per_module else 1
        self._meter_offset_mA = rng.normal(0.0, 2e-3, self._n)
        self._desk = Desk(plant)
        self._input = bytearray()
        self._overrun = False
        self._heard_s = plant.now_s
        self._log: deque[tuple[float, int, int]] = deque(maxlen=64)
        self._vmax = np.full(self._n, self._full_V)
        self._imax = np.full(self._n, self._full_mA)
        self._leading_nul = True
        self._commands: Mapping[str, Callable[[Request], None]] = {
            "V": self._volts,
            "I": self._milliamperes,
            "VVEC": self._vector,
            "IVEC": self._vector,
            "VMAX": self._limit,
            "IMAX": self._limit,
            "VMAXVEC": self._vector,
            "IMAXVEC": self._vector,
            "VIP": self._measure_both,
            "VFULL": lambda r: self._constant(r, f"{self._full_V:+.4f} V"),
            "IFULL": lambda r: self._constant(r, f"{self._full_mA:+.4f} mA"),
            "NCHAN": lambda r: self._constant(r, str(CHANNELS_PER_MODULE)),
            "FIRMWARE": lambda r: self._constant(r, "v2.4.1"),
            "LIFETIME": lambda r: self._constant(r, f"{141177 + int(plant.now_s)} s"),
            "ID": self._identify,
            "NUP": self._enumerate,
            "LOG": self._tell_log,
            "VCAL": self._forbidden,
            "ICAL": self._forbidden,
            "SAFE": self._forbidden,
            "ROCOM": self._forbidden,
        }
        self._reset()

    def _reset(self) -> None:
        self._input.clear()
        self._overrun = False
        self._leading_nul = True
        self._vmax[:] = self._full_V
        self._imax[:] = self._full_mA
        for channel in range(self._n):
            self._plant.set_voltage(self._name, channel, 0.0)
        self._log.append((self._plant.now_s, _POWERED_UP, 0))

    @override
    def new_session(self) -> None:
        self._input.clear()
        self._overrun = False

    @override
    def power_cycle(self) -> list[Reply]:
        self._desk.restart()
        self._log.clear()
        self._reset()
        return [Reply(b"E90:00\n", asynchronous=True)]

    @override
    def feed(self, data: bytes) -> list[Reply]:
        self._desk.begin()
        half_a_frame = self._input and self._input[0] & _BINARY
        if half_a_frame and self._plant.now_s - self._heard_s > _FRAME_PATIENCE_S:
            self._input.clear()
            self._report(_TIMEOUT, 0)
        at = 0
        while at < len(data):
            at = self._take(data, at)
        if data:
            self._heard_s = self._plant.now_s
        return self._desk.end()

    def _take(self, data: bytes, at: int) -> int:
        """Take a line, a frame or what there is of them; return where the next begins."""
        if self._input and self._input[0] & _BINARY:
            missing = (frame_length(self._input) or 7) - len(self._input)
            self._input += data[at : at + missing]
            self._frame_if_whole()
            return at + missing
        if not self._input and not self._overrun and data[at] & _BINARY:
            self._input.append(data[at])
            return at + 1
        end = data.find(b"\n", at)
        part = data[at:] if end < 0 else data[at:end]
        room = _LINE_LIMIT - len(self._input)
        self._overrun = self._overrun or len(part) > room
        self._input += part[:room]
        if end < 0:
            return len(data)
        line, overrun = bytes(self._input), self._overrun
        self._input.clear()
        self._overrun = False
        if overrun:
            self._run(None, _LINE_LIMIT, _ASCII_S, _OVERFLOW, _COMMUNICATION)
        elif line.strip(b"\r \t\0"):
            self._run(parse_line(line), len(line) + 1, _ASCII_S)
        return end + 1

    def _frame_if_whole(self) -> None:
        frame = bytes(self._input)
        length = frame_length(frame)
        if length is None or len(frame) < length:
            return
        self._input.clear()
        if not has_even_parity(frame[0]):
            self._run(None, length, _BINARY_S, _COMMUNICATION)
        elif frame[0] & _EXTENDED and length == 7 and frame[5:7] != b"\0\0":
            self._run(None, length, _BINARY_S, _OVERFLOW, _COMMUNICATION)
        else:
            self._run(parse_frame(frame), length, _BINARY_S)

    def _run(self, request: Request | None, n_bytes: int, busy_s: float, *errors: int) -> None:
        self._desk.spend(wire_time_s(n_bytes) + busy_s)
        codes, channel = errors, 0
        if not errors:
            command = None if request is None else self._commands.get(request.name)
            if request is None or command is None:
                codes = (_UNKNOWN_COMMAND,)
            else:
                try:
                    command(request)
                except _RefusalError as refusal:
                    codes, channel = refusal.codes, refusal.channel
        for code in codes:
            self._report(code, channel)

    def _line(self, text: str) -> None:
        self._desk.spend(wire_time_s(len(text) + 1))
        self._desk.say(text.encode("ascii") + b"\n")

    def _ok(self, every: bool = False) -> None:
        for _ in range(self._ok_lines if every else 1):
            self._line("OK")

    def _report(self, code: int, channel: int, *, asynchronous: bool = False) -> None:
        self._log.append((self._plant.now_s, code, channel))
        line = f"E{code:02d}:{channel:02d}\n".encode("ascii")
        later = float(self._rng.uniform(0.5, 4.0)) * _REPORT_S if asynchronous else 0.0
        self._desk.say(line, later_s=later, asynchronous=asynchronous)

    def _channel(self, request: Request) -> int:
        channel = request.channel
        if channel is not None and request.module_serial is not None:
            if request.module_serial not in self._serials or channel >= CHANNELS_PER_MODULE:
                raise _RefusalError(_CHANNEL, channel=min(channel, 99))
            channel += CHANNELS_PER_MODULE * self._serials.index(request.module_serial)
        if channel is None or channel >= self._n:
            raise _RefusalError(_CHANNEL, channel=min(channel or 0, 99))
        return channel

    def _channels(self, request: Request) -> range:
        if request.every:
            return range(self._n)
        channel = self._channel(request)
        return range(channel, channel + 1)

    def _value(self, request: Request, full: float, channel: int) -> float:
        if len(request.values) != 1:
            raise _RefusalError(_PARAMETER, channel=channel)
        return self._scaled(request.values[0], full if request.fractions else 1.0, channel)

    @staticmethod
    def _scaled(value: float | None, scale: float, channel: int) -> float:
        if value is None or value < 0.0:
            raise _RefusalError(_PARAMETER, channel=channel)
        return value * scale

    def _volts(self, request: Request) -> None:
        channels = self._channels(request)
        if request.op == "?":
            for channel in channels:
                self._desk.spend(_READ_S)
                self._line(f"{self._measured_V(channel):+.4f} V")
            return
        if request.op != "=":
            raise _RefusalError(_PARAMETER)
        value = self._value(request, self._full_V, channels[0])
        trips = [self._drive(channel, value) for channel in channels]
        self._ok(request.every)
        self._report_trips(trips)

    def _milliamperes(self, request: Request) -> None:
        channels = self._channels(request)
        if request.op == "?":
            for channel in channels:
                self._desk.spend(_READ_S)
                self._line(f"{self._measured_mA(channel):+.4f} mA")
            return
        if request.op != "=":
            raise _RefusalError(_PARAMETER)
        value = self._value(request, self._full_mA, channels[0])
        trips = [self._drive_current(channel, value) for channel in channels]
        self._ok(request.every)
        self._report_trips(trips)

    def _vector(self, request: Request) -> None:
        channel = self._channel(request)
        if request.op != "=" or not request.values:
            raise _RefusalError(_PARAMETER, channel=channel)
        if len(request.values) > CHANNELS_PER_MODULE:
            raise _RefusalError(_OVERFLOW, _COMMUNICATION)
        last = channel + len(request.values) - 1
        if last // CHANNELS_PER_MODULE != channel // CHANNELS_PER_MODULE:
            raise _RefusalError(_CHANNEL, channel=min(last, 99))
        quantity = request.name.removesuffix("VEC")
        full = self._full_V if quantity in {"V", "VMAX"} else self._full_mA
        scale = full if request.fractions else 1.0
        values = [self._scaled(value, scale, k) for k, value in enumerate(request.values, channel)]
        if quantity in {"VMAX", "IMAX"}:
            for k, value in enumerate(values, channel):
                self._set_limit(quantity, k, value)
            self._ok()
            return
        drive = self._drive if quantity == "V" else self._drive_current
        trips = [drive(k, value) for k, value in enumerate(values, channel)]
        self._ok()
        self._report_trips(trips)

    def _limit(self, request: Request) -> None:
        channels = self._channels(request)
        voltage = request.name == "VMAX"
        if request.op == "?":
            for channel in channels:
                if voltage:
                    self._line(f"{self._vmax[channel]:+.4f} V")
                else:
                    self._line(f"{self._imax[channel]:+.4f} mA")
            return
        if request.op != "=":
            raise _RefusalError(_PARAMETER)
        value = self._value(request, self._full_V if voltage else self._full_mA, channels[0])
        trips = []
        for channel in channels:
            self._set_limit(request.name, channel, value)
            now = self._plant.voltage_V(self._name, channel)
            trips.append(self._drive(channel, now, new=False))
        self._ok(request.every)
        self._report_trips(trips)

    def _set_limit(self, quantity: str, channel: int, value: float) -> None:
        full = self._full_V if quantity == "VMAX" else self._full_mA
        if value > full * (1.0 + 1e-9):
            raise _RefusalError(_PARAMETER, channel=channel)
        limits = self._vmax if quantity == "VMAX" else self._imax
        limits[channel] = quantised(value, 0.0, full, 16)

    def _drive(self, channel: int, value: float, new: bool = True) -> tuple[int, int] | None:
        """Apply a voltage; return (code, channel) where a limit takes the output to zero."""
        if value > self._vmax[channel] + 0.5 * self._full_V / 0xFFFF:
            self._plant.set_voltage(self._name, channel, 0.0)
            return _OVER_VOLTAGE, channel
        if new:
            drive = quantised(value, 0.0, self._full_V, self._bits)
            self._plant.set_voltage(self._name, channel, drive)
        current_mA = 1e3 * self._plant.current_A(self._name, channel)
        # Limit, drive and measured current are each rounded to half a step.
        if current_mA > self._imax[channel] + 1.5 * self._full_mA / 0xFFFF:
            self._plant.set_voltage(self._name, channel, 0.0)
            return _OVER_CURRENT, channel
        return None

    def _drive_current(self, channel: int, value_mA: float) -> tuple[int, int] | None:
        if value_mA > self._imax[channel] + 0.5 * self._full_mA / 0xFFFF:
            self._plant.set_voltage(self._name, channel, 0.0)
            return _OVER_CURRENT, channel
        before = self._plant.voltage_V(self._name, channel)
        probe_V = before if before > 0.0 else 0.01 * self._full_V
        self._plant.set_voltage(self._name, channel, probe_V)
        probe_mA = 1e3 * self._plant.current_A(self._name, channel)
        wanted_mA = quantised(value_mA, 0.0, self._full_mA, self._bits)
        if wanted_mA == 0.0:
            return self._drive(channel, 0.0)
        if probe_mA <= 0.0:  # an open load: the source runs into its voltage limit
            return self._drive(channel, 2.0 * self._full_V)
        return self._drive(channel, probe_V * wanted_mA / probe_mA)

    def _report_trips(self, trips: list[tuple[int, int] | None]) -> None:
        for trip in trips:
            if trip is not None:
                self._report(*trip, asynchronous=True)

    def _measured_V(self, channel: int) -> float:
        true = self._plant.voltage_V(self._name, channel)
        span = 1.02 * self._full_V
        return quantised(true + self._rng.normal(0.0, 2e-4), -0.01 * span, span, 16)

    def _measured_mA(self, channel: int) -> float:
        true = 1e3 * self._plant.current_A(self._name, channel) + self._meter_offset_mA[channel]
        span = 1.02 * self._full_mA
        return quantised(true + self._rng.normal(0.0, 4e-4), -0.01 * span, span, 16)

    def _measure_both(self, request: Request) -> None:
        if request.op != "?":
            raise _RefusalError(_PARAMETER)
        for channel in self._channels(request):
            self._desk.spend(_VIP_S)
            volts, current = self._measured_V(channel), self._measured_mA(channel)
            module, local = divmod(channel, CHANNELS_PER_MODULE)
            self._line(f"{module},{local}: {volts:+.4f} V, {current:+.4f} mA")

    def _constant(self, request: Request, text: str) -> None:
        if request.op != "?":
            raise _RefusalError(_FORBIDDEN if request.op == "=" else _PARAMETER)
        for _ in range(self._modules if request.every else 1):
            self._line(text)

    def _identity(self, module: int) -> str:
        serial = self._serials[module]
        return f"{self._model}-{serial:04X}" if serial else f"{self._model}-****"

    def _identify(self, request: Request) -> None:
        if request.op != "?":
            raise _RefusalError(_FORBIDDEN if request.op == "=" else _PARAMETER)
        for module in range(self._modules if request.every else 1):
            self._line(self._identity(module))

    def _enumerate(self, request: Request) -> None:
        if request.op == "=":
            if request.values not in {(0.0,), (None,)}:
                raise _RefusalError(_PARAMETER)
            for _ in range(self._modules):
                self._line("\x06OK")
            return
        if request.op != "?":
            raise _RefusalError(_PARAMETER)
        for module in range(self._modules if request.every else 1):
            nul, self._leading_nul = ("\0" if self._leading_nul else ""), False
            self._line(f"{nul}{self._identity(module)}: {module}")

    def _tell_log(self, request: Request) -> None:
        if request.op != "?":
            raise _RefusalError(_PARAMETER)
        now = self._plant.now_s
        for number, (at_s, code, channel) in enumerate(reversed(self._log)):
            minutes = int((now - at_s) // 60)
            self._line(f"#{number:3d}, E{code:02d}:{channel:02d}, {minutes} m ago")

    def _forbidden(self, request: Request) -> None:
        raise _RefusalError(_FORBIDDEN, channel=min(request.channel or 0, 99))


def make_qontrol(
    name: str,
    settings: InstrumentSettings,
    plant: PlantFace,
    rng: np.random.Generator,
    lab: VirtualLabSettings | None = None,
) -> QontrolChain:
    """Make a chain; options ``model``, ``modules``, ``serial`` (first), ``ok_per_module``."""
    options = Options(name, settings)
    return QontrolChain(
        name,
        plant,
        rng,
        model=options.text("model", "Q8iv", tuple(FULL_SCALES)),
        modules=options.integer("modules", 1, 1, 64),
        first_serial=options.integer("serial", 1, 0, 0xFF00),
        bits=(lab or VirtualLabSettings()).source_bits,
        ok_per_module=options.flag("ok_per_module", False),
    )
