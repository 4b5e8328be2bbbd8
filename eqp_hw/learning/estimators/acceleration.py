"""Fixed points that plain repetition does not reach: Anderson's extrapolation, row by row."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray

__all__ = ["Anderson"]

_SMALLEST = 1e-8
"""Singular values below this share of the largest are left out."""


@final
class Anderson:
    """Solves x = g(x) for many rows at once from measured g alone.

    The next x is the mean of the last g(x) with the weights, adding up to 1, that make the mean
    residual g(x) − x smallest. For linear g this is GMRES, which needs no contraction. Source: D.
    G. Anderson, J. ACM 12, 547 (1965); H. Walker, P. Ni, SIAM J. Numer. Anal. 49, 1715 (2011).

    Parameters
    ----------
    memory
        Differences that are kept; 0 for plain repetition.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._x: FloatArray | None = None
        self._residual: FloatArray | None = None
        self._dx: list[FloatArray] = []
        self._dr: list[FloatArray] = []

    def next(self, x: FloatArray, residual: FloatArray) -> FloatArray:
        """Return the next x from the present one and its residual g(x) − x, (rows, size) each."""
        if self._x is not None and self._residual is not None and self._memory:
            self._dx = [*self._dx, x - self._x][-self._memory :]
            self._dr = [*self._dr, residual - self._residual][-self._memory :]
        self._x, self._residual = x.copy(), residual.copy()
        step = residual.copy()
        if self._dr:
            dx, dr = np.stack(self._dx, axis=2), np.stack(self._dr, axis=2)
            inverse = np.linalg.pinv(dr, rcond=_SMALLEST)
            weights = inverse @ residual[:, :, None]
            step -= ((dx + dr) @ weights)[:, :, 0]
        return x + step
