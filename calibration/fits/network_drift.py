"""Shifters that drift while a network is measured: whether they do, how far, and the errors then.

Residuals do not show it by themselves: each drive turns the sign of what a heater does at random.
What they say of its offset (its score, a row of Jᵀr) keeps the sign. Without drift products of
scores of different drives have mean zero, and a variance that they show themselves.

Offsets that walk at random are correlated over the whole of the measurement, so that estimators
which cut correlations off after some lag (Newey and West, Econometrica 55, 703 (1987)) miss most
of it. The covariance is the sandwich with that of a walk about its mean in its middle, Σ the sum
over all pairs of drives,

    H⁻¹ + q H⁻¹ [Σ_mm' K_mm' (J_mᵀ J_m)_o (J_m'ᵀ J_m')_oᵀ] H⁻¹,   K = C min(m, m') C,

o the columns of the offsets, C the projection that takes the mean off. The strength q of the walk
is the same for all heaters, and such that it explains by how much the residuals exceed the noise
of the read-out. What is found are then figures at the mean of the walk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray

from .network_equations import Equations, Equilibria, Free, Point, Prior
from .network_fit import NetworkFit, huber_weight, inverted, slope_scores
from .network_model import NetworkModel
from .network_normal import NormalEquations

__all__ = ["Drift", "drifting", "walk_shapes"]

_CHUNK = 128
_SIGNIFICANT = 2.5
_WINDOWS = 10.0
_LARGEST = 2.0
_SHAPES = 24

_BoolArray = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class Drift:
    """What was found.

    Attributes
    ----------
    fit
        The same fit, with the covariance of figures at the mean of the walk.
    step
        Standard deviation of what a shifter moves from one equilibrium to the next, rad.
    significance
        Standard errors by which residuals are alike in time.
    """

    fit: NetworkFit
    step: float
    significance: float


def drifting(model: NetworkModel, fit: NetworkFit, seen: Equilibria) -> Drift | None:
    """Return the drift that the residuals of a fit show; None where they show none.

    Parameters
    ----------
    fit
        To predicted phases, ``seen`` in the order in which they were taken, at even intervals.
    """
    significance = _alike(*slope_scores(model, fit, seen), model.seen)
    if significance < _SIGNIFICANT:
        return None
    equations = _equations(model, fit, seen)
    starts = range(0, len(seen), _CHUNK)
    values = equations.first.copy()
    values[equations.layout["turn"]] = fit.turns
    points = [equations.at(values, slice(k, k + _CHUNK)) for k in starts]
    weights = [fit.weights[point.part] for point in points]
    excess = _excess(equations, points, weights)
    if excess <= 0:
        return None
    shapes = walk_shapes(len(seen))
    by_shape = NormalEquations(equations).of_offsets(
        points, weights, np.hstack([shapes, (shapes**2).sum(axis=1)[:, None]])
    )
    whole, by_shape = float(np.trace(by_shape[-1])), by_shape[:-1].reshape(-1, equations.n)
    inverse = inverted(fit.normal)
    spread = by_shape @ inverse
    # The fit takes a part of the walk up: Σ r² is the trace of what is left.
    left = max(whole - float((spread * by_shape).sum()), 1e-300)
    covariance = inverse + excess / left * (spread.T @ spread)
    step = float(np.sqrt(excess / left))
    return Drift(replace(fit, stated=covariance), step, significance)


def _equations(model: NetworkModel, fit: NetworkFit, seen: Equilibria) -> Equations:
    slopes = np.zeros((model.n_heaters, model.n_heaters), dtype=bool)
    slopes[tuple(fit.rows["slope"].T)] = True
    ratios = np.zeros(model.n_edges, dtype=bool)
    ratios[fit.rows["ratio"]] = True
    free = Free(slopes, ratios, detection=len(fit.rows["detection"]) > 0)
    return Equations(model, fit.elements, fit.detection, seen, free, Prior(), local=False)


def _excess(equations: Equations, points: list[Point], weights: list[FloatArray]) -> float:
    """Return by how much Σ r², weighted, exceeds what noise alone would leave."""
    square = sum(float((w * p.angle**2).sum()) for p, w in zip(points, weights, strict=True))
    count = sum(point.angle.size for point in points)
    if equations.detectors.size:
        square += sum(float((huber_weight(p.radius) * p.radius**2).sum()) for p in points)
        count *= 2
    return square - (count - equations.n)


def _alike(along: FloatArray, square: FloatArray, seen: _BoolArray) -> float:
    """Return the standard errors by which what drives say of each offset is alike in time.

    Parameters
    ----------
    along, square
        (m, n_heaters) of `slope_scores`.
    seen
        (n_heaters,) heaters that act on free nodes.
    """
    scores = along[:, seen] / np.sqrt(np.maximum(square[:, seen], 1e-300))
    # A few drives at which the network is soft must not decide.
    scores = np.clip(scores / np.sqrt((scores**2).mean()), -_LARGEST, _LARGEST)
    m = len(scores)
    apart = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    weight = np.where(apart > 0, np.maximum(0.0, 1 - apart * (_WINDOWS / m)), 0.0)
    products = weight * (scores @ scores.T)
    # Without drift a score has mean zero whatever the others are: products are uncorrelated.
    return float(products.sum() / max(np.sqrt(2 * (products**2).sum()), 1e-300))


def walk_shapes(m: int) -> FloatArray:
    """Return (m, k) shapes whose squares sum up to the covariance of a walk about its mean.

    The principal components of unit steps, of which a few have nearly all of the variance; that
    of the others is made up for.
    """
    k = np.arange(1, min(m, _SHAPES + 1))
    cosines = np.cos(np.pi * k * (np.arange(m)[:, None] + 0.5) / m)
    shapes = cosines * np.sqrt(2 / m) / (2 * np.sin(np.pi * k / (2 * m)))
    whole = (m**2 - 1) / 6
    made: FloatArray = shapes * np.sqrt(whole / max((shapes**2).sum(), 1e-300))
    return made
