"""Rohde & Schwarz HMP/NGP-style supply: a channel is selected, then acted on.

The selection is shared by all who talk to the instrument, so ``INST:NSEL 2;:VOLT 1.2`` has to be
one message.
"""

from __future__ import annotations

from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.interface import PlantFace

from .scpi import Call, Command, ScpiEngine, ScpiError
from .scpi.parser import parse_boolean, parse_number
from .scpi_simulator import ScpiSimulator
from .source_outputs import SourceOutputs

__all__ = ["RohdeSchwarzSource"]

_MEASURE_S = 5e-3


@final
class RohdeSchwarzSource(ScpiSimulator):
    """``INST:NSEL``, then ``VOLT``, ``CURR``, ``OUTP``, ``MEAS``; channels count from 1."""

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
        self._full_V, self._full_A = full_V, full_A
        self._selected = 0
        self._channel_on = np.zeros(channels, dtype=bool)
        self._all_on = False
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
        self._engine = ScpiEngine(
            self._desk,
            f"ROHDE&SCHWARZ,HMP4040,{serial},HW50020001/SW2.70",
            self._commands(),
            reset=self._reset,
            message_s=3e-3,
        )

    def _commands(self) -> tuple[Command, ...]:
        outputs = self._outputs
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        return (
            Command("INSTrument:NSELect", self._select, 1),
            Command("INSTrument:NSELect?", lambda c: str(self._selected + 1)),
            Command("INSTrument[:SELect]", self._select_by_name, 1),
            Command("INSTrument[:SELect]?", lambda c: f"OUTP{self._selected + 1}"),
            Command(f"[SOURce]:VOLTage{level}", self._set_voltage, 1),
            Command(
                f"[SOURce]:VOLTage{level}?",
                lambda c: self._ask(c, float(outputs.setpoint_V[self._selected]), self._full_V, 3),
                1,
            ),
            Command(f"[SOURce]:CURRent{level}", self._set_current, 1),
            Command(
                f"[SOURce]:CURRent{level}?",
                lambda c: self._ask(c, float(outputs.limit_A[self._selected]), self._full_A, 4),
                1,
            ),
            Command("APPLy", self._apply, 2),
            Command("[SOURce]:VOLTage:PROTection[:LEVel]", self._set_protection, 1),
            Command(
                "[SOURce]:VOLTage:PROTection:TRIPped?",
                lambda c: str(int(outputs.over_voltage[self._selected])),
            ),
            Command(
                "[SOURce]:VOLTage:PROTection:CLEar",
                lambda c: outputs.clear_protection([self._selected]),
            ),
            Command("OUTPut[:STATe]", self._switch, 1),
            Command("OUTPut[:STATe]?", lambda c: str(int(outputs.on[self._selected]))),
            Command("OUTPut:SELect", self._switch_channel, 1),
            Command("OUTPut:GENeral", self._switch_all, 1),
            Command("OUTPut:GENeral?", lambda c: str(int(self._all_on))),
            Command(
                "MEASure[:SCALar]:VOLTage[:DC]?",
                lambda c: f"{outputs.measured_V(self._selected):.4f}",
                busy_s=_MEASURE_S,
            ),
            Command(
                "MEASure[:SCALar]:CURRent[:DC]?",
                lambda c: f"{outputs.measured_A(self._selected):.5f}",
                busy_s=_MEASURE_S,
            ),
            Command("SYSTem:REMote", lambda c: None),
            Command("SYSTem:LOCal", lambda c: None),
            Command("SYSTem:MIX", lambda c: None),
        )

    def _select(self, call: Call) -> None:
        self._selected = int(parse_number(call.parameter(0), minimum=1, maximum=self._n)) - 1

    def _select_by_name(self, call: Call) -> None:
        word = call.parameter(0).upper().removeprefix("OUT").removeprefix("P").removeprefix("UT")
        if not (word.isascii() and word.isdigit() and 1 <= int(word[:6]) <= self._n):
            raise ScpiError(-224)
        self._selected = int(word[:6]) - 1

    def _ask(self, call: Call, value: float, maximum: float, places: int) -> str:
        if call.parameters:
            value = parse_number(call.parameter(0), minimum=0.0, maximum=maximum)
        return f"{value:.{places + 2}f}"

    def _volts(self, text: str) -> float:
        return parse_number(text, minimum=0.0, maximum=self._full_V, default=0.0, unit="V")

    def _amperes(self, text: str) -> float:
        return parse_number(text, minimum=0.0, maximum=self._full_A, default=0.0, unit="A")

    def _set_voltage(self, call: Call) -> None:
        self._outputs.set_levels([self._selected], [self._volts(call.parameter(0))])

    def _set_current(self, call: Call) -> None:
        self._outputs.limit_A[self._selected] = self._amperes(call.parameter(0))
        self._outputs.apply([self._selected])

    def _apply(self, call: Call) -> None:
        volts = self._volts(call.parameter(0))
        if len(call.parameters) > 1:
            self._outputs.limit_A[self._selected] = self._amperes(call.parameter(1))
        self._outputs.set_levels([self._selected], [volts])

    def _set_protection(self, call: Call) -> None:
        top = 1.1 * self._full_V
        self._outputs.protection_V[self._selected] = parse_number(
            call.parameter(0), minimum=0.0, maximum=top, default=top, unit="V"
        )
        self._outputs.apply([self._selected])

    def _drive(self) -> None:
        self._outputs.on[:] = self._channel_on & self._all_on
        self._outputs.apply(range(self._n))

    def _switch(self, call: Call) -> None:
        on = parse_boolean(call.parameter(0))
        self._channel_on[self._selected] = on
        self._all_on = self._all_on or on
        self._drive()

    def _switch_channel(self, call: Call) -> None:
        self._channel_on[self._selected] = parse_boolean(call.parameter(0))
        self._drive()

    def _switch_all(self, call: Call) -> None:
        self._all_on = parse_boolean(call.parameter(0))
        self._drive()

    @override
    def _reset(self) -> None:
        self._selected = 0
        self._channel_on[:] = False
        self._all_on = False
        self._outputs.reset()
