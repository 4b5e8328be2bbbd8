"""The power stage of a simulated source: set-points, limits, protection, ramps, meters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace

from .common import Desk, quantised

__all__ = ["SourceOutputs"]

_RAMP_STEPS = 20


@final
class SourceOutputs:
    """Channels with a set-point, a current limit, over-voltage protection and a switch.

    A load that draws more than the limit gets the voltage at which it draws the limit. A ramp is
    run to its end before anything else is answered.
    """

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        desk: Desk,
        rng: np.random.Generator,
        *,
        n_channels: int,
        low_V: float,
        high_V: float,
        current_A: float,
        bits: int | None,
        switched_on: bool = False,
    ) -> None:
        self.n_channels = n_channels
        self.low_V, self.high_V, self.full_A = low_V, high_V, current_A
        self._name = name
        self._plant = plant
        self._desk = desk
        self._rng = rng
        self._bits = bits
        self._switched_on = switched_on
        self.setpoint_V: FloatArray = np.zeros(n_channels)
        self.limit_A: FloatArray = np.full(n_channels, current_A)
        self.protection_V: FloatArray = np.full(n_channels, math.inf)
        self.range_V: FloatArray = np.full(n_channels, high_V)
        self.slew_V_per_s: FloatArray = np.full(n_channels, math.inf)
        self.on = np.zeros(n_channels, dtype=bool)
        self.over_voltage = np.zeros(n_channels, dtype=bool)
        self.over_current = np.zeros(n_channels, dtype=bool)
        self.trips_on_current = np.zeros(n_channels, dtype=bool)
        self.limited = np.zeros(n_channels, dtype=bool)
        self.inhibited = False
        self.reset()

    def reset(self) -> None:
        """Go to the state of power-up: zero volts everywhere."""
        self.setpoint_V[:] = 0.0
        self.limit_A[:] = self.full_A
        self.protection_V[:] = math.inf
        self.range_V[:] = self.high_V
        self.slew_V_per_s[:] = math.inf
        self.on[:] = self._switched_on
        self.over_voltage[:] = False
        self.over_current[:] = False
        self.trips_on_current[:] = False
        self.limited[:] = False
        self.inhibited = False
        for channel in range(self.n_channels):
            self._plant.set_voltage(self._name, channel, 0.0)

    def level_V(self, channel: int, value_V: float) -> float:
        """Return the level of the converter that is nearest to ``value_V``."""
        high = float(self.range_V[channel])
        low = -high if self.low_V < 0.0 else 0.0
        return quantised(value_V, low, high, self._bits)

    def set_levels(self, channels: Iterable[int], values_V: Iterable[float]) -> None:
        """Set several channels together; channels with a slew rate go there in a ramp."""
        channels = list(channels)
        start = self.setpoint_V.copy()
        for channel, value in zip(channels, values_V, strict=True):
            self.setpoint_V[channel] = self.level_V(channel, value)
        lasts_s = max(
            (
                abs(self.setpoint_V[k] - start[k]) / self.slew_V_per_s[k]
                for k in channels
                if self.on[k]
            ),
            default=0.0,
        )
        if lasts_s > 0.0:
            self._ramp(channels, start, float(lasts_s))
        self.apply(channels)

    def _ramp(self, channels: list[int], start: FloatArray, lasts_s: float) -> None:
        for step in range(1, _RAMP_STEPS):
            self._desk.spend(lasts_s / _RAMP_STEPS)
            moved = self.slew_V_per_s * (step * lasts_s / _RAMP_STEPS)
            for k in channels:
                way = self.setpoint_V[k] - start[k]
                self._drive(k, float(start[k] + math.copysign(min(abs(way), moved[k]), way)))
        self._desk.spend(lasts_s / _RAMP_STEPS)

    def apply(self, channels: Iterable[int]) -> None:
        """Drive the load as switches, limits and protection say."""
        for channel in channels:
            self._drive(channel, float(self.setpoint_V[channel]))

    def _drive(self, channel: int, volts: float) -> None:
        self.limited[channel] = False
        on = self.on[channel] and not self.inhibited
        if not on or self.over_voltage[channel] or self.over_current[channel]:
            self._plant.set_voltage(self._name, channel, 0.0)
            return
        if volts > self.protection_V[channel]:
            self.over_voltage[channel] = True
            self._plant.set_voltage(self._name, channel, 0.0)
            return
        self._plant.set_voltage(self._name, channel, volts)
        current = abs(self._plant.current_A(self._name, channel))
        limit = float(self.limit_A[channel])
        if current > limit:
            self.limited[channel] = True
            if self.trips_on_current[channel]:
                self.over_current[channel] = True
                volts = 0.0
            else:
                volts *= limit / current
            self._plant.set_voltage(self._name, channel, volts)

    def switch(self, channels: Iterable[int], on: bool) -> None:
        """Switch outputs."""
        channels = list(channels)
        self.on[channels] = on
        self.apply(channels)

    def clear_protection(self, channels: Iterable[int]) -> None:
        """Forget trips; outputs come back as they were set."""
        channels = list(channels)
        self.over_voltage[channels] = False
        self.over_current[channels] = False
        self.inhibited = False
        self.apply(channels)

    def inhibit(self) -> None:
        """Switch everything off until protection is cleared (watchdog)."""
        self.inhibited = True
        self.apply(range(self.n_channels))

    def measured_V(self, channel: int) -> float:
        """Return the meter's reading, V."""
        noise = self._rng.normal(0.0, 5e-6 * self.high_V)
        return self._plant.voltage_V(self._name, channel) + float(noise)

    def measured_A(self, channel: int) -> float:
        """Return the meter's reading, A."""
        noise = self._rng.normal(0.0, 5e-6 * self.full_A)
        return self._plant.current_A(self._name, channel) + float(noise)
