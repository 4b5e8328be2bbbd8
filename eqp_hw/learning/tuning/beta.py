"""Nudge strength: by displacement, and by the balance of bias and noise.

The largest |Δφ| of a sample is nearly β·(its response). Of the probe samples, `QUANTILE` of
the responses counts: the softest quarter may turn farther. With exact reads, β is such that this
largest |Δφ| is the ``displacement`` asked for (ep_methods §2: .1 to .2 rad). With noise, β is
where the predicted error, bias and noise together, is least. For the centred estimate that is
where its bias ⁴⁄₃·|g_c(β) − g_c(β/2)| has grown to the replicate noise over √2: the rule of
ep_methods §2, written for every estimator alike. It stays between `LOWEST` and `HIGHEST` times
``displacement``, below where nudges hopped, and about where the probe itself has been.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.learning.estimators import LinearContrast
from eqp_hw.network.graph import FloatArray

from .figures import Figures
from .nudges import AllowedNudges

__all__ = [
    "HIGHEST",
    "LOWEST",
    "QUANTILE",
    "Recipe",
    "best_beta",
    "beta_range",
    "predicted_errors",
    "typical_response",
]

QUANTILE = 0.75
LOWEST, HIGHEST = 0.2, 2.0
SPREAD = 1.5
_ORDERS = 30
_HOP_MARGIN, _TRIED_MARGIN = 0.7, 1.1


@final
@dataclass(frozen=True, eq=False)
class Recipe:
    """What a `LinearContrast` does, for one sign of its random ones.

    Attributes
    ----------
    noise
        Σ w² over all states: the noise variance is this by σ²/β².
    moments
        (orders + 1,) Σ_k w_k·f_k^n for n = 0, 1, …: the factor of a_n·β^(n−1) in the estimate.
    states
        States that enter.
    """

    noise: float
    moments: FloatArray
    states: int

    @classmethod
    def of(cls, estimator: LinearContrast) -> list[Recipe]:
        """Return the recipes that an estimator chooses between at random; mostly one."""
        contrast = estimator.contrast(16, np.random.default_rng(0))
        columns = np.concatenate(
            [contrast.factors.real, contrast.weights.real, contrast.free_weight[None]]
        )
        n = len(contrast.factors)
        recipes = []
        for column in np.unique(columns, axis=1).T:
            factors, weights, free = column[:n], column[n : 2 * n], column[-1]
            powers = factors[:, None] ** np.arange(_ORDERS + 1)
            noise = float(weights @ weights + free**2)
            recipes.append(cls(noise, weights @ powers, n + bool(free)))
        return recipes


def typical_response(figures: Figures) -> float:
    """Return the response that β is counted by, rad: that of the sample at `QUANTILE`."""
    return float(np.quantile(figures.response, QUANTILE, method="lower"))


def beta_range(figures: Figures, displacement: float) -> tuple[float, float, float]:
    """Return the lowest β to consider, that of ``displacement``, and the highest."""
    response = typical_response(figures)
    target = displacement / max(response, 1e-300)
    # One soft sample in four may hop: the controller halves its β on the way.
    hop = _HOP_MARGIN * float(np.sort(figures.hop_beta)[len(figures.hop_beta) // 4])
    tried = _TRIED_MARGIN * float(np.median(figures.tried_beta))
    top = max(min(HIGHEST * target, hop, tried), min(target, hop))
    return LOWEST * min(target, hop), min(target, hop), top


def nudge_limit(figures: Figures, beta: float) -> float:
    """Return the field amplitude that no sample's nudge should exceed, β being the choice.

    A field of this amplitude turns phases by `SPREAD` times what β aims at. Costs whose field is
    a torque differ by orders of magnitude from learnt samples to wrong ones: one β for all would
    carry the latter over a fold.
    """
    soft = figures.response / np.maximum(figures.amplitude, 1e-300)
    per_field = float(np.quantile(soft, QUANTILE, method="lower"))
    return SPREAD * beta * typical_response(figures) / per_field


def predicted_errors(
    estimator: LinearContrast, figures: Figures, betas: FloatArray, reads: int
) -> FloatArray:
    """Return the relative error of an estimate at each β.

    That is: the median over the probe samples of the squared error, against the mean square of
    their gradients, since samples of small gradient count little in a batch. The bias follows
    from the measured terms of G(β) and the moments of the estimator; the noise from its weights
    and what is left of it after ``reads`` reads of each state.
    """
    curvature = figures.curvature[estimator.statistic]
    beta = betas[None, :]
    even, odd = curvature.even[:, None] * beta, curvature.odd[:, None] * beta**2
    ratio = np.minimum(curvature.growth[:, None] * beta**2, 1.0)
    noise = figures.noise.averaged(reads) ** 2 * figures.spread[:, None]
    slope2 = figures.slope[:, None] ** 2
    total = np.zeros((len(figures.response), len(betas)))
    recipes = Recipe.of(estimator)
    for recipe in recipes:
        n = np.arange(3, _ORDERS + 1, 2)
        odd_bias = _series(recipe.moments[n], ratio) * odd
        even_bias = _series(recipe.moments[n - 1], ratio) * even
        total += (odd_bias**2 + even_bias**2) * slope2 + recipe.noise * noise / beta**2
    error: FloatArray = np.sqrt(np.median(total / len(recipes), axis=0) / slope2.mean())
    return error


def _series(moments: FloatArray, ratio: FloatArray) -> FloatArray:
    powers = ratio[..., None] ** np.arange(len(moments))
    result: FloatArray = powers @ moments
    return result


def best_beta(
    estimator: LinearContrast,
    figures: Figures,
    allowed: AllowedNudges,
    displacement: float,
    reads: int,
) -> tuple[float, float]:
    """Return the β of least predicted error, and that error."""
    low, target, high = beta_range(figures, displacement)
    exact = figures.noise.averaged(reads) == 0
    span = (target, target) if exact else (low, high)
    betas = allowed.choices(*span, float(np.median(figures.amplitude)))
    errors = predicted_errors(estimator, figures, betas, reads)
    best = int(errors.argmin())
    return float(betas[best]), float(errors[best])
