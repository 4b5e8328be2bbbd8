"""The steps of a calibration, in their order."""

from __future__ import annotations

from eqp_hw.calibration.step import Step

from .network import NetworkStep
from .readout import ReadoutStep
from .resistance import ResistanceStep

__all__ = ["STEPS", "NetworkStep", "ReadoutStep", "ResistanceStep"]

STEPS: tuple[Step, ...] = (ResistanceStep(), ReadoutStep(), NetworkStep())
"""Each step stands after those that it needs."""
