"""Circular statistics: phases are averaged as phasors, never as raw angles."""

from __future__ import annotations

import numpy as np

from eqp_hw.network.graph import FloatArray

__all__ = ["phasor_average", "wrap"]


def wrap(phases: FloatArray) -> FloatArray:
    """Return phases in (−π, π]."""
    wrapped: FloatArray = np.pi - np.mod(np.pi - phases, 2 * np.pi)
    return wrapped


def phasor_average(phases: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean arg Σ exp(iφ) and its standard error over the first axis.

    Parameters
    ----------
    phases
        (repeats, ...) rad.

    Returns
    -------
    Mean in (−π, π], and standard error (...), rad: of the residual angles about the mean,
    with repeats − 1 degrees of freedom; NaN for one read, which cannot tell.
    """
    repeats = len(phases)
    mean = wrap(np.angle(np.exp(1j * phases).sum(axis=0)))
    if repeats < 2:
        return mean, np.full(mean.shape, np.nan)
    residual = wrap(phases - mean)
    spread = np.sqrt((residual**2).sum(axis=0) / (repeats - 1))
    return mean, spread / np.sqrt(repeats)
