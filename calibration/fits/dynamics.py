"""Time: how fast phases come to rest, how they drift, and how strongly to nudge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.linalg import eigh

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap

__all__ = [
    "Drift",
    "NudgeResponse",
    "best_nudge",
    "drift_of",
    "nudge_response",
    "relaxation_time",
    "time_to_rest",
]

_SHOWS = 3.0
"""Standard errors that a random walk must stand out by."""
_SCORINGS = 12
_LINEAR = 0.3
"""Distance, rad, within which phases follow heaters in proportion."""
_POINTS = 3
_RESPONDS = 4.0
_OUTLYING = 30.0
"""Times the median: a squared curvature that counts as no more."""


@final
@dataclass(frozen=True, eq=False)
class Drift:
    """Drift of n phases at constant drives.

    Attributes
    ----------
    rate, rate_error
        (n,) linear, rad/s; the error allows for the phases' own random walk.
    walk, walk_error
        (n,) rad/√s: random walk beside the noise, 0 where none shows; the error says what may be
        there all the same.
    common_rate, common_error
        Of the mean of all phases, rad/s.
    common_rms, own_rms
        Rms excursion of the mean, and of the phases about the mean, without noise, rad.
    significance
        Of the excursion of the mean, in standard deviations of its noise.
    """

    rate: FloatArray
    rate_error: FloatArray
    walk: FloatArray
    walk_error: FloatArray
    common_rate: float
    common_error: float
    common_rms: float
    own_rms: float
    significance: float


def drift_of(time_s: FloatArray, phases: FloatArray, noise: FloatArray) -> Drift:
    """Return the drift in (m, n) phases read at (m,) times, ``noise`` (n,) rad of each read.

    A reference that drifts turns all phases alike; heaters that drift turn them differently.

    Raises
    ------
    FitError
        Fewer than eight reads, or no time between them.
    """
    m, n = phases.shape
    if m < 8 or not np.ptp(time_s) > 0:
        raise FitError(f"{m} reads over {np.ptp(time_s):.3g} s: a drift needs eight, apart")
    steps = wrap(np.diff(phases, axis=0))
    path = np.concatenate([np.zeros((1, n)), np.cumsum(steps, axis=0)])
    rate, rate_error, walk, walk_error = _walks(time_s, path, noise)
    mean = path.mean(axis=1, keepdims=True)
    mean_noise = np.array([np.sqrt((noise**2).sum()) / n])
    common_rate, common_error, _, _ = _walks(time_s, mean, mean_noise)
    about = path - mean

    def rms(values: FloatArray, variance: float) -> float:
        moved = ((values - values.mean(axis=0)) ** 2).mean() - variance * (m - 1) / m
        return float(np.sqrt(max(moved, 0.0)))

    common_rms = rms(mean, float(mean_noise[0] ** 2))
    own_rms = rms(about, float((noise**2).mean()) * (n - 1) / n)
    spread = float(((mean - mean.mean()) ** 2).sum() / mean_noise[0] ** 2)
    significance = (spread - (m - 1)) / np.sqrt(2.0 * (m - 1))
    return Drift(
        rate,
        rate_error,
        walk,
        walk_error,
        float(common_rate[0]),
        float(common_error[0]),
        common_rms,
        own_rms,
        float(significance),
    )


def _walks(
    time_s: FloatArray, path: FloatArray, noise: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return (n,) rates and D of random walks with a drift, read with noise; each with its error.

    Increments x have mean r·Δt and covariance D²·diag(Δt) + σ²M, M that of differences of white
    noise. In the common eigenvectors of both the covariance is σ² + D²λ: r follows by least
    squares with these weights, D² by Fisher scoring, in turns. D is 0 where D² is not three
    standard errors above what noise alone gives; its error then is what may hide, √ of D²'s.
    """
    between = np.diff(time_s)
    m = len(between)
    of_noise = 2 * np.eye(m) - np.eye(m, k=1) - np.eye(m, k=-1)
    share, vectors = eigh(np.diag(between), of_noise)
    moved, steady = vectors.T @ np.diff(path, axis=0), vectors.T @ between
    white = np.maximum(noise, 1e-12) ** 2

    def scored(walk: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        variance = white + share[:, None] * walk
        weight = steady[:, None] / variance
        known = weight.T @ steady
        rate = (weight * moved).sum(axis=0) / known
        left = moved - steady[:, None] * rate
        # The line takes its own part of the scatter along.
        taken = steady[:, None] ** 2 / known
        tells = share[:, None] / variance**2
        information = (tells * share[:, None]).sum(axis=0)
        square = (tells * (left**2 + taken - white)).sum(axis=0) / information
        return rate, np.sqrt(1 / known), square, np.sqrt(2 / information)

    none = np.zeros(path.shape[1])
    _, _, square, error = scored(none)
    # Against noise alone; where no walk shows it would make the error of every rate too large.
    likely, shows = square > error, square > _SHOWS * error
    for _ in range(_SCORINGS):
        _, _, square, error = scored(np.maximum(square, 0.0))
    rate, rate_error, _, _ = scored(np.where(likely, np.maximum(square, 0.0), 0.0))
    walk = np.sqrt(np.where(shows, np.maximum(square, 0.0), 0.0))
    return rate, rate_error, walk, np.sqrt(walk**2 + error) - walk


def relaxation_time(time_s: FloatArray, distance: FloatArray, floor: float) -> float:
    """Return τ of an exponential approach, NaN where none is seen.

    Parameters
    ----------
    time_s
        (m,) since the jump.
    distance
        (m,) from the end, rad; of far jumps only the last part is exponential.
    floor
        Distances below are noise; two points above are needed.
    """
    seen = distance > floor
    end = len(seen) if seen.all() else int(np.argmin(seen))
    near = np.arange(end)[distance[:end] < _LINEAR]
    # From there on it must go down all the way: it may pass by its end on a far jump.
    first = int(near[0]) if len(near) else end
    beyond = np.flatnonzero(distance[first:end] >= _LINEAR)
    first += int(beyond[-1]) + 1 if len(beyond) else 0
    if end - first < _POINTS:
        first = 0
    if end - first < 2 or not distance[end - 1] < distance[first]:
        return np.nan
    weight = distance[first:end]  # the error of a logarithm is one over it
    slope = np.polyfit(time_s[first:end], np.log(distance[first:end]), 1, w=weight)[0]
    return float(-1 / slope) if slope < 0 else np.nan


def time_to_rest(
    time_s: FloatArray, distance: FloatArray, floor: float, tolerance: float, relaxation_s: float
) -> float:
    """Return when a jump had come to within ``tolerance`` for good, s; inf where it had not.

    Parameters
    ----------
    time_s, distance, floor
        As of `relaxation_time`.
    tolerance
        Rad. Where noise hides it, the rest of the way is taken to be an exponential's.
    relaxation_s
        Its τ; NaN where nothing is seen of it.
    """
    level = max(tolerance, floor)
    beyond = np.flatnonzero(distance > level)
    if len(beyond) == len(distance):
        return np.inf
    last = int(beyond[-1]) if len(beyond) else -1
    if last + 1 == len(distance):
        return np.inf
    hidden = relaxation_s * np.log(level / tolerance) if np.isfinite(relaxation_s) else 0.0
    return float(time_s[last + 1] + hidden)


@final
@dataclass(frozen=True, eq=False)
class NudgeResponse:
    """Displacement of nudged phases, half the difference of both signs: χ·a + c₃·a³.

    Attributes
    ----------
    susceptibility, cubic
        (n,) χ and c₃.
    susceptibility_error, cubic_error
        (n,) standard errors.
    """

    susceptibility: FloatArray
    susceptibility_error: FloatArray
    cubic: FloatArray
    cubic_error: FloatArray


def nudge_for(stiffness: FloatArray, along: FloatArray, turn: float, most: float) -> float:
    """Return the torque along (n,) that turns one phase by ``turn`` rad, or ``most``."""
    try:
        turned = float(np.abs(np.linalg.solve(stiffness, along)).max())
    except np.linalg.LinAlgError:
        return most
    return min(turn / turned, most)


def nudge_response(
    amplitude: FloatArray, half_difference: FloatArray, noise: FloatArray
) -> NudgeResponse:
    """Fit the odd part of the response to torques ±a.

    Parameters
    ----------
    amplitude
        (levels,) a.
    half_difference
        (levels, n) half the difference of the phases under both signs, rad.
    noise
        (n,) of one read, rad.

    Raises
    ------
    FitError
        Fewer than three different amplitudes.
    """
    if len(np.unique(amplitude)) < 3:
        raise FitError("a response and its curvature need three amplitudes or more")
    columns = np.stack([amplitude, amplitude**3], axis=1)
    inverse = np.linalg.inv(columns.T @ columns)
    linear, cubic = inverse @ (columns.T @ half_difference)
    error = np.outer(np.sqrt(np.diag(inverse)), noise / np.sqrt(2))
    return NudgeResponse(linear, error[0], cubic, error[1])


def best_nudge(
    responses: Sequence[NudgeResponse], noise: FloatArray, torque: float = 1.0
) -> tuple[float, float]:
    """Return β at which bias and noise of centred differences are least together.

    A displacement χa + c₃a³ under fields a = βτ has, per unit of β, the bias c₃τ³β² and the
    noise σ/(√2β). Their squares, summed over phases and averaged over responses, as a gradient
    averages over samples, are least together at β⁶ = Σσ²/(4⟨‖c₃‖²⟩τ⁶); for one phase and τ = 1
    at β = (σ/(2|c₃|))^{1/3}. Where no curvature shows, its error stands for it.

    Parameters
    ----------
    responses
        At several equilibria; those without any response beyond noise are left out.
    noise
        (n,) of one read of the experiments to come, rad.
    torque
        τ = |∂C/∂φ| of the samples whose bias counts most.

    Returns
    -------
    β and its standard error; NaN where nothing responds.
    """
    bias = np.array(
        [
            max(float((one.cubic**2).sum()), float((one.cubic_error**2).sum()))
            for one in responses
            if (one.susceptibility**2).sum() > _RESPONDS**2 * (one.susceptibility_error**2).sum()
        ]
    )
    if not len(bias):
        return np.nan, np.nan
    # One near a fold says nothing of the others: there the controller halves β by itself.
    bias = np.minimum(bias, _OUTLYING * np.median(bias))
    mean = max(float(bias.mean()), 1e-300)
    beta = float(((noise**2).sum() / (4 * mean)) ** (1 / 6)) / torque
    # Sixth root: a sixth of the relative error of the mean; of one response nothing is known.
    error = float(np.std(bias, ddof=1)) / np.sqrt(len(bias)) / mean if len(bias) > 1 else np.nan
    return beta, beta * error / 6
