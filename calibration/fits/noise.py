"""Noise of the read-out: of one conversion, of averages, and what it leaves in bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray, IntArray

__all__ = [
    "NoiseFloor",
    "NoiseScaling",
    "noise_floor",
    "noise_scaling",
    "reads_for",
    "usable_bits",
]


@final
@dataclass(frozen=True, eq=False)
class NoiseScaling:
    """How the noise of an average falls with the number of conversions in it.

    Attributes
    ----------
    averaged
        (k,) conversions in one average: 1, 2, 4, …
    deviation
        (k, n) Allan deviation of averages: of neighbouring ones, so that a drift over the whole
        series does not count.
    error
        (k, n) its standard error.
    exponent, exponent_error
        Of deviation ∝ averaged^exponent over all channels; −½ for white noise.
    """

    averaged: IntArray
    deviation: FloatArray
    error: FloatArray
    exponent: float
    exponent_error: float


def noise_scaling(samples: FloatArray) -> NoiseScaling:
    """Return the noise of averages of (s, n) successive conversions, s ≥ 32.

    σ²(N) = ½⟨(x̄_{k+1} − x̄_k)²⟩ over neighbouring averages of N, non-overlapping (D. W. Allan,
    Proc. IEEE 54, 221 (1966)).

    Raises
    ------
    FitError
        Too few conversions.
    """
    count = len(samples)
    if count < 32:
        raise FitError(f"{count} conversions: the scaling of noise needs 32 or more")
    averaged = 2 ** np.arange(int(np.log2(count // 8)) + 1)
    deviation = np.empty((len(averaged), samples.shape[1]))
    freedom = np.empty(len(averaged))
    for k, size in enumerate(averaged):
        groups = count // size
        means = samples[: groups * size].reshape(groups, size, -1).mean(axis=1)
        deviation[k] = np.sqrt(0.5 * (np.diff(means, axis=0) ** 2).mean(axis=0))
        # Neighbouring differences share a term: of white noise they count as two thirds each.
        freedom[k] = max(1.0, 2 * (groups - 1) / 3)
    error = deviation / np.sqrt(2 * freedom)[:, None]
    moving = (deviation > 0).all(axis=0)
    if not moving.any():
        return NoiseScaling(averaged, deviation, error, np.nan, np.nan)
    weight = freedom * moving.sum()
    x = np.log(averaged)
    y = np.log(deviation[:, moving]).mean(axis=1)
    centre = np.average(x, weights=weight)
    spread = float((weight * (x - centre) ** 2).sum())
    exponent = float((weight * (x - centre) * y).sum()) / spread
    return NoiseScaling(averaged, deviation, error, exponent, float(np.sqrt(0.5 / spread)))


@final
@dataclass(frozen=True, eq=False)
class NoiseFloor:
    """What averaging does not take away: σ²(N) = white²/N + floor².

    Attributes
    ----------
    white
        (n,) of one conversion.
    floor
        (n,) 0 where none shows.
    error
        (n,) how much larger the floor is at one standard error of its square more.
    significance
        Of a floor at all channels together, in standard errors.
    """

    white: FloatArray
    floor: FloatArray
    error: FloatArray
    significance: float

    @property
    def worth_averaging(self) -> FloatArray:
        """(n,) conversions beyond which an average is more floor than noise; inf without one."""
        ratio = self.white / np.where(self.floor > 0, self.floor, np.inf)
        return np.where(self.floor > 0, ratio**2, np.inf)


def noise_floor(scaling: NoiseScaling) -> NoiseFloor:
    """Split noise into what averages out and what does not, by weighted least squares.

    Flicker noise has a flat Allan deviation; hum and rounding leave a floor as well.
    """
    n = scaling.deviation.shape[1]
    white, floor, error = scaling.deviation[0].copy(), np.zeros(n), np.zeros(n)
    weight_sum = found = 0.0
    columns = np.stack([1 / scaling.averaged, np.ones(len(scaling.averaged))], axis=1)
    for k in range(n):
        variance = scaling.deviation[:, k] ** 2
        if not (variance > 0).all():
            continue
        relative = 2 * scaling.error[:, k] / scaling.deviation[:, k]
        model = variance[0] / scaling.averaged
        for _ in range(4):
            # By what the model expects: variances that chanced to be small must not count more.
            weight = 1 / (relative * model) ** 2
            inverse = np.linalg.inv(columns.T @ (columns * weight[:, None]))
            parts = inverse @ (columns.T @ (weight * variance))
            model = columns @ np.maximum(parts, [1e-3 * variance[0], 0.0])
        spread = float(np.sqrt(inverse[1, 1]))
        white[k] = np.sqrt(max(parts[0], 0.0))
        floor[k] = np.sqrt(max(parts[1], 0.0))
        error[k] = np.sqrt(max(parts[1], 0.0) + spread) - floor[k]
        weight_sum += 1.0
        found += parts[1] / spread
    significance = found / np.sqrt(weight_sum) if weight_sum else 0.0
    return NoiseFloor(white, floor, error, float(significance))


def usable_bits(noise: float) -> float:
    """Return the bits over 2π of a converter whose rounding is as large as ``noise`` (rad).

    A step q has a rounding error of q/√12.
    """
    return float(np.log2(2 * np.pi / (np.sqrt(12.0) * noise))) if noise > 0 else np.inf


def reads_for(noise: float, wanted: float) -> int:
    """Return how many reads must be averaged for a standard error of ``wanted``."""
    return max(1, int(np.ceil((noise / wanted) ** 2)))
