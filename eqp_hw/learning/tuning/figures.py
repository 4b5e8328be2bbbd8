"""The figures that a probe of a few samples gives, on which an automatic choice rests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.learning.estimators import Statistic
from eqp_hw.network.graph import FloatArray

__all__ = ["RADIUS", "USUAL_SHARE", "Curvature", "Figures", "Noise"]

RADIUS = 1.5
"""Displacement, rad, at which the terms of G(β) become equal in size, median of random
networks: ‖a₃‖ ≈ (response/1.5)². Taken where noise hides what a network has itself."""

USUAL_SHARE: Mapping[Statistic, float] = {"energy": 1.0, "displacement": 0.75}
"""‖a₃‖ of each statistic in units of that."""


@final
@dataclass(frozen=True)
class Noise:
    """How phases are read.

    Attributes
    ----------
    single
        Standard deviation of one read, rms over the free nodes, rad.
    lasting
        What is left of it however many reads of a state are averaged: another draw at each
        settling, or the steps of a read-out of few bits; rad.
    drift
        Change of the free phases over ``drift_states`` settled states, rms, rad; 0 where
        nothing beyond noise was seen.
    drift_states
        See ``drift``.
    """

    single: float
    lasting: float = 0.0
    drift: float = 0.0
    drift_states: int = 0

    def averaged(self, reads: int) -> float:
        """Return the standard deviation of a mean of ``reads`` reads of one state, rad."""
        return float(np.hypot(self.single / np.sqrt(reads), self.lasting))


@final
@dataclass(frozen=True, eq=False)
class Curvature:
    """G(β)/‖G′(0)‖ = const + β + a₂β² + a₃β³ + …, norms of the terms of one statistic.

    Attributes
    ----------
    even, odd
        (n,) ‖a₂‖ and ‖a₃‖ of each sample.
    growth
        (n,) factor, for every β², by which the terms are taken to go on: ‖a₅‖/‖a₃‖ where
        that was measured, else ‖a₃‖.
    """

    even: FloatArray
    odd: FloatArray
    growth: FloatArray


@final
@dataclass(frozen=True, eq=False)
class Figures:
    """What a probe measured, at the present parameters; n samples gave an answer.

    Attributes
    ----------
    response
        (n,) largest |Δφ|/β, rad.
    amplitude
        (n,) largest amplitude |f| of the nudge field at β = 1.
    tried_beta
        (n,) largest β that was nudged with, without a hop.
    slope
        (n,) ‖G′(0)‖.
    spread
        (n,) variance of G, all parameters together, for a noise of 1 rad rms.
    curvature
        Of each statistic.
    noise
        See `Noise`.
    hop_beta
        (n,) smallest β at which a hop was seen, inf where there was none.
    samples, hops, reads
        Samples probed, hops met, reads spent on them.
    directed
        Whether the network is directed (non-reciprocal).
    """

    response: FloatArray
    amplitude: FloatArray
    tried_beta: FloatArray
    slope: FloatArray
    spread: FloatArray
    curvature: Mapping[Statistic, Curvature]
    noise: Noise
    hop_beta: FloatArray
    samples: int
    hops: int
    reads: int
    directed: bool = False
