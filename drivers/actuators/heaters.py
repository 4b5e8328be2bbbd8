"""Thermo-optic phase shifters with crosstalk; the formulas stand in the core."""

from __future__ import annotations

from eqp_hw.rig.actuation.heaters import HeaterModel

__all__ = ["HeaterModel"]
