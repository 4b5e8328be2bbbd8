"""Dual propagation: two replicas of the network, nudged oppositely at the same time."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.physics.averaging import wrap

from .base import Estimate, Estimator, Round

__all__ = ["DualPropagation"]


@final
class DualPropagation(Estimator):
    """[G_a(β) − G_b(−β) − (G_a(0) − G_b(0))]/2β of two replicas a, b; bias of order β².

    Høier, Staudt and Zach, ICML 2023, carried over to phases (ep_methods §6). Both replicas
    are nudged and read at once, which halves the time and cancels what drifts in common. No
    two pieces of hardware are the same: their mismatch at β = 0 is measured and taken off.

    What that repairs: constant differences, such as offsets of the read-out, which else enter
    divided by β. What it cannot: with unequal couplings the two have unequal gradients. The
    estimate is then the mean of both replicas' one-sided estimates, and what is even in β no
    longer cancels: the bias is of order β times the difference of their curvatures. An offset
    θ between the read-outs of two nodes also stays, as a relative error of order θ, as it
    would with any other estimator. Replicas that rest in different basins are not noticed.

    Parameters
    ----------
    null_mismatch
        Take the mismatch at β = 0 off.
    """

    name = "dual"
    description = "two replicas nudged oppositely at once, their mismatch nulled; order b^2"
    requirements = Requirements(signed_nudge=True, state_restore=True, replicas=2)

    def __init__(self, null_mismatch: bool = True) -> None:
        self._null = null_mismatch

    @override
    def measure(self, one: Round) -> Estimate:
        crest = one.sites(one.crest)
        fields = [(crest, 1.0 + 0j), (-crest, 1.0 + 0j)]
        nudged, free = one.substrate.measure_together(one.token, fields, one.repeats)
        phases, errors = one.stack(nudged)
        weights = np.outer([0.5, -0.5], 1 / one.beta)
        if self._null:
            phases = np.concatenate([phases, [reading.phases for reading in free]])
            errors = np.concatenate([errors, [one.errors(reading) for reading in free]])
            weights = np.concatenate([weights, -weights])
        strength = np.tile(one.beta, (2, 1))
        estimate = one.estimate(phases, errors, weights, nudged, strength)
        # How far each replica moved is counted from its own free phases.
        shift = np.array(
            [
                np.abs(wrap(state.reading.phases - rest.phases)).max(axis=1)
                for state, rest in zip(nudged, free, strict=True)
            ]
        ).max(axis=0)
        return dataclasses.replace(estimate, displacement=shift, response=shift / one.beta)
