"""What the controller returns: gradient estimates and evaluations, with how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import Parameters
from eqp_hw.substrate import BoolArray

__all__ = ["Evaluation", "GradientEstimate", "Tally"]


@final
@dataclass(eq=False)
class Tally:
    """Running sums of one estimate, from which `GradientEstimate` is made."""

    gradient: Parameters
    variance: Parameters
    used: int = 0
    hops: int = 0
    halvings: int = 0
    restarts: int = 0
    excluded: int = 0
    limited: int = 0
    unsettled: int = 0
    residual_max: float = np.nan
    displacement_max: float = 0.0
    alarm_max: float = np.nan
    duration_free_s: float = 0.0
    duration_nudged_s: float = 0.0
    duration_statistics_s: float = 0.0

    def note_residual(self, residual: FloatArray) -> None:
        """Keep the largest one known; NaN until one is."""
        largest = np.fmax.reduce(residual, initial=np.nan)
        self.residual_max = float(np.fmax(self.residual_max, largest))


@final
@dataclass(frozen=True, eq=False)
class GradientEstimate:
    """Mean gradient over a batch, and how it came about.

    Attributes
    ----------
    gradient
        Mean of the per-sample estimates of dC/dθ over the samples that gave one.
    standard_error
        Standard errors of ``gradient`` from read-out noise; those of the two bias quadratures
        as real and imaginary part. 0 where reads are exact or their noise is unknown.
    free_phases
        (batch·M, N) free phases of the first start, sample-major within each start.
    output_phases
        (batch·M, n_outputs) those of the outputs.
    cost, distance
        Means of C and of C_sim over those free phases.
    used, excluded
        Samples that gave an estimate, and that gave none.
    hops, halvings, restarts, unsettled
        How often a nudged sample hopped, β was halved, a sample was started anew, and a
        state did not settle.
    limited
        Samples whose weight ``response_limit`` lowered.
    residual_max
        Largest residual |∂F/∂φ| of a state used, NaN where the substrate knows none.
    displacement_max
        Largest |φ^β − φ⁰| of a free node, rad.
    alarm_max
        Largest quadrature over in-phase response of a lock-in, NaN for other estimators.
    duration_free_s, duration_nudged_s, duration_statistics_s
        Wall time by phase, s.
    """

    gradient: Parameters
    standard_error: Parameters
    free_phases: FloatArray
    output_phases: FloatArray
    cost: float
    distance: float
    used: int
    excluded: int
    hops: int
    halvings: int
    restarts: int
    limited: int
    unsettled: int
    residual_max: float
    displacement_max: float
    alarm_max: float
    duration_free_s: float
    duration_nudged_s: float
    duration_statistics_s: float


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """Free phases of a batch from one random start each.

    Attributes
    ----------
    phases
        (batch, N) rad.
    settled
        (batch,) whether each is at equilibrium.
    """

    phases: FloatArray
    settled: BoolArray
