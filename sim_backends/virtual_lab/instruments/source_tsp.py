"""Keithley 2600-style source-meter: Lua-like lines, two channels a node (smua, smub).

More than two channels are further nodes of a TSP-Link: ``node[2].smua`` is the third.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument

from .common import Desk, LineAssembler
from .source_outputs import SourceOutputs
from .tsp_grammar import Assignment, Expression, Invocation, Name, Statement, TspSyntaxError, parse

__all__ = ["TspSource"]

FULL_V: Final = 40.4
FULL_A: Final = 3.03
RANGES_V: Final = (0.1, 1.0, 6.0, 40.0)
_CHANNEL = re.compile(r"(?:node\[([0-9]+)\]\.|localnode\.)?smu([ab])\.(.+)")
_STATEMENT_S, _MEASURE_S, _LINE_S = 3e-4, 2e-2, 5e-4
_SYNTAX, _RUNTIME, _TOO_BIG, _TOO_SMALL = -285, -286, 1102, 1103


class _TspError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@final
class TspSource(SimulatedInstrument):
    """Voltage sources with a current limit; errors wait in ``errorqueue``."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        rng: np.random.Generator,
        *,
        channels: int,
        bits: int | None,
        serial: str,
    ) -> None:
        self._n = channels
        self._serial = serial
        self._desk = Desk(plant)
        self._lines = LineAssembler(limit=4096)
        self._errors: deque[tuple[int, str]] = deque(maxlen=64)
        self._outputs = SourceOutputs(
            name,
            plant,
            self._desk,
            rng,
            n_channels=channels,
            low_V=-FULL_V,
            high_V=FULL_V,
            current_A=FULL_A,
            bits=bits,
        )
        self._reset()

    def _reset(self) -> None:
        self._outputs.reset()
        self._outputs.range_V[:] = FULL_V
        self._outputs.limit_A[:] = 0.1

    @override
    def new_session(self) -> None:
        self._lines.clear()

    @override
    def power_cycle(self) -> list[Reply]:
        self._desk.restart()
        self._lines.clear()
        self._errors.clear()
        self._reset()
        return []

    @override
    def feed(self, data: bytes) -> list[Reply]:
        self._desk.begin()
        for line in self._lines.add(data):
            if line is None:
                self._fail(_SYNTAX, "TSP Syntax error at line 1: chunk too long")
            elif line.strip():
                self._line(line.decode("latin-1").strip())
        return self._desk.end()

    def _line(self, line: str) -> None:
        self._desk.spend(_LINE_S)
        if line.startswith("*"):
            self._common(line.upper())
            return
        try:
            for statement in parse(line):
                self._desk.spend(_STATEMENT_S)
                self._run(statement)
        except TspSyntaxError as error:
            self._fail(_SYNTAX, f"TSP Syntax error at line 1: {error}")
        except _TspError as error:
            self._fail(error.code, error.text)

    def _common(self, line: str) -> None:
        if line == "*IDN?":
            self._say(f"Keithley Instruments Inc., Model 2602B, {self._serial}, 3.3.5")
        elif line in {"*OPC?", "*TST?"}:
            self._say("1" if line == "*OPC?" else "0")
        elif line == "*RST":
            self._reset()
            self._desk.spend(0.1)
        elif line == "*CLS":
            self._errors.clear()
        elif line not in {"*OPC", "*WAI", "*TRG"}:
            self._fail(_SYNTAX, f"TSP Syntax error at line 1: unexpected symbol near `{line[:20]}'")

    def _fail(self, code: int, text: str) -> None:
        if len(self._errors) == self._errors.maxlen:
            self._errors.pop()
            code, text = -350, "Queue overflow"
        self._errors.append((code, text.encode("ascii", "replace").decode("ascii")))

    def _say(self, text: str) -> None:
        self._desk.say(text.encode("latin-1", "replace") + b"\n")

    def _run(self, statement: Statement) -> None:
        if isinstance(statement, Assignment):
            self._assign(statement.path, self._value(statement.value))
        elif statement.path == "print":
            shown: list[str] = []
            for argument in statement.arguments:
                shown.extend(_shown(value) for value in self._values(argument))
            self._say("\t".join(shown))
        else:
            self._values(statement)

    def _where(self, path: str) -> tuple[int, str] | None:
        match = _CHANNEL.fullmatch(path)
        if match is None:
            return None
        channel = 2 * (int(match[1] or 1) - 1) + "ab".index(match[2])
        if not 0 <= channel < self._n:
            raise _TspError(_RUNTIME, f"TSP Runtime error at line 1: attempt to index `{path}'")
        return channel, match[3]

    def _value(self, expression: Expression) -> float | str | bool | None:
        values = self._values(expression)
        return values[0] if values else None

    def _values(self, expression: Expression) -> list[float | str | bool | None]:
        if isinstance(expression, Name):
            return [self._attribute(expression.path)]
        if isinstance(expression, Invocation):
            return self._call(expression)
        return [expression]

    def _attribute(self, path: str) -> float | str | None:
        where = self._where(path)
        if where is None:
            general: dict[str, float | str] = {
                "errorqueue.count": float(len(self._errors)),
                "localnode.model": "2602B",
                "localnode.serialno": self._serial,
                "localnode.revision": "3.3.5",
            }
            return general.get(path)
        channel, attribute = where
        outputs = self._outputs
        values: dict[str, float | str] = {
            "source.levelv": float(outputs.setpoint_V[channel]),
            "source.limiti": float(outputs.limit_A[channel]),
            "source.rangev": float(min(outputs.range_V[channel], RANGES_V[-1])),
            "source.output": float(outputs.on[channel]),
            "source.compliance": str(bool(outputs.limited[channel])).lower(),
            "source.func": 1.0,
            "OUTPUT_ON": 1.0,
            "OUTPUT_OFF": 0.0,
            "OUTPUT_DCVOLTS": 1.0,
            "AUTORANGE_ON": 1.0,
            "AUTORANGE_OFF": 0.0,
        }
        return values.get(attribute)

    def _call(self, call: Invocation) -> list[float | str | bool | None]:
        if call.path == "errorqueue.next":
            code, text = self._errors.popleft() if self._errors else (0, "Queue Is Empty")
            return [float(code), text, 20.0 if code else 0.0, 1.0]
        if call.path in {"errorqueue.clear", "reset", "beeper.beep", "waitcomplete"}:
            if call.path == "errorqueue.clear":
                self._errors.clear()
            elif call.path == "reset":
                self._reset()
            return []
        where = self._where(call.path)
        if where is not None and where[1] == "reset":
            channel = where[0]
            self._outputs.limit_A[channel] = 0.1
            self._outputs.setpoint_V[channel] = 0.0
            self._outputs.switch([channel], False)
            return []
        if where is not None and where[1] in {"measure.v", "measure.i", "measure.iv"}:
            channel = where[0]
            self._desk.spend(_MEASURE_S)
            volts, amperes = self._outputs.measured_V(channel), self._outputs.measured_A(channel)
            both = {"measure.v": (volts,), "measure.i": (amperes,)}
            return list(both.get(where[1], (amperes, volts)))
        raise _TspError(
            _RUNTIME, f"TSP Runtime error at line 1: attempt to call `{call.path}' (a nil value)"
        )

    def _assign(self, path: str, value: float | str | bool | None) -> None:
        where = self._where(path)
        if where is None:
            raise _TspError(_RUNTIME, f"TSP Runtime error at line 1: cannot assign `{path}'")
        if value is None or isinstance(value, str):
            raise _TspError(_RUNTIME, "TSP Runtime error at line 1: number expected")
        self._set(*where, float(value))

    def _set(self, channel: int, attribute: str, value: float) -> None:
        outputs = self._outputs
        if attribute == "source.levelv":
            _check(abs(value), 0.0, float(outputs.range_V[channel]))
            outputs.set_levels([channel], [value])
        elif attribute == "source.limiti":
            _check(value, 1e-9, FULL_A)
            outputs.limit_A[channel] = value
            outputs.apply([channel])
        elif attribute == "source.rangev":
            _check(abs(value), 0.0, FULL_V)
            top = next((r for r in RANGES_V if abs(value) <= r), FULL_V)
            _check(abs(float(outputs.setpoint_V[channel])), 0.0, 1.01 * top)
            outputs.range_V[channel] = 1.01 * top
            outputs.apply([channel])
        elif attribute == "source.output":
            _check(value, 0.0, 2.0)
            outputs.switch([channel], value == 1.0)
        elif attribute not in {
            "source.func",
            "source.autorangev",
            "source.limitv",
            "source.settling",
            "measure.nplc",
            "measure.autorangei",
            "measure.autorangev",
            "measure.rangei",
            "measure.rangev",
            "sense",
        }:
            raise _TspError(_RUNTIME, f"TSP Runtime error at line 1: no attribute `{attribute}'")


def _check(value: float, low: float, high: float) -> None:
    if value > high:
        raise _TspError(_TOO_BIG, "Parameter too big")
    if value < low:
        raise _TspError(_TOO_SMALL, "Parameter too small")


def _shown(value: float | str | bool | None) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:.5e}"
