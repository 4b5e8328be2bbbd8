"""Which heater phases make a coupling or a field, and what they make when they are off.

Coupler: J = J_max cos θ; injection: A_max sin(θ_A/2) exp(iθ_ψ) (docs/rigs.md). Branches are the
ones of least power. All functions are pure but for the figures of one rig.
"""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .sources import Drives

__all__ = ["Heaters", "amplitude_phase", "injection"]


@final
class Heaters:
    """Heaters of one rig by role.

    Parameters
    ----------
    rig
        Its wiring.
    known
        Its calibration.
    drives
        Steps of its sources.
    """

    def __init__(self, rig: Rig, known: RigCalibration, drives: Drives) -> None:
        wiring, end = rig.wiring, 0
        self.rows: dict[str, slice] = {}
        for name in (
            "couplings",
            "inputs",
            "bias_amplitude",
            "bias_phase",
            "nudge_amplitude",
            "nudge_phase",
        ):
            count = len(getattr(wiring, name))
            self.rows[name] = slice(end, end + count)
            end += count
        self._offset = known.phase_offset
        self._per_square = np.pi / (known.half_wave_power_W * known.resistance_ohm)
        self._step = drives.step_V

    def swing(self, theta: FloatArray, role: str) -> FloatArray:
        """Return by how much heat turns the phases to reach θ, in [0, 2π)."""
        turn: FloatArray = np.mod(theta - self._offset[self.rows[role]], 2 * np.pi)
        return turn

    def coupler(self, coupling: FloatArray, maximum: FloatArray) -> FloatArray:
        """Return θ of couplers: of ±arccos(J/J_max) the one of less power."""
        theta = np.arccos(np.clip(coupling / maximum, -1.0, 1.0))
        plus, minus = self.swing(theta, "couplings"), self.swing(-theta, "couplings")
        return np.where(plus <= minus, theta, -theta)

    def rounded(self, theta: FloatArray, role: str) -> FloatArray:
        """Return the phases that set-points in whole steps make; heat goes with V².

        On the branch of θ: an injection amplitude, sin(θ/2), would change sign with another one.
        """
        rows = self.rows[role]
        step, per_square = self._step[rows], self._per_square[rows]
        swing = self.swing(theta, role)
        heat = per_square * (np.rint(np.sqrt(swing / per_square) / step) * step) ** 2
        reached: FloatArray = theta + heat - swing
        return reached


def amplitude_phase(field: ComplexArray, maximum: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return θ_A and θ_ψ that make fields, saturating at the maximum."""
    share = np.clip(np.abs(field) / maximum, 0.0, 1.0)
    return 2 * np.arcsin(share), np.angle(field)


def injection(amplitude: FloatArray, phase: FloatArray, maximum: FloatArray) -> ComplexArray:
    """Return A_max sin(θ_A/2) exp(iθ_ψ)."""
    field: ComplexArray = maximum * np.sin(amplitude / 2) * np.exp(1j * phase)
    return field
