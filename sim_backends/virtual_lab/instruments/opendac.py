r"""Kind ``opendac``: Arduino DAC/ADC boards (commands end in CR, answers in CRLF).

Two firmwares with nearly the same identity speak volts or millivolts (option ``unit``). As the
firmware does, text that is no number counts as 0, spaces and LF are dropped, commands are
case-sensitive, and what is unknown answers ``NOP``. BUFFER_RAMP sends two raw bytes a reading
(big-endian, 0 … 65535 over −10 … 10 V), which may look like CR or LF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument

from .common import Desk, LineAssembler, Options, adc_count, quantised, wire_time_s

__all__ = ["IDENTITIES", "OpenDac", "make_opendac"]

IDENTITIES: Final[Mapping[str, str]] = {
    "V": "DAC-ADC_AD7734-AD5764",
    "mV": "DAC-ADC_AD7734-AD5764_UNIT2",
}
FULL_V: Final = 10.0
_LEADING_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_MAX_READINGS: Final = 20_000
_COMMAND_S: Final = 1e-3


def _to_float(text: str) -> float:
    match = _LEADING_FLOAT.match(text)
    return float(match[0][:40]) if match else 0.0


def _to_int(text: str) -> int:
    value = _to_float(text)
    return int(value) if abs(value) < 2**31 else 0


@final
class OpenDac(SimulatedInstrument):
    """Bipolar DAC channels and ADC channels (the plant's detectors of this instrument)."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        *,
        channels: int,
        adc_channels: int,
        unit: str,
        bits: int | None,
        adc_bits: int | None,
    ) -> None:
        self._name = name
        self._plant = plant
        self._n = channels
        self._n_adc = adc_channels
        self._unit = unit
        self._per_V = 1.0 if unit == "V" else 1e3
        self._bits = bits
        self._adc_bits = adc_bits
        self._desk = Desk(plant)
        self._lines = LineAssembler(b"\r", 512)
        self._commands: Mapping[str, tuple[int, Callable[[list[str]], None]]] = {
            "*IDN?": (0, lambda p: self._line(IDENTITIES[unit])),
            "*RDY?": (0, lambda p: self._line("READY")),
            "SET": (2, self._set),
            "GET_DAC": (1, self._get_dac),
            "GET_ADC": (1, self._get_adc),
            "CONVERT_TIME": (2, self._convert_time),
            "RESET": (0, lambda p: None),
            "RAMP1": (5, self._ramp),
            "BUFFER_RAMP": (6, self._buffer_ramp),
        }
        self._reset()

    def _reset(self) -> None:
        self._conversion_s = [394e-6] * self._n_adc
        for channel in range(self._n):
            self._plant.set_voltage(self._name, channel, 0.0)

    @override
    def new_session(self) -> None:
        self._lines.clear()

    @override
    def power_cycle(self) -> list[Reply]:
        self._desk.restart()
        self._lines.clear()
        self._reset()
        return []

    @override
    def feed(self, data: bytes) -> list[Reply]:
        self._desk.begin()
        for line in self._lines.add(data):
            self._run(line)
        return self._desk.end()

    def _run(self, line: bytes | None) -> None:
        self._desk.spend(_COMMAND_S + wire_time_s(len(line or b"") + 1))
        text = "" if line is None else line.decode("latin-1")
        words = text.replace("\n", "").replace(" ", "").split(",")
        least, command = self._commands.get(words[0], (0, None))
        if command is None or len(words) - 1 < least:
            self._line("NOP")
        else:
            command(words[1:])

    def _line(self, text: str) -> None:
        data = text.encode("latin-1", "replace") + b"\r\n"
        self._desk.spend(wire_time_s(len(data)))
        self._desk.say(data)

    def _code(self, volts: float) -> float:
        """Return the voltage of the converter's code; the firmware cuts the fraction off."""
        if self._bits is None:
            return volts
        top = (1 << (self._bits - 1)) - (1 if volts >= 0.0 else 0)
        return int(volts / FULL_V * top) / top * FULL_V

    def _drive(self, channel: int, volts: float) -> float:
        volts = self._code(volts)
        if 0 <= channel < self._n:
            self._plant.set_voltage(self._name, channel, volts)
        return volts

    def _set(self, words: list[str]) -> None:
        volts = _to_float(words[1]) / self._per_V
        if abs(volts) > FULL_V:
            self._line("VOLTAGE_OVERRANGE")
            return
        driven = self._drive(_to_int(words[0]), volts)
        self._line(f"DAC {words[0]} UPDATED TO {driven * self._per_V:.4f}{self._unit}")

    def _get_dac(self, words: list[str]) -> None:
        channel = _to_int(words[0])
        if not 0 <= channel < self._n:
            self._line("NOP")
            return
        self._line(f"{self._plant.voltage_V(self._name, channel) * self._per_V:.4f}")

    def _read(self, channels: list[int]) -> list[float]:
        self._desk.spend(sum(self._conversion_s[k] for k in channels))
        return [float(v) for v in self._plant.detector_V(self._name, channels, 1)[0]]

    def _get_adc(self, words: list[str]) -> None:
        channel = _to_int(words[0])
        if not 0 <= channel < self._n_adc:
            self._line("NOP")
            return
        volts = self._read([channel])[0]
        if abs(volts) > FULL_V:
            volts = 0.0  # the firmware answers 0 when its converter flags an overrange
        volts = quantised(volts, -FULL_V, FULL_V, self._adc_bits)
        self._line(f"{volts * self._per_V:.4f}")

    def _convert_time(self, words: list[str]) -> None:
        channel, wanted = _to_int(words[0]), _to_float(words[1])
        if not 0 <= channel < self._n_adc:
            self._line("NOP")
            return
        steps = min(max(round((wanted * 6.144 - 249.0) / 128.0), 2), 127)
        actual_us = int((steps * 128 + 249) / 6.144)
        self._conversion_s[channel] = actual_us * 1e-6
        self._line(str(actual_us))

    def _ramp(self, words: list[str]) -> None:
        channel, steps = _to_int(words[0]), min(max(_to_int(words[3]), 1), 10_000)
        start, stop = _to_float(words[1]) / self._per_V, _to_float(words[2]) / self._per_V
        for k in range(steps):
            volts = start + (stop - start) * k / max(steps - 1, 1)
            self._drive(channel, min(max(volts, -FULL_V), FULL_V))
            self._desk.spend(min(max(_to_float(words[4]), 0.0), 1e6) * 1e-6)
        self._line("RAMP_FINISHED")

    def _buffer_ramp(self, words: list[str]) -> None:
        dacs = [int(c) if c.isascii() and c.isdigit() else -1 for c in words[0]]
        adcs = [int(c) if c.isascii() and c.isdigit() else -1 for c in words[1]]
        n = len(dacs)
        if len(words) < 2 * n + 4 or any(not 0 <= k < self._n_adc for k in adcs):
            self._line("NOP")
            return
        start = np.array([_to_float(w) for w in words[2 : 2 + n]]) / self._per_V
        stop = np.array([_to_float(w) for w in words[2 + n : 2 + 2 * n]]) / self._per_V
        steps = min(max(_to_int(words[2 + 2 * n]), 0), _MAX_READINGS // max(len(adcs), 1))
        wait_s = min(max(_to_float(words[3 + 2 * n]), 0.0), 1e6) * 1e-6
        average = min(max(_to_int(words[4 + 2 * n]), 1), 64) if len(words) > 2 * n + 4 else 1
        data = bytearray()
        for k in range(steps):
            levels = start + (stop - start) * (k / max(steps - 1, 1))
            for channel, volts in zip(dacs, np.clip(levels, -FULL_V, FULL_V), strict=True):
                self._drive(channel, float(volts))
            self._desk.spend(wait_s)
            if adcs:
                mean = np.mean([self._read(adcs) for _ in range(average)], axis=0)
                for volts in mean:
                    data += adc_count(float(volts), -FULL_V, FULL_V, 16).to_bytes(2, "big")
        if data:
            self._desk.say(bytes(data))
        self._line("BUFFER_RAMP_FINISHED")


def make_opendac(
    name: str,
    settings: InstrumentSettings,
    plant: PlantFace,
    rng: np.random.Generator,
    lab: VirtualLabSettings | None = None,
) -> OpenDac:
    """Make a board; options ``unit`` ("V" or "mV"), ``channels``, ``adc_channels``."""
    options = Options(name, settings)
    truths = lab or VirtualLabSettings()
    unit = options.text("unit", "V", tuple(IDENTITIES))
    return OpenDac(
        name,
        plant,
        channels=options.integer("channels", 4 if unit == "V" else 8, 1, 10),
        adc_channels=options.integer("adc_channels", 4, 1, 10),
        unit=unit,
        bits=truths.source_bits,
        adc_bits=truths.detector_bits,
    )
