"""Simulators with a grammar of one line, for tests of what lies around simulators."""

from __future__ import annotations

import json
from typing import Any, final

import numpy as np
from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument

WAKE = b"HELLO\n"


@final
class LineInstrument(SimulatedInstrument):
    """Answers each line: ``set CH V``, ``read CH,CH,…``, ``wait S``, ``crash``, else an echo."""

    def __init__(self, name: str, plant: PlantFace) -> None:
        self._name = name
        self._plant = plant
        self._buffer = b""
        self.lines: list[bytes] = []
        self.cycles = 0
        self.looks = 0

    @override
    def feed(self, data: bytes) -> list[Reply]:
        self.looks += not data
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        return [reply for line in lines for reply in self._answer(line)]

    def _answer(self, line: bytes) -> list[Reply]:
        self.lines.append(line)
        word, _, rest = line.partition(b" ")
        if word == b"set":
            channel, voltage = rest.split()
            self._plant.set_voltage(self._name, int(channel), float(voltage))
            self._plant.elapse(0.01)
            return [Reply(b"OK\n")]
        if word == b"read":
            channels = [int(number) for number in rest.split(b",")]
            values = self._plant.detector_V(self._name, channels, 1)[0]
            self._plant.elapse(0.01)
            return [Reply(json.dumps(values.tolist()).encode() + b"\n")]
        if word == b"wait":
            return [
                Reply(b"late\n", after_s=float(rest)),
                Reply(b"event\n", after_s=float(rest) / 2, asynchronous=True),
            ]
        if word == b"silent":
            return []
        if word == b"crash":
            raise RuntimeError("a bug")
        return [Reply(line + b"\n")]

    @override
    def new_session(self) -> None:
        self._buffer = b""

    @override
    def power_cycle(self) -> list[Reply]:
        self._buffer = b""
        self.cycles += 1
        return [Reply(WAKE, asynchronous=True)]


def line_instrument(
    name: str, settings: Any, plant: PlantFace, rng: np.random.Generator, lab: Any = None
) -> LineInstrument:
    return LineInstrument(name, plant)


LINE_SIMULATORS = {"qontrol": line_instrument, "scpi-digitiser": line_instrument}
