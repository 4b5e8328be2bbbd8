"""What a rig itself knows of what it makes: ranges, steps of its sources, and capabilities."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ParameterError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.imperfections.interface import Draws, Imperfection, Setup, Signal

from .heaters import Heaters, amplitude_phase, injection
from .sources import Drives

__all__ = ["SourceSteps", "twin_capabilities"]


def twin_capabilities(rig: Rig, known: RigCalibration, drives: Drives) -> Capabilities:
    """Return what the rig would state, so that the same experiments run on its twin."""
    able = len(rig.wiring.bias_amplitude) > 0
    highest = float(known.coupling_maximum.min())
    error_W = (drives.highest_V + drives.step_V / 4) * drives.step_V / known.resistance_ohm
    phase_error = np.pi / known.half_wave_power_W * (np.abs(known.crosstalk) @ error_W)
    step = float((known.coupling_maximum * phase_error[: len(known.coupling_maximum)]).max())
    return Capabilities(
        nudge_nodes=tuple(int(node) for node in rig.network.outputs),
        batch_limit=1,
        nudge_maximum=float(known.nudge_maximum.min()),
        state_restore=able,
        coupling_range=(-highest, highest),
        coupling_bits=max(1, math.floor(math.log2(2 * highest / step + 1))),
        bias_control="complex" if able else "none",
        bias_maximum=float(known.bias_maximum.min()) if able else math.inf,
        settle_s=rig.settings.settle.typical_s,
    )


@final
class SourceSteps(Imperfection):
    """Refuses what is out of range, and rounds heater phases to the steps of the sources.

    Parameters
    ----------
    setup
        As for all imperfections.
    heaters, known
        The rig's heaters and calibration.
    able
        What the substrate with it can do.
    """

    known = True

    def __init__(
        self, setup: Setup, heaters: Heaters, known: RigCalibration, able: Capabilities
    ) -> None:
        super().__init__(setup)
        self._heaters = heaters
        self._figures = known
        self._able = able

    @override
    def capabilities(self, inner: Capabilities) -> Capabilities:
        return self._able

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        if asked:
            self._refuse(signal)
        group = self.setup.network.coupling_group
        coupling = self._coupling(_by_group(signal.forward, group))[group]
        return signal.with_couplings(coupling, coupling).with_bias(self._bias(signal.bias))

    def _refuse(self, signal: Signal) -> None:
        free, group = self.setup.network.free, self.setup.network.coupling_group
        _, highest = self._able.coupling_range
        wrong = np.flatnonzero(np.abs(signal.forward) > highest * (1 + 1e-12))
        if len(wrong):
            raise ParameterError(
                "outside the range of the coupler",
                field=f"coupling[{group[wrong[0]]}]",
                value=float(signal.forward[wrong[0]]),
                allowed=f"{-highest:.6g} to {highest:.6g}",
            )
        most = self._figures.bias_maximum if len(self._figures.bias_maximum) else 0.0
        wrong = np.flatnonzero(np.abs(signal.bias[free]) > most)
        if len(wrong):
            node = int(free[wrong[0]])
            limit = float(np.broadcast_to(most, free.shape)[wrong[0]])
            raise ParameterError(
                "above what the injection channel can make",
                field=f"bias[{node}]",
                value=complex(signal.bias[node]),
                allowed=f"amplitudes up to {limit:.6g}",
            )

    def _coupling(self, coupling: FloatArray) -> FloatArray:
        maximum = self._figures.coupling_maximum
        theta = self._heaters.coupler(coupling, maximum)
        made: FloatArray = maximum * np.cos(self._heaters.rounded(theta, "couplings"))
        return made

    def _bias(self, bias: ComplexArray) -> ComplexArray:
        made, free = bias.copy(), self.setup.network.free
        if len(self._figures.bias_maximum):
            amplitude, phase = amplitude_phase(bias[free], self._figures.bias_maximum)
            made[free] = injection(
                self._heaters.rounded(amplitude, "bias_amplitude"),
                self._heaters.rounded(phase, "bias_phase"),
                self._figures.bias_maximum,
            )
        return made

    @override
    def inputs(self, phases: FloatArray) -> FloatArray:
        return wrap(self._heaters.rounded(phases, "inputs"))

    @override
    def nudge(self, field: ComplexArray) -> ComplexArray:
        amplitude, phase = amplitude_phase(field, self._figures.nudge_maximum)
        return injection(
            self._heaters.rounded(amplitude, "nudge_amplitude"),
            self._heaters.rounded(phase, "nudge_phase"),
            self._figures.nudge_maximum,
        )

    @override
    def truth(self) -> Draws:
        return {}


def _by_group(bonds: FloatArray, group: np.ndarray) -> FloatArray:
    """Return one value a coupling; bonds of one have the same."""
    values = np.empty(int(group.max()) + 1)
    values[group] = bonds
    return values
