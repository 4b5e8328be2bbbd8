"""When detectors have settled: judged in volts, by the noise that they show themselves.

Before a calibration nothing is known of phases, and little of the noise; both are seen here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray

from .session import Settling

__all__ = ["CONVERSIONS", "NoiseMeter", "wait_for_detectors"]

CONVERSIONS = 4
"""Fewest conversions of one look: the noise is seen in their differences."""
MOST_CONVERSIONS = 64
"""Most conversions of one look: beyond, another look tells more."""
NOISE_FACTOR = 5.0
"""The largest of many detectors goes that many standard deviations astray by chance."""
MEMORY = 256
"""Second differences that the noise is averaged over."""


@final
class NoiseMeter:
    """Noise of single conversions, from second differences of successive ones (variance 6 σ²).

    A phase that still creeps leaves them alone, where it would enter the spread of a look.
    """

    def __init__(self, n_detectors: int) -> None:
        self._squares = np.zeros(n_detectors)
        self._count = 0.0

    def see(self, voltage_V: FloatArray) -> None:
        """Take successive conversions into account, (n, n_detectors)."""
        differences = np.diff(voltage_V, n=2, axis=0)
        self._squares += (differences**2).sum(axis=0) / 6
        self._count += len(differences)
        if self._count > MEMORY:
            self._squares *= MEMORY / self._count
            self._count = float(MEMORY)

    @property
    def noise_V(self) -> FloatArray:
        """(n_detectors,) standard deviation of a conversion; zeros before anything was seen."""
        if not self._count:
            return np.zeros(len(self._squares))
        own: FloatArray = np.sqrt(self._squares / self._count)
        if not len(own):
            return own
        # Few conversions tell little of each detector and much of all of them together.
        weight = min(1.0, self._count / 32)
        pooled = np.maximum(own, np.median(own))
        blended: FloatArray = weight * own + (1 - weight) * pooled
        return blended


def wait_for_detectors(
    read: Callable[[int], FloatArray],
    meter: NoiseMeter,
    *,
    tolerance_V: float | FloatArray,
    agreeing: int,
    samples: int,
    timeout_s: float,
    least_s: float = 0.0,
    now: Callable[[], float] = time.monotonic,
) -> Settling:
    """Look until successive looks agree within noise and tolerance, or time is up.

    Parameters
    ----------
    read
        Returns (n, n_detectors) conversions.
    meter
        Noise seen so far; goes on seeing.
    tolerance_V
        Change that may still be to come, beside the noise; one for all or (n_detectors,).
    agreeing
        Successive looks that must agree, each one with the last.
    samples
        Conversions of a look, at least `CONVERSIONS`; more are taken where the noise is beyond
        the tolerance, for conversions cost less than looks.
    least_s
        Time to look for at least; what takes much longer than all looks together shows in none.

    Notes
    -----
    A change beyond the noise is followed up: of an exponential approach d·r/(1 − r) is still to
    come after changes of ratio r = d/d', and that must be within the tolerance. A drift that is
    slow beside the looks therefore does not pass because the looks came fast.
    """
    started = now()
    looks: list[FloatArray] = []
    weights: list[int] = []
    while True:
        n = _conversions(meter.noise_V, tolerance_V, samples)
        conversions = read(n)
        meter.see(conversions)
        looks.append(conversions.mean(axis=0))
        weights.append(len(conversions))
        waited = now() - started
        stable = (
            len(looks) >= agreeing
            and waited >= least_s
            and _agree(looks, weights, meter.noise_V, tolerance_V, agreeing)
        )
        if stable or waited > timeout_s:
            mean: FloatArray = np.mean(looks[-agreeing:], axis=0) if stable else looks[-1]
            return Settling(stable, mean, meter.noise_V, len(looks), waited)


def _conversions(noise_V: FloatArray, tolerance_V: float | FloatArray, least: int) -> int:
    """Return how many conversions bring the noise of a change down to the tolerance."""
    ratio = float(np.median(noise_V / np.maximum(tolerance_V, 1e-12))) if len(noise_V) else 0.0
    wanted = int(np.ceil(2 * min(NOISE_FACTOR * ratio, 1e3) ** 2))
    return max(least, CONVERSIONS, min(wanted, MOST_CONVERSIONS))


def _agree(
    looks: list[FloatArray],
    weights: list[int],
    noise_V: FloatArray,
    tolerance_V: float | FloatArray,
    agreeing: int,
) -> bool:
    last = np.stack(looks[-agreeing:])
    floor = _floor(noise_V, min(weights[-agreeing:]))
    span = np.abs(last - last[-1]).max(axis=0)
    if not (span <= tolerance_V + floor).all():
        return False
    # What the noise of single looks hides shows in the means of many.
    k = max(1, len(looks) // 4)
    late, early = np.mean(looks[-k:], axis=0), np.mean(looks[-2 * k : -k], axis=0)
    if not (
        np.abs(late - early) <= tolerance_V + _floor(noise_V, k * min(weights[-2 * k :]))
    ).all():
        return False
    before = np.abs(looks[-2] - looks[-3]) if len(looks) > 2 else None
    return bool(_calm(np.abs(last[-1] - last[-2]), before, floor, tolerance_V).all())


def _floor(noise_V: FloatArray, conversions: int) -> FloatArray:
    """Return the largest difference of two means that noise alone explains."""
    floor: FloatArray = NOISE_FACTOR * np.sqrt(2 / conversions) * noise_V + 1e-12
    return floor


def _calm(
    last: FloatArray,
    before: FloatArray | None,
    floor: FloatArray,
    tolerance_V: float | FloatArray,
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Tell of each detector whether what is still to come is within the tolerance."""
    quiet = last <= floor
    if before is None:
        return quiet
    shrinking = last < before
    to_come = last**2 / np.where(shrinking, before - last, 1.0)
    # Once a move was seen, one look that shows none may be a turning point.
    return np.where(quiet, before <= floor, shrinking & (to_come <= tolerance_V))
