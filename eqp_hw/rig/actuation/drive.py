"""What all heaters of a rig are for: from couplings, inputs and fields to phases, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .branches import Wanted
from .elements import CouplerArray, InjectionArray, unspecified

__all__ = ["Drive", "DriveMap"]


@final
@dataclass(frozen=True, eq=False)
class Drive:
    """What is wanted of the optics; None where nothing is wanted yet.

    Attributes
    ----------
    coupling
        (n_couplings,).
    inputs
        (n_inputs,) rad.
    bias
        (n_free,) complex.
    nudge
        (n_outputs,) complex.
    step
        Phase of the reference arm's shifter, rad.
    """

    coupling: FloatArray | None = None
    inputs: FloatArray | None = None
    bias: ComplexArray | None = None
    nudge: ComplexArray | None = None
    step: float = 0.0


@final
class DriveMap:
    """The roles of all heaters, in the order of `Wiring.heaters`."""

    def __init__(self, rig: Rig, calibration: RigCalibration) -> None:
        wiring, end = rig.wiring, 0
        rows: dict[str, slice] = {}
        for name in (
            "couplings",
            "inputs",
            "bias_amplitude",
            "bias_phase",
            "nudge_amplitude",
            "nudge_phase",
        ):
            count = len(getattr(wiring, name))
            rows[name] = slice(end, end + count)
            end += count
        self.couplers = CouplerArray(calibration.coupling_maximum, rows["couplings"])
        self.bias = InjectionArray(
            calibration.bias_maximum, rows["bias_amplitude"], rows["bias_phase"]
        )
        self.nudge = InjectionArray(
            calibration.nudge_maximum, rows["nudge_amplitude"], rows["nudge_phase"]
        )
        self._amplitudes = (rows["bias_amplitude"], rows["nudge_amplitude"])
        self._n_heaters = len(wiring.heaters)
        self._inputs = rows["inputs"]
        self._n_inputs = len(wiring.inputs)
        self.step_row = None if wiring.step_shifter is None else end

    @property
    def span(self) -> FloatArray:
        """(n_heaters,) range of phase, rad, in which each finds all that may be wanted of it.

        2π, and 3π for an injection amplitude: one that changes sign goes on beyond 2π.
        """
        span = np.full(self._n_heaters, 2 * np.pi)
        for rows in self._amplitudes:
            span[rows] = 3 * np.pi
        return span

    @property
    def at_rest(self) -> Drive:
        """Couplings, inputs and fields all zero: the least that any experiment needs."""
        return Drive(
            coupling=np.zeros(len(self.couplers.maximum)),
            inputs=np.zeros(self._n_inputs),
            bias=np.zeros(len(self.bias.maximum), complex),
            nudge=np.zeros(len(self.nudge.maximum), complex),
        )

    def wanted(self, drive: Drive, held: FloatArray) -> Wanted:
        """Return what is wanted of every heater; ``held`` are the phases driven to last.

        Raises
        ------
        ParameterError, CapabilityError
            A coupling or field beyond its channel.
        """
        bias_amplitude, bias_phase = self.bias.wanted(drive.bias, held)
        nudge_amplitude, nudge_phase = self.nudge.wanted(drive.nudge, held)
        inputs = (
            unspecified(self._n_inputs) if drive.inputs is None else Wanted.phases(drive.inputs)
        )
        parts = [self.couplers.wanted(drive.coupling), inputs, bias_amplitude, bias_phase]
        parts += [nudge_amplitude, nudge_phase]
        if self.step_row is not None:
            parts.append(Wanted.phases(np.array([drive.step])))
        return Wanted.join(parts)

    def inputs(self, theta: FloatArray) -> FloatArray:
        """Return the input phases that all heaters' phases make, not wrapped."""
        return theta[self._inputs]
