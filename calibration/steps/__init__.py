"""The steps of a calibration, in their order."""

from __future__ import annotations

from eqp_hw.calibration.step import Step

__all__ = ["STEPS"]

STEPS: tuple[Step, ...] = ()
"""Each step stands after those that it needs."""
