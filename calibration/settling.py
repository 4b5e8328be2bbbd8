"""When detectors have settled: judged in volts, by the noise that they show themselves.

Before a calibration nothing is known of phases, and little of the noise; both are seen here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray

from .session import Settling

__all__ = ["CONVERSIONS", "NoiseMeter", "wait_for_detectors"]

CONVERSIONS = 4
"""Fewest conversions of one look: the noise is seen in their differences."""
NOISE_FACTOR = 5.0
"""The largest of many detectors goes that many standard deviations astray by chance."""
MEMORY = 256
"""Conversions that the noise is averaged over."""


@final
class NoiseMeter:
    """Noise of single conversions, from the differences of successive ones.

    A slow change enters such a difference far less than it enters the spread of a whole look.
    """

    def __init__(self, n_detectors: int) -> None:
        self._squares = np.zeros(n_detectors)
        self._count = 0.0

    def see(self, voltage_V: FloatArray) -> None:
        """Take successive conversions into account, (n, n_detectors)."""
        differences = np.diff(voltage_V, axis=0)
        self._squares += 0.5 * (differences**2).sum(axis=0)
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
        Conversions of a look, at least `CONVERSIONS`.

    Notes
    -----
    A change beyond the noise is followed up: of an exponential approach d·r/(1 − r) is still to
    come after changes of ratio r = d/d', and that must be within the tolerance. A drift that is
    slow beside the looks therefore does not pass because the looks came fast.
    """
    samples = max(samples, CONVERSIONS)
    started = now()
    looks: deque[FloatArray] = deque(maxlen=agreeing)
    before: FloatArray | None = None
    n_looks = 0
    while True:
        conversions = read(samples)
        meter.see(conversions)
        looks.append(conversions.mean(axis=0))
        n_looks += 1
        stable = False
        if len(looks) == agreeing:
            floor = NOISE_FACTOR * np.sqrt(2 / samples) * meter.noise_V + 1e-12
            last = np.abs(looks[-1] - looks[-2])
            span = np.abs(np.stack(looks) - looks[-1]).max(axis=0)
            stable = bool(
                (span <= tolerance_V + floor).all()
                and _calm(last, before, floor, tolerance_V).all()
            )
        if stable or now() - started > timeout_s:
            mean: FloatArray = np.mean(looks, axis=0) if stable else looks[-1]
            return Settling(stable, mean, meter.noise_V, n_looks, now() - started)
        if len(looks) > 1:
            before = np.abs(looks[-1] - looks[-2])


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
