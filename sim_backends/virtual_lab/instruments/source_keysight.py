"""Keysight N6700-style modular supply: channel lists, protection, watchdog.

The watchdog looks at the time whenever `feed` is called, with no bytes as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply

from .scpi import Call, Command, ScpiEngine, ScpiError
from .scpi.parser import format_nr3, parse_boolean, parse_channel_list, parse_number
from .scpi_simulator import ScpiSimulator
from .source_outputs import SourceOutputs

__all__ = ["KeysightSource"]

_MEASURE_S = 2e-3


@final
class KeysightSource(ScpiSimulator):
    """``VOLT 1.2,(@1)`` and its kin; channels count from 1 on the wire."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        rng: np.random.Generator,
        *,
        channels: int,
        full_V: float,
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
            low_V=0.0,
            high_V=full_V,
            current_A=full_A,
            bits=bits,
        )
        self._watchdog = False
        self._watchdog_s = 60.0
        self._heard_s = plant.now_s
        self._full_V, self._full_A = full_V, full_A
        self._engine = ScpiEngine(
            self._desk,
            f"Keysight Technologies,N6702C,{serial},E.02.08",
            self._commands(),
            reset=self._reset,
            zero_error="+0",
            message_s=1e-3,
        )

    def _commands(self) -> tuple[Command, ...]:
        outputs = self._outputs
        volt, curr = "[SOURce]:VOLTage", "[SOURce]:CURRent"
        level = "[:LEVel][:IMMediate][:AMPLitude]"

        def measured(read: Callable[[int], float]) -> Callable[[Call], str]:
            def answer(call: Call) -> str:
                channels = self._list(call, 0)
                self._desk.spend(_MEASURE_S * len(channels))
                return ",".join(format_nr3(read(k)) for k in channels)

            return answer

        return (
            Command(f"{volt}{level}", self._set_voltage, 2),
            Command(f"{volt}{level}?", lambda c: self._ask(c, outputs.setpoint_V, self._full_V), 2),
            Command(f"{curr}{level}", self._set_current, 2),
            Command(f"{curr}{level}?", lambda c: self._ask(c, outputs.limit_A, self._full_A), 2),
            Command(f"{volt}:PROTection[:LEVel]", self._set_protection, 2),
            Command(
                f"{volt}:PROTection[:LEVel]?",
                lambda c: self._ask(c, np.minimum(outputs.protection_V, 1.2 * self._full_V), 0.0),
                2,
            ),
            Command(f"{volt}:SLEW", self._set_slew, 2),
            Command(
                f"{volt}:SLEW?",
                lambda c: self._ask(c, np.minimum(outputs.slew_V_per_s, 9.9e37), 9.9e37),
                2,
            ),
            Command(f"{curr}:PROTection:STATe", self._set_current_trip, 2),
            Command("OUTPut[:STATe]", self._switch, 2),
            Command(
                "OUTPut[:STATe]?",
                lambda c: ",".join(str(int(outputs.on[k])) for k in self._list(c, 0)),
                1,
            ),
            Command(
                "OUTPut:PROTection:CLEar", lambda c: outputs.clear_protection(self._list(c, 0)), 1
            ),
            Command("OUTPut:PROTection:WDOG[:STATe]", self._set_watchdog, 1),
            Command("OUTPut:PROTection:WDOG[:STATe]?", lambda c: str(int(self._watchdog))),
            Command("OUTPut:PROTection:WDOG:DELay", self._set_watchdog_delay, 1),
            Command("OUTPut:PROTection:WDOG:DELay?", lambda c: format_nr3(self._watchdog_s)),
            Command("MEASure[:SCALar]:VOLTage[:DC]?", measured(outputs.measured_V), 1),
            Command("MEASure[:SCALar]:CURRent[:DC]?", measured(outputs.measured_A), 1),
            Command("STATus:QUEStionable:CONDition?", self._questionable, 1),
            Command("STATus:OPERation:CONDition?", self._operation, 1),
            Command("SYSTem:CHANnel[:COUNt]?", lambda c: str(self._n)),
        )

    def _list(self, call: Call, number: int) -> list[int]:
        return parse_channel_list(call.parameter(number), self._n)

    def _ask(self, call: Call, values: np.ndarray, maximum: float) -> str:
        if len(call.parameters) == 2:
            word = parse_number(call.parameter(0), minimum=0.0, maximum=maximum, default=0.0)
            return ",".join(format_nr3(word) for _ in self._list(call, 1))
        return ",".join(format_nr3(float(values[k])) for k in self._list(call, 0))

    def _set_voltage(self, call: Call) -> None:
        channels = self._list(call, 1)
        value = parse_number(
            call.parameter(0), minimum=0.0, maximum=self._full_V, default=0.0, unit="V"
        )
        self._outputs.set_levels(channels, [value] * len(channels))

    def _set_current(self, call: Call) -> None:
        channels = self._list(call, 1)
        value = parse_number(
            call.parameter(0), minimum=0.0, maximum=self._full_A, default=self._full_A, unit="A"
        )
        self._outputs.limit_A[channels] = value
        self._outputs.apply(channels)

    def _set_protection(self, call: Call) -> None:
        channels = self._list(call, 1)
        top = 1.2 * self._full_V
        value = parse_number(call.parameter(0), minimum=0.0, maximum=top, default=top, unit="V")
        self._outputs.protection_V[channels] = value
        self._outputs.apply(channels)

    def _set_slew(self, call: Call) -> None:
        channels = self._list(call, 1)
        value = parse_number(call.parameter(0), minimum=0.0, maximum=9.9e37, default=9.9e37)
        if value == 0.0:
            raise ScpiError(-222)
        self._outputs.slew_V_per_s[channels] = value if value < 9.9e37 else np.inf

    def _set_current_trip(self, call: Call) -> None:
        channels = self._list(call, 1)
        self._outputs.trips_on_current[channels] = parse_boolean(call.parameter(0))
        self._outputs.apply(channels)

    def _switch(self, call: Call) -> None:
        channels = self._list(call, 1)
        self._outputs.switch(channels, parse_boolean(call.parameter(0)))

    def _set_watchdog(self, call: Call) -> None:
        self._watchdog = parse_boolean(call.parameter(0))

    def _set_watchdog_delay(self, call: Call) -> None:
        self._watchdog_s = parse_number(
            call.parameter(0), minimum=1.0, maximum=3600.0, default=60.0, unit="S"
        )

    def _questionable(self, call: Call) -> str:
        outputs = self._outputs
        return ",".join(
            str(
                int(outputs.over_voltage[k])
                + 2 * int(outputs.over_current[k])
                + 2048 * int(outputs.inhibited)
            )
            for k in self._list(call, 0)
        )

    def _operation(self, call: Call) -> str:
        outputs = self._outputs
        return ",".join(
            "4" if not outputs.on[k] else "2" if outputs.limited[k] else "1"
            for k in self._list(call, 0)
        )

    @override
    def _reset(self) -> None:
        self._outputs.reset()
        self._watchdog = False
        self._watchdog_s = 60.0

    @override
    def feed(self, data: bytes) -> list[Reply]:
        now = self._plant.now_s
        late = now - self._heard_s > self._watchdog_s
        if self._watchdog and late and not self._outputs.inhibited:
            self._outputs.inhibit()
        if data:
            self._heard_s = now
        replies = self._engine.feed(data)
        outputs = self._outputs
        tripped = bool(outputs.over_voltage.any() or outputs.over_current.any())
        self._engine.status.questionable = int(tripped or outputs.inhibited)
        return replies
