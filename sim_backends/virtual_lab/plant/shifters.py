"""All phase shifters of a rig: voltages in, phases out, with thermal lag and drift."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration

from . import formulas

__all__ = ["Shifters"]


@final
class Shifters:
    """Thermal state and drift of every heater; the caller keeps the time.

    Between two changes of a voltage the lag is an exact exponential and the drift an exact
    random walk: how often the state is looked at changes neither.

    ``version`` counts the changes of the phases.

    Parameters
    ----------
    figures
        True figures.
    dead
        (n_heaters,) heaters that draw no current.
    thermal_time_s, drift_per_sqrt_s
        As in the rig file.
    rng
        For the drift.
    """

    def __init__(
        self,
        figures: RigCalibration,
        dead: list[bool],
        thermal_time_s: float,
        drift_per_sqrt_s: float,
        rng: np.random.Generator,
    ) -> None:
        n = len(figures.resistance_ohm)
        self._figures = figures
        self._conductance = np.where(dead, 0.0, 1.0 / figures.resistance_ohm)
        self._time_s = thermal_time_s
        self._drift_per_sqrt_s = drift_per_sqrt_s
        self._rng = rng
        self._voltage = np.zeros(n)
        self._target = np.zeros(n)
        self._target_known = True
        self._heat = np.zeros(n)
        self._drift = np.zeros(n)
        self.version = 0

    @property
    def voltage_V(self) -> FloatArray:
        """(n_heaters,) voltages driven now."""
        return self._voltage

    @property
    def phases(self) -> FloatArray:
        """(n_heaters,) phases θ at the time last advanced to, rad."""
        phases: FloatArray = self._figures.phase_offset + self._drift + self._heat
        return phases

    def set_voltage(self, heater: int, voltage_V: float) -> None:
        """Drive one heater from now on; `advance` to the present first."""
        if voltage_V != self._voltage[heater]:
            self._voltage[heater] = voltage_V
            self._target_known = False

    def current_A(self, heater: int) -> float:
        """Return the current of one heater; 0 for a dead one."""
        return float(self._voltage[heater] * self._conductance[heater])

    def advance(self, duration_s: float) -> None:
        """Let ``duration_s`` pass, which may be none."""
        if duration_s > 0.0 or self._time_s == 0.0:
            self._follow_target(duration_s)
        if duration_s <= 0.0:
            return
        if self._drift_per_sqrt_s > 0.0:
            step = self._drift_per_sqrt_s * np.sqrt(duration_s)
            self._drift += step * self._rng.standard_normal(len(self._drift))
            self.version += 1

    def _follow_target(self, duration_s: float) -> None:
        if not self._target_known:
            figures = self._figures
            power = np.square(self._voltage) * self._conductance
            self._target = formulas.heating_phase(
                power, figures.half_wave_power_W, figures.crosstalk
            )
            self._target_known = True
        heat = formulas.low_pass(self._heat, self._target, duration_s, self._time_s)
        if not np.array_equal(heat, self._heat):
            self._heat = heat
            self.version += 1
