"""What is averaged while the phases move."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray

__all__ = ["MeanForce", "MeanPhasor"]


@final
class MeanPhasor:
    """Time average of exp(iφ) over all steps seen (trapezoidal rule)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape, dtype=np.complex128)

    def __call__(self, before: FloatArray, after: FloatArray, mean: FloatArray, h: float) -> None:
        """Add one step."""
        self._sum += 0.5 * h * (np.exp(1j * before) + np.exp(1j * after))

    def phases(self) -> FloatArray:
        """Return the phases of the average."""
        return np.asarray(np.angle(self._sum))


@final
class MeanForce:
    """Time average of dφ/dt without noise."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape)
        self._time = 0.0

    def __call__(self, before: FloatArray, after: FloatArray, mean: FloatArray, h: float) -> None:
        """Add one step."""
        self._sum += h * mean
        self._time += h

    def largest(self) -> FloatArray:
        """Return the largest component of each sample, (batch,)."""
        return np.asarray(np.abs(self._sum).max(axis=1, initial=0.0) / self._time)
