"""Detectors that run into the end of their range: at which voltage, and which reads are spoilt.

A read that is an average of conversions is spoilt before it is at the end of the range: as soon
as some of its conversions are. What is used stays away from there by several times their scatter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray

__all__ = ["clip_levels", "unclipped"]

_BoolArray = npt.NDArray[np.bool_]
_FEWEST = 3
_QUIET = 0.1
"""Of the usual scatter: conversions that all show the same."""
_OF_ALL = 20
_AWAY = 4.0


def clip_levels(
    voltage_V: FloatArray, scatter_V: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return (n,) lowest and highest voltages at which detectors are clipped; ∓inf: at none.

    Parameters
    ----------
    voltage_V
        (m, n) averaged conversions.
    scatter_V
        (m, n) their standard deviations. A level is one at which conversions do not scatter;
        where none do, or nothing is known of it, one at which one read in twenty ends.
    """
    lowest, highest = (np.full(voltage_V.shape[1], one) for one in (-np.inf, np.inf))
    for column, values in enumerate(voltage_V.T):
        if not np.ptp(values) > 0:
            continue  # stuck: no range was reached
        for levels, extreme in ((lowest, values.min()), (highest, values.max())):
            same = values == extreme
            usual = 0.0 if scatter_V is None else float(np.median(scatter_V[~same, column]))
            if usual > 0 and scatter_V is not None:
                clipped = (scatter_V[same, column] < _QUIET * usual).sum() >= _FEWEST
            else:
                clipped = same.sum() > max(_FEWEST, len(values) // _OF_ALL)
            if clipped:
                levels[column] = extreme
    return lowest, highest


def unclipped(voltage_V: FloatArray, scatter_V: FloatArray | None = None) -> _BoolArray:
    """Return (m, n) which reads are whole: none of their conversions is likely to be clipped."""
    lowest, highest = clip_levels(voltage_V, scatter_V)
    margin = np.zeros(voltage_V.shape[1])
    if scatter_V is not None:
        between = (voltage_V > lowest) & (voltage_V < highest)
        usual = np.where(between, scatter_V, np.nan)
        margin = _AWAY * np.nanmedian(usual, axis=0) if between.any(axis=0).all() else margin
    return np.asarray((voltage_V > lowest + margin) & (voltage_V < highest - margin))
