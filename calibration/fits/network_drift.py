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

__all__ = ["Drift", "Walk", "drifting", "walk_of", "walk_shapes"]

_CHUNK = 128
_SIGNIFICANT = 2.5
_WINDOWS = 10.0
_LARGEST = 2.0
_SHAPES = 24
_SLOW = 6
"""Shapes, the slowest ones, that tell a walk from noise: they have nine tenths of it."""
_SCORINGS = 12

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
    equations, points, weights = _linearised(model, fit, seen)
    square, freedom = _squares(equations, points, weights)
    excess = square - freedom
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


@final
@dataclass(frozen=True, eq=False)
class Walk:
    """How far shifters walk, or may do so unseen.

    Attributes
    ----------
    step
        Standard deviation by which an offset moves from one equilibrium to the next, rad; 0 where
        the residuals show none.
    error
        Beside that, by one standard error of the squares.
    response
        (n_free,) rms of each phase where all offsets have an rms of one; median of the equilibria.
    """

    step: float
    error: float
    response: FloatArray


def walk_of(model: NetworkModel, fit: NetworkFit, seen: Equilibria) -> Walk:
    """Return the walk of the offsets that the residuals of a fit show, with its error.

    The residuals projected on slow walks of single offsets, in the eigenvectors of what is left
    of these after the fit, have the variances λ(σ² + qλ), q the squared step: Fisher scoring, σ²
    from all residuals. Arguments as of `drifting`.
    """
    equations, points, weights = _linearised(model, fit, seen)
    square, freedom = _squares(equations, points, weights)
    shapes = walk_shapes(len(seen))
    slow, count = shapes[:, :_SLOW], shapes.shape[1]
    one, two = np.triu_indices(slow.shape[1])
    weighted = [shapes, (shapes**2).sum(axis=1)[:, None], slow[:, one] * slow[:, two]]
    made = NormalEquations(equations).of_offsets(points, weights, np.hstack(weighted))
    inverse, offsets = inverted(fit.normal), fit.rows["offset"]
    all_shapes = made[:count].reshape(-1, equations.n)
    left = float(np.trace(made[count]) - ((all_shapes @ inverse) * all_shapes).sum())
    whole = np.empty((slow.shape[1], len(offsets), slow.shape[1], len(offsets)))
    for a, b, block in zip(one, two, made[count + 1 :], strict=True):
        whole[a, :, b] = whole[b, :, a] = block[:, : len(offsets)]
    by_slow = made[: slow.shape[1]].reshape(-1, equations.n)
    size = len(by_slow)
    strength, vectors = np.linalg.eigh(whole.reshape(size, size) - by_slow @ inverse @ by_slow.T)
    good = strength > 1e-9 * strength[-1]
    along, _ = slope_scores(model, fit, seen)
    score = (vectors.T @ (slow.T @ along[:, offsets]).ravel())[good] ** 2 / strength[good]
    found, noise, error = 0.0, square / freedom, np.inf
    for _ in range(_SCORINGS):
        tells = strength[good] / (noise + max(found, 0.0) * strength[good]) ** 2
        information = float((tells * strength[good]).sum())
        found = float((tells * (score - noise)).sum()) / information
        error = np.sqrt(2 / information)
        noise = max(square - max(found, 0.0) * left, 0.1 * square) / freedom
    step = float(np.sqrt(max(found, 0.0)))
    return Walk(step, float(np.sqrt(step**2 + error)) - step, _response(model, fit, seen))


def _response(model: NetworkModel, fit: NetworkFit, seen: Equilibria) -> FloatArray:
    phases, _ = fit.detection.phases(seen.voltage_V)
    if seen.turns is not None:
        phases = phases - (seen.turns @ fit.turns)[:, None]
    local = model.local_fields(fit.elements, fit.elements.theta(seen.power_W), phases)
    inverse = np.linalg.inv(local.stiffness)
    by_theta, pairs = model.by_theta(local).imag, model.heater_pairs
    square = np.zeros(phases.shape)
    for heater in np.flatnonzero(model.seen):
        own = np.flatnonzero(pairs.item == heater)
        moved = np.einsum("mij,jm->mi", inverse[:, :, pairs.node[own]], by_theta[own])
        square += moved**2
    response: FloatArray = np.sqrt(np.median(square, axis=0))
    return response


def _linearised(
    model: NetworkModel, fit: NetworkFit, seen: Equilibria
) -> tuple[Equations, list[Point], list[FloatArray]]:
    equations = _equations(model, fit, seen)
    starts = range(0, len(seen), _CHUNK)
    values = equations.first.copy()
    values[equations.layout["turn"]] = fit.turns
    points = [equations.at(values, slice(k, k + _CHUNK)) for k in starts]
    return equations, points, [fit.weights[point.part] for point in points]


def _equations(model: NetworkModel, fit: NetworkFit, seen: Equilibria) -> Equations:
    slopes = np.zeros((model.n_heaters, model.n_heaters), dtype=bool)
    slopes[tuple(fit.rows["slope"].T)] = True
    ratios = np.zeros(model.n_edges, dtype=bool)
    ratios[fit.rows["ratio"]] = True
    free = Free(slopes, ratios, detection=len(fit.rows["detection"]) > 0)
    return Equations(model, fit.elements, fit.detection, seen, free, Prior(), local=False)


def _squares(
    equations: Equations, points: list[Point], weights: list[FloatArray]
) -> tuple[float, int]:
    """Return Σ r², weighted, and what noise alone would leave of it."""
    square = sum(float((w * p.angle**2).sum()) for p, w in zip(points, weights, strict=True))
    count = sum(point.angle.size for point in points)
    if equations.detectors.size:
        square += sum(float((huber_weight(p.radius) * p.radius**2).sum()) for p in points)
        count *= 2
    return square, count - equations.n


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
