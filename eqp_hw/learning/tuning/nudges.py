"""Which β a substrate can make for a sample, given the amplitude |f| of its nudge field."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.network.graph import FloatArray

__all__ = ["AllowedNudges"]

_SMALL = 1e-300


@final
class AllowedNudges:
    """Rounds β of samples to what exists.

    Parameters
    ----------
    capabilities
        Of the substrate.
    amplitudes
        Multiples of β that are used together; the levels must have all of them.
    """

    def __init__(self, capabilities: Capabilities, amplitudes: tuple[float, ...] = (1.0,)) -> None:
        self._largest = capabilities.nudge_maximum / max(amplitudes)
        levels = capabilities.base_levels(amplitudes)
        self._levels = None if levels is None else np.array(levels)

    @property
    def continuous(self) -> bool:
        """Whether every β up to the maximum exists."""
        return self._levels is None

    def nearest(self, beta: FloatArray, amplitude: FloatArray) -> FloatArray:
        """Return the nearest β that exists, (n,), for samples of the given |f|, (n,)."""
        amplitude = np.maximum(amplitude, _SMALL)
        if self._levels is None:
            return np.minimum(beta, self._largest / amplitude)
        apart = np.abs(self._levels - (beta * amplitude)[:, None])
        return np.asarray(self._levels[apart.argmin(axis=1)] / amplitude)

    def fraction(self, beta: FloatArray, amplitude: FloatArray) -> FloatArray:
        """Return the factor, about ½, to a smaller β that exists; NaN where there is none."""
        if self._levels is None:
            return np.full(len(beta), 0.5)
        present = (beta * amplitude)[:, None]
        apart = np.where(self._levels < 0.9 * present, np.abs(self._levels - present / 2), np.inf)
        factor = self._levels[apart.argmin(axis=1)] / np.maximum(present[:, 0], _SMALL)
        return np.where(np.isfinite(apart.min(axis=1)), factor, np.nan)

    def choices(self, low: float, high: float, amplitude: float, count: int = 49) -> FloatArray:
        """Return β from ``low`` to ``high`` to choose from, for a typical |f|; at least one."""
        if self._levels is None:
            top = self._largest / max(amplitude, _SMALL)
            return np.minimum(np.geomspace(low, max(low, high), count), top)
        every = self._levels / max(amplitude, _SMALL)
        inside = every[(every >= low) & (every <= high)]
        if len(inside):
            return np.asarray(inside)
        middle = np.sqrt(low * high)
        return np.asarray(every[np.abs(np.log(every / middle)).argmin()][None])
