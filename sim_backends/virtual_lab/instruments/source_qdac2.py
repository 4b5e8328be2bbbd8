"""QDevil QDAC-II-style source: bipolar, two ranges, slew rates, and a triggered update.

Channels are addressed by suffix (``sour3:volt 0.1``) or by list (``sour:volt 0.1,(@3)``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.interface import PlantFace

from .scpi import Call, Command, ScpiEngine, ScpiError
from .scpi.parser import parse_channel_list, parse_choice, parse_number
from .scpi_simulator import ScpiSimulator
from .source_outputs import SourceOutputs

__all__ = ["Qdac2Source"]

RANGES_V: Final = {"LOW": 2.0, "HIGH": 10.0}
LOW_METER_A: Final = 2e-7
_SLOWEST, _FASTEST = 0.01, 2e7


@final
class Qdac2Source(ScpiSimulator):
    """Always on; ``sour3:volt:trig`` prepares a level that ``*trg`` applies to all at once."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        rng: np.random.Generator,
        *,
        channels: int,
        full_A: float,
        bits: int | None,
        serial: str,
    ) -> None:
        super().__init__(plant)
        self._n = channels
        self._outputs = SourceOutputs(
            name,
            plant,
            self._desk,
            rng,
            n_channels=channels,
            low_V=-RANGES_V["HIGH"],
            high_V=RANGES_V["HIGH"],
            current_A=full_A,
            bits=bits,
            switched_on=True,
        )
        self._meter_A = np.full(channels, full_A)
        self._full_A = full_A
        self._mode = ["FIX"] * channels
        self._armed: dict[int, float] = {}
        self._engine = ScpiEngine(
            self._desk,
            f"QDevil,QDAC-II,{serial},12-1.70",
            self._commands(),
            reset=self._reset,
            trigger=self._trigger,
            reset_s=5.0,
            message_s=4e-4,
            queue_length=64,
        )

    def _commands(self) -> tuple[Command, ...]:
        outputs = self._outputs
        source = "SOURce#[:DC]"
        level = "[:LEVel][:IMMediate][:AMPLitude]"

        def each(read: Callable[[int], str]) -> Callable[[Call], str]:
            return lambda call: ",".join(read(k) for k in self._channels(call, 0))

        return (
            Command(f"{source}:VOLTage:MODE", self._set_mode, 2),
            Command(f"{source}:VOLTage:MODE?", each(lambda k: self._mode[k]), 1),
            Command(f"{source}:VOLTage:SLEW", self._set_slew, 2),
            Command(
                f"{source}:VOLTage:SLEW?",
                each(lambda k: f"{min(outputs.slew_V_per_s[k], _FASTEST):g}"),
                1,
            ),
            Command(f"{source}:VOLTage:TRIGgered{level}", self._arm, 2),
            Command(f"{source}:VOLTage:TRIGger{level}", self._arm, 2),
            Command(
                f"{source}:VOLTage:LAST?",
                each(lambda k: _plain(outputs.setpoint_V[k])),
                1,
            ),
            Command(f"{source}:VOLTage{level}", self._set_voltage, 2),
            Command(f"{source}:VOLTage{level}?", each(lambda k: _plain(outputs.setpoint_V[k])), 1),
            Command(f"{source}:RANGe", self._set_range, 2),
            Command(
                f"{source}:RANGe?",
                each(lambda k: "LOW" if outputs.range_V[k] < RANGES_V["HIGH"] else "HIGH"),
                1,
            ),
            Command("SENSe#:RANGe", self._set_meter, 2),
            Command("READ#?", self._read, 1),
            Command("SYSTem:CHANnel[:COUNt]?", lambda c: str(self._n)),
        )

    def _channels(self, call: Call, number: int) -> list[int]:
        if len(call.parameters) > number:
            return parse_channel_list(call.parameter(number), self._n)
        if not 1 <= call.suffixes[0] <= self._n:
            raise ScpiError(-114)
        return [call.suffixes[0] - 1]

    def _level(self, call: Call, channels: list[int]) -> float:
        value = parse_number(call.parameter(0), default=0.0, unit="V")
        if any(abs(value) > self._outputs.range_V[k] for k in channels):
            raise ScpiError(-222)
        return value

    def _set_voltage(self, call: Call) -> None:
        call.parameter(0)
        channels = self._channels(call, 1)
        value = self._level(call, channels)
        if any(self._mode[k] != "FIX" for k in channels):
            raise ScpiError(-221)
        self._outputs.set_levels(channels, [value] * len(channels))

    def _arm(self, call: Call) -> None:
        call.parameter(0)
        channels = self._channels(call, 1)
        value = self._level(call, channels)
        self._armed.update(dict.fromkeys(channels, value))

    def _trigger(self) -> None:
        armed, self._armed = self._armed, {}
        self._outputs.set_levels(list(armed), list(armed.values()))

    def _set_mode(self, call: Call) -> None:
        mode = parse_choice(call.parameter(0), "FIXed", "LIST", "SWEep")
        for k in self._channels(call, 1):
            self._mode[k] = mode

    def _set_slew(self, call: Call) -> None:
        text = call.parameter(0)
        channels = self._channels(call, 1)
        if text.upper() in {"INF", "INFINITY", "MAX"}:
            self._outputs.slew_V_per_s[channels] = np.inf
            return
        self._outputs.slew_V_per_s[channels] = parse_number(
            text, minimum=_SLOWEST, maximum=_FASTEST
        )

    def _set_range(self, call: Call) -> None:
        top = RANGES_V[parse_choice(call.parameter(0), "LOW", "HIGH")]
        channels = self._channels(call, 1)
        if any(abs(self._outputs.setpoint_V[k]) > top for k in channels):
            raise ScpiError(-221)
        self._outputs.range_V[channels] = top
        for k in [k for k in channels if abs(self._armed.get(k, 0.0)) > top]:
            del self._armed[k]
        self._outputs.set_levels(channels, [float(self._outputs.setpoint_V[k]) for k in channels])

    def _set_meter(self, call: Call) -> None:
        word = parse_choice(call.parameter(0), "LOW", "HIGH")
        top = self._full_A if word == "HIGH" else LOW_METER_A
        self._meter_A[self._channels(call, 1)] = top

    def _read(self, call: Call) -> str:
        channels = self._channels(call, 0)
        self._desk.spend(2e-3)
        readings = [self._outputs.measured_A(k) for k in channels]
        tops = [1.1 * float(self._meter_A[k]) for k in channels]
        return ",".join(f"{min(max(a, -t), t):.6e}" for a, t in zip(readings, tops, strict=True))

    @override
    def _reset(self) -> None:
        self._outputs.reset()
        self._meter_A[:] = self._full_A
        self._mode = ["FIX"] * self._n
        self._armed.clear()


def _plain(value: float) -> str:
    """Return volts as this instrument prints them."""
    return f"{value:.7f}"
