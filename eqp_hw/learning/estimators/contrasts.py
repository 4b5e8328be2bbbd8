"""One-sided, random-sign, centred and Richardson estimates (ep_methods §2)."""

from __future__ import annotations

from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements

from .base import Contrast, LinearContrast

__all__ = ["Alternative", "Centred", "OneSided", "RandomSign", "Richardson", "constant_contrast"]


def constant_contrast(
    factors: list[float], weights: list[float], free: float, batch: int
) -> Contrast:
    """Return the contrast with the same factors and weights for each of ``batch`` samples."""
    ones = np.ones(batch)
    return Contrast(np.outer(factors, ones), np.outer(weights, ones), free * ones)


@final
class OneSided(LinearContrast):
    """[G(β) − G(0)]/β; bias β/2·G″. Scellier and Bengio, Front. Comput. Neurosci. 2017."""

    name = "one-sided"
    description = "[G(b) - G(0)]/b: one nudge, bias of order b"
    requirements = Requirements()
    order = 1

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        return constant_contrast([1.0], [1.0], -1.0, batch)


@final
class RandomSign(LinearContrast):
    """One-sided with a random sign of β for each sample: bias of order β² in expectation."""

    name = "random-sign"
    description = "one nudge of random sign: bias of order b^2 in expectation"
    requirements = Requirements(signed_nudge=True)
    order = 2

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        sign = rng.choice([-1.0, 1.0], size=batch)
        return Contrast(sign[None], sign[None], -sign)


@final
class Centred(LinearContrast):
    """[G(β) − G(−β)]/2β; bias β²/6·G‴. Laborieux et al., Front. Neurosci. 15 (2021)."""

    name = "centred"
    description = "[G(b) - G(-b)]/2b: two nudges, bias of order b^2; the default"
    requirements = Requirements(signed_nudge=True, state_restore=True)
    order = 2

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        return constant_contrast([1.0, -1.0], [0.5, -0.5], 0.0, batch)


@final
class Richardson(LinearContrast):
    """(4·g_c(β/2) − g_c(β))/3 of two centred estimates: bias of order β⁴."""

    name = "richardson"
    description = "extrapolation of two centred estimates: four nudges, bias of order b^4"
    requirements = Requirements(signed_nudge=True, state_restore=True, amplitudes=(0.5, 1.0))
    order = 4

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        # g_c(β/2) = [G(β/2) − G(−β/2)]/β, so its weight in units of 1/β is 4/3.
        return constant_contrast([0.5, -0.5, 1.0, -1.0], [4 / 3, -4 / 3, -1 / 6, 1 / 6], 0.0, batch)


@final
class Alternative(LinearContrast):
    """The 'alternative formula': the displacement (φ^β − φ^−β)/2β in the free state's statistic.

    dC/dJ_ij = (δ_i − δ_j)·sin(φ⁰_i−φ⁰_j) with δ the displacement (ep_methods §6); bias of order
    β². Unlike a contrast of correlators it tells the two directions of a bond apart.
    """

    name = "alternative"
    description = "displacement of two nudged states in the statistic of the free one"
    requirements = Requirements(signed_nudge=True, state_restore=True)
    order = 2
    statistic = "displacement"

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        return constant_contrast([1.0, -1.0], [0.5, -0.5], 0.0, batch)
