"""Thermo-optic phase shifters with crosstalk: phase, power and voltage, as pure functions.

θ = phase_offset + π/P_π · (X @ P), P = V²/R; P is electrical power, X has a unit diagonal and
holds what the neighbours' heat adds. Fitted in power, never in volts: a heater's phase is linear
in its power.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import numpy as np
import numpy.typing as npt
from scipy.linalg import lu_factor, lu_solve

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration

__all__ = ["HeaterModel"]


@final
@dataclass(frozen=True, eq=False)
class HeaterModel:
    """Calibrated figures of a set of heaters; shapes (n,), ``crosstalk`` (n, n).

    Attributes
    ----------
    half_wave_power_W, resistance_ohm, phase_offset, crosstalk
        As in `RigCalibration`.
    """

    half_wave_power_W: FloatArray
    resistance_ohm: FloatArray
    phase_offset: FloatArray
    crosstalk: FloatArray

    @classmethod
    def of(cls, calibration: RigCalibration) -> Self:
        """Return the heater part of a calibration."""
        return cls(
            calibration.half_wave_power_W,
            calibration.resistance_ohm,
            calibration.phase_offset,
            calibration.crosstalk,
        )

    def __post_init__(self) -> None:
        n = len(self.half_wave_power_W)
        for name, shape in (
            ("half_wave_power_W", (n,)),
            ("resistance_ohm", (n,)),
            ("phase_offset", (n,)),
            ("crosstalk", (n, n)),
        ):
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise ConfigurationError(
                    "not finite, or of another shape",
                    field=f"calibration.{name}",
                    value=array.shape,
                    allowed=f"finite, shape {shape}",
                )
        if not ((self.half_wave_power_W > 0).all() and (self.resistance_ohm > 0).all()):
            raise ConfigurationError(
                "half-wave powers and resistances must be positive", field="calibration"
            )
        if n and np.linalg.cond(self.crosstalk) > 1e6:
            raise ConfigurationError(
                "the crosstalk matrix cannot be inverted",
                field="calibration.crosstalk",
                allowed="neighbours that heat less than the shifter's own heater",
            )

    def __len__(self) -> int:
        return len(self.half_wave_power_W)

    @cached_property
    def _factors(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        factors: tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]] = lu_factor(self.crosstalk)
        return factors

    @property
    def phase_per_power(self) -> FloatArray:
        """(n,) π/P_π, rad/W."""
        slope: FloatArray = np.pi / self.half_wave_power_W
        return slope

    @cached_property
    def neighbours_phase(self) -> FloatArray:
        """(n,) phase that neighbours add when each is heated by its half-wave power, rad."""
        neighbours = self.crosstalk - np.diag(np.diag(self.crosstalk))
        phase: FloatArray = self.phase_per_power * (neighbours @ self.half_wave_power_W)
        return phase

    def phases(self, power_W: FloatArray) -> FloatArray:
        """Return (n,) θ under powers (n,), rad, not wrapped."""
        heat = self.crosstalk @ power_W
        phases: FloatArray = self.phase_offset + self.phase_per_power * heat
        return phases

    def powers(self, phases: FloatArray) -> FloatArray:
        """Return the (n,) powers that give ``phases``; negative where a branch is too low."""
        heat = (phases - self.phase_offset) / self.phase_per_power
        powers: FloatArray = lu_solve(self._factors, heat) if len(self) else heat
        return powers

    def voltages(self, power_W: FloatArray) -> FloatArray:
        """Return (n,) V = √(P·R)."""
        voltage: FloatArray = np.sqrt(power_W * self.resistance_ohm)
        return voltage

    def powers_of_voltages(self, voltage_V: FloatArray) -> FloatArray:
        """Return (n,) P = V²/R."""
        power: FloatArray = voltage_V**2 / self.resistance_ohm
        return power

    def phase_step(self, voltage_V: FloatArray, step_V: FloatArray) -> FloatArray:
        """Return (n,) the worst phase error that rounding all voltages to ``step_V`` causes.

        Half a step at ``voltage_V`` in every channel, all errors of one sign.
        """
        power_error = (voltage_V + step_V / 4) * step_V / self.resistance_ohm
        worst: FloatArray = self.phase_per_power * (np.abs(self.crosstalk) @ power_error)
        return worst
