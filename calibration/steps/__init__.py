"""The steps of a calibration, in their order."""

from __future__ import annotations

from eqp_hw.calibration.step import Step

from .dynamics import DynamicsStep
from .network import NetworkStep
from .readout import ReadoutStep
from .resistance import ResistanceStep
from .sweeps import SweepStep
from .tomography import TomographyStep

__all__ = [
    "STEPS",
    "DynamicsStep",
    "NetworkStep",
    "ReadoutStep",
    "ResistanceStep",
    "SweepStep",
    "TomographyStep",
]

STEPS: tuple[Step, ...] = (
    ResistanceStep(),
    ReadoutStep(),
    NetworkStep(),
    SweepStep(),
    TomographyStep(),
    DynamicsStep(),
)
"""Each step stands after those that it needs."""
