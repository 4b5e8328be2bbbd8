"""Which of the many equivalent phases each heater is driven to; the formulas stand in the core."""

from __future__ import annotations

from eqp_hw.rig.actuation.branches import Wanted, choose_phases

__all__ = ["Wanted", "choose_phases"]
