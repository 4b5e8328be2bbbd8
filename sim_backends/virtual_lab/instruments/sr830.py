"""Kind ``sr830``: Stanford Research SR830 lock-in amplifier, its own command set (no SCPI).

Mistakes set bits of the standard event byte and get no answer. X and Y are two detector voltages
of the plant (options ``x_channel``, ``y_channel``); AUXV drives source channels 0 to 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument

from .common import Desk, LineAssembler, Options, quantised

__all__ = ["Sr830", "make_sr830"]

SENSITIVITY_V: Final = tuple(m * 10.0**e for e in range(-9, 1) for m in (1.0, 2.0, 5.0))[1:28]
TIME_CONSTANT_S: Final = tuple(m * 10.0**e for e in range(-5, 5) for m in (1.0, 3.0))
_SAMPLE_S: Final = 1e-4
_COMMAND = re.compile(r"(\*?[A-Z]{3,4})\s*(\??)\s*(.*)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_INPUT_OVERFLOW, _EXECUTION, _COMMAND_ERROR, _POWER_ON = 1, 16, 32, 128
_OUTPUT_OVERLOAD: Final = 4


class _MistakeError(Exception):
    def __init__(self, bit: int) -> None:
        super().__init__(bit)
        self.bit = bit


@final
class Sr830(SimulatedInstrument):
    """Demodulated X and Y with sensitivity, phase, and overload flags."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        *,
        x_channel: int,
        y_channel: int,
        bits: int | None,
        serial: str,
    ) -> None:
        self._name = name
        self._plant = plant
        self._pair = [x_channel, y_channel]
        self._bits = bits
        self._serial = serial
        self._desk = Desk(plant)
        self._lines = LineAssembler(b"\n\r", 256)
        self._queries: Mapping[str, Callable[[list[float]], str]] = {
            "*IDN": lambda p: f"Stanford_Research_Systems,SR830,s/n{self._serial},ver1.07",
            "*ESR": lambda p: str(self._take("_event")),
            "*ESE": lambda p: str(self._enable),
            "*STB": lambda p: str(self._status_byte()),
            "LIAS": self._overloads,
            "ERRS": lambda p: "0",
            "SNAP": self._snap,
            "OUTP": lambda p: self._one(_index(p, 1, 4)),
            "FREQ": lambda p: f"{self._frequency_Hz:g}",
            "PHAS": lambda p: f"{self._phase_deg:.2f}",
            "SENS": lambda p: str(self._sensitivity),
            "OFLT": lambda p: str(self._filter),
            "OFSL": lambda p: str(self._slope),
            "RMOD": lambda p: str(self._reserve),
            "ISRC": lambda p: "0",
            "FMOD": lambda p: "1",
            "HARM": lambda p: "1",
            "SLVL": lambda p: f"{self._sine_V:.3f}",
            "AUXV": lambda p: f"{plant.voltage_V(name, _index(p, 1, 4) - 1):.3f}",
        }
        self._setters: Mapping[str, Callable[[list[float]], None]] = {
            "*RST": lambda p: self._reset(),
            "*CLS": lambda p: self._clear(),
            "*ESE": self._set_enable,
            "FREQ": self._set_frequency,
            "PHAS": self._set_phase,
            "SENS": self._set_sensitivity,
            "OFLT": self._set_filter,
            "OFSL": self._set_slope,
            "RMOD": self._set_reserve,
            "SLVL": self._set_sine,
            "ISRC": lambda p: None,
            "FMOD": lambda p: None,
            "HARM": lambda p: None,
            "OUTX": lambda p: None,
            "APHS": lambda p: self._auto_phase(),
            "AUXV": self._set_auxiliary,
        }
        self._event = _POWER_ON
        self._reset()

    def _reset(self) -> None:
        self._enable = 0
        self._overload = 0
        self._frequency_Hz = 1000.0
        self._phase_deg = 0.0
        self._sensitivity = 26
        self._filter = 8
        self._slope = 1
        self._reserve = 1
        self._sine_V = 1.0
        for channel in range(4):
            self._plant.set_voltage(self._name, channel, 0.0)

    def _clear(self) -> None:
        self._event = 0
        self._overload = 0

    @override
    def new_session(self) -> None:
        self._lines.clear()

    @override
    def power_cycle(self) -> list[Reply]:
        self._desk.restart()
        self._lines.clear()
        self._event = _POWER_ON
        self._reset()
        return []

    @override
    def feed(self, data: bytes) -> list[Reply]:
        self._desk.begin()
        for line in self._lines.add(data):
            if line is None:
                self._event |= _INPUT_OVERFLOW
                continue
            for part in line.decode("latin-1").upper().split(";"):
                if part.strip():
                    self._run(part.strip())
        return self._desk.end()

    def _run(self, text: str) -> None:
        self._desk.spend(2e-3)
        try:
            match = _COMMAND.fullmatch(text)
            if match is None:
                raise _MistakeError(_COMMAND_ERROR)
            numbers = _numbers(match[3])
            if match[2]:
                query = self._queries.get(match[1])
                if query is None:
                    raise _MistakeError(_COMMAND_ERROR)
                self._desk.say(query(numbers).encode("ascii") + b"\n")
            else:
                setter = self._setters.get(match[1])
                if setter is None:
                    raise _MistakeError(_COMMAND_ERROR)
                setter(numbers)
        except _MistakeError as mistake:
            self._event |= mistake.bit

    def _take(self, attribute: str) -> int:
        value = int(getattr(self, attribute))
        setattr(self, attribute, 0)
        return value

    def _status_byte(self) -> int:
        return (32 if self._event & self._enable else 0) | (8 if self._overload else 0)

    def _overloads(self, parameters: list[float]) -> str:
        return str(self._take("_overload"))

    def _xy(self) -> tuple[float, float]:
        n = int(min(max(TIME_CONSTANT_S[self._filter] / _SAMPLE_S, 1.0), 256.0))
        volts = self._plant.detector_V(self._name, self._pair, n).mean(axis=0)
        angle = np.deg2rad(self._phase_deg)
        x = float(volts[0] * np.cos(angle) + volts[1] * np.sin(angle))
        y = float(volts[1] * np.cos(angle) - volts[0] * np.sin(angle))
        return self._limited(x), self._limited(y)

    def _limited(self, volts: float) -> float:
        top = 1.09 * SENSITIVITY_V[self._sensitivity]
        if abs(volts) > top:
            self._overload |= _OUTPUT_OVERLOAD
        bits = self._bits
        return min(max(volts, -top), top) if bits is None else quantised(volts, -top, top, bits)

    def _four(self) -> tuple[float, float, float, float]:
        x, y = self._xy()
        return x, y, float(np.hypot(x, y)), float(np.rad2deg(np.arctan2(y, x)))

    def _one(self, number: int) -> str:
        return f"{self._four()[number - 1]:.6g}"

    def _snap(self, parameters: list[float]) -> str:
        if not 2 <= len(parameters) <= 6:
            raise _MistakeError(_EXECUTION)
        known = dict(enumerate((*self._four(), 0.0, 0.0, 0.0, 0.0, self._frequency_Hz), 1))
        wanted = [int(p) for p in parameters]
        if any(w not in known for w in wanted):
            raise _MistakeError(_EXECUTION)
        return ",".join(f"{known[w]:.6g}" for w in wanted)

    def _set_enable(self, parameters: list[float]) -> None:
        self._enable = _index(parameters, 0, 255)

    def _set_frequency(self, parameters: list[float]) -> None:
        self._frequency_Hz = _within(parameters, 0.001, 102000.0)

    def _set_phase(self, parameters: list[float]) -> None:
        self._phase_deg = (_within(parameters, -360.0, 729.99) + 180.0) % 360.0 - 180.0

    def _set_sensitivity(self, parameters: list[float]) -> None:
        self._sensitivity = _index(parameters, 0, 26)

    def _set_filter(self, parameters: list[float]) -> None:
        self._filter = _index(parameters, 0, 19)

    def _set_slope(self, parameters: list[float]) -> None:
        self._slope = _index(parameters, 0, 3)

    def _set_reserve(self, parameters: list[float]) -> None:
        self._reserve = _index(parameters, 0, 2)

    def _set_sine(self, parameters: list[float]) -> None:
        self._sine_V = _within(parameters, 0.004, 5.0)

    def _set_auxiliary(self, parameters: list[float]) -> None:
        channel = _index(parameters, 1, 4) - 1
        volts = _within(parameters[1:], -10.5, 10.5)
        self._plant.set_voltage(self._name, channel, round(volts, 3))

    def _auto_phase(self) -> None:
        x, y = self._xy()
        turn = float(np.rad2deg(np.arctan2(y, x)))
        self._phase_deg = (self._phase_deg + turn + 180.0) % 360.0 - 180.0


def _numbers(text: str) -> list[float]:
    if not text:
        return []
    numbers = []
    for part in text.split(","):
        match = _NUMBER.fullmatch(part.strip())
        number = float(match[0]) if match else float("inf")
        if abs(number) > 1e30:
            raise _MistakeError(_COMMAND_ERROR)
        numbers.append(number)
    return numbers


def _within(parameters: list[float], low: float, high: float) -> float:
    if not parameters:
        raise _MistakeError(_COMMAND_ERROR)
    if not low <= parameters[0] <= high:
        raise _MistakeError(_EXECUTION)
    return parameters[0]


def _index(parameters: list[float], low: int, high: int) -> int:
    return int(_within(parameters, low, high))


def make_sr830(
    name: str,
    settings: InstrumentSettings,
    plant: PlantFace,
    rng: np.random.Generator,
    lab: VirtualLabSettings | None = None,
) -> Sr830:
    """Make a lock-in amplifier; options ``x_channel``, ``y_channel``, ``serial``."""
    options = Options(name, settings)
    return Sr830(
        name,
        plant,
        x_channel=options.integer("x_channel", 0, 0, 4095),
        y_channel=options.integer("y_channel", 1, 0, 4095),
        bits=(lab or VirtualLabSettings()).detector_bits,
        serial=options.text("serial", "00001"),
    )
