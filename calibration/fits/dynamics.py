"""Time: how fast phases come to rest, how they drift, and how strongly to nudge them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap

__all__ = ["Drift", "NudgeResponse", "best_nudge", "drift_of", "nudge_response", "relaxation_time"]


@final
@dataclass(frozen=True, eq=False)
class Drift:
    """Drift of n phases at constant drives.

    Attributes
    ----------
    rate, rate_error
        (n,) linear, rad/s; the error allows for the phases' own wandering about the line.
    walk
        (n,) rad/√s: random walk beside the noise, 0 where none shows.
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
    rate, rate_error = _line(time_s, path, noise)
    between = np.diff(time_s)
    # Var(step) = D² Δt + 2σ²; over the whole, more sensitive to a walk than single steps are.
    excess = (steps**2).sum(axis=0) - 2 * noise**2 * (m - 1)
    scatter = 2 * noise**2 * np.sqrt(3.0 * (m - 1))
    walk = np.sqrt(np.where(excess > 3 * scatter, excess, 0.0) / between.sum())
    mean = path.mean(axis=1, keepdims=True)
    mean_noise = np.array([np.sqrt((noise**2).sum()) / n])
    common_rate, common_error = _line(time_s, mean, mean_noise)
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
        float(common_rate[0]),
        float(common_error[0]),
        common_rms,
        own_rms,
        float(significance),
    )


def _line(time_s: FloatArray, path: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    centred = time_s - time_s.mean()
    spread = float(centred @ centred)
    rate = centred @ path / spread
    left = path - path.mean(axis=0) - np.outer(centred, rate)
    own = np.sqrt((left**2).sum(axis=0) / max(1, len(time_s) - 2))
    return rate, np.maximum(own, noise) / np.sqrt(spread)


def relaxation_time(time_s: FloatArray, distance: FloatArray, floor: float) -> float:
    """Return τ of an exponential approach, NaN where none is seen.

    Parameters
    ----------
    time_s
        (m,) since the jump.
    distance
        (m,) from the end, rad.
    floor
        Distances below are noise; two points above are needed.
    """
    seen = distance > floor
    end = len(seen) if seen.all() else int(np.argmin(seen))
    if end < 2 or not distance[end - 1] < distance[0]:
        return np.nan
    slope = np.polyfit(time_s[:end], np.log(distance[:end]), 1)[0]
    return float(-1 / slope) if slope < 0 else np.nan


@final
@dataclass(frozen=True)
class NudgeResponse:
    """Displacement of a nudged phase, half the difference of both signs: χ·a + c₃·a³.

    Attributes
    ----------
    susceptibility, cubic
        χ and c₃.
    susceptibility_error, cubic_error
        Standard errors.
    """

    susceptibility: float
    susceptibility_error: float
    cubic: float
    cubic_error: float


def nudge_response(
    amplitude: FloatArray, half_difference: FloatArray, noise: float
) -> NudgeResponse:
    """Fit the odd part of the response to torques ±a; ``noise`` rad of one read.

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
    error = noise / np.sqrt(2) * np.sqrt(np.diag(inverse))
    return NudgeResponse(float(linear), float(error[0]), float(cubic), float(error[1]))


def best_nudge(response: NudgeResponse, noise: float) -> float:
    """Return the amplitude at which bias and noise of a centred difference are least together.

    Relative bias (c₃/χ)·a², relative noise σ/(√2·χ·a); the sum of squares is least at
    a = (σ/(2·|c₃|))^{1/3}. Where no curvature shows, its error stands for it.
    """
    cubic = max(abs(response.cubic), response.cubic_error)
    return float((noise / (2 * cubic)) ** (1 / 3)) if cubic > 0 else np.inf
