"""Resistances of heaters from voltages and currents at several powers.

I = I₀ + V/R − (α/R²) V³ to first order in R(P) = R (1 + αP), P = V²/R; I₀ is the offset of the
current meter. The cubic term is kept where it shows. Noise is that of the meter, pooled over
the channels that fit, so that a few levels suffice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray

__all__ = ["ResistanceFit", "fit_resistances"]

_SIGNIFICANT = 4.0


@final
@dataclass(frozen=True, eq=False)
class ResistanceFit:
    """Resistances of n channels.

    Attributes
    ----------
    resistance_ohm, error_ohm
        (n,) R at half the largest power driven (at any power where α does not show), and its
        standard error; NaN for a channel that is open or stuck or has no meter.
    slope_per_W, slope_error
        (n,) α and its standard error; 0 where it does not show.
    residual_A
        (levels, n).
    open, stuck, metered
        (n,) bool: draws no current; the output does not follow the set-point; is measured.
    """

    resistance_ohm: FloatArray
    error_ohm: FloatArray
    slope_per_W: FloatArray
    slope_error: FloatArray
    residual_A: FloatArray
    open: npt.NDArray[np.bool_]
    stuck: npt.NDArray[np.bool_]
    metered: npt.NDArray[np.bool_]


def fit_resistances(
    setpoint_V: FloatArray, voltage_V: FloatArray, current_A: FloatArray, nominal_ohm: FloatArray
) -> ResistanceFit:
    """Fit all channels.

    Parameters
    ----------
    setpoint_V, voltage_V, current_A
        (levels, n) as accepted and as measured; NaN where there is no meter. A missing voltmeter
        leaves the set-points.
    nominal_ohm
        (n,) what is expected; a channel that draws less than a tenth of that current is open.

    Raises
    ------
    FitError
        Fewer than four levels.
    """
    levels, n = setpoint_V.shape
    if levels < 4:
        raise FitError(f"{levels} levels: resistance, slope and meter offset need four or more")
    measured = np.where(np.isfinite(voltage_V), voltage_V, setpoint_V)
    metered = np.asarray(np.isfinite(current_A).all(axis=0))
    top = setpoint_V.max(axis=0)
    stuck = np.abs(measured - setpoint_V).max(axis=0) > 0.02 * top + 0.01
    swing_A = np.ptp(np.where(np.isfinite(current_A), current_A, 0.0), axis=0)
    open_ = metered & ~stuck & (swing_A < 0.1 * top / nominal_ohm)
    sound = np.flatnonzero(metered & ~stuck & ~open_)
    none = np.full(n, np.nan)
    resistance, error = none.copy(), none.copy()
    slope, slope_error = np.zeros(n), none.copy()
    residual = np.full((levels, n), np.nan)
    if not len(sound):
        return ResistanceFit(resistance, error, slope, slope_error, residual, open_, stuck, metered)
    # The noise of the meter is that of the cubic fits, all channels together.
    fits = {k: _fit(measured[:, k], current_A[:, k], cubic=True) for k in sound}
    variance = np.median([float(f[2] @ f[2]) for f in fits.values()]) / _median_chi2(levels - 3)
    for k in sound:
        values, inverse, left = fits[k]
        conductance, cubic = values[1], values[2]
        alpha = -cubic / conductance**2
        alpha_error = float(np.sqrt(variance * inverse[2, 2])) / conductance**2
        slope_error[k] = alpha_error
        half_V2 = top[k] ** 2 / 2
        by = np.array([0.0, 1.0, half_V2])
        if abs(alpha) > _SIGNIFICANT * alpha_error:
            slope[k] = alpha
        else:
            values, inverse, left = _fit(measured[:, k], current_A[:, k], cubic=False)
            by = by[:2]
        effective = float(by @ values)
        resistance[k] = 1 / effective
        error[k] = float(np.sqrt(variance * (by @ inverse @ by))) / effective**2
        residual[:, k] = left
    return ResistanceFit(resistance, error, slope, slope_error, residual, open_, stuck, metered)


def _fit(
    voltage_V: FloatArray, current_A: FloatArray, cubic: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    columns = [np.ones_like(voltage_V), voltage_V] + ([voltage_V**3] if cubic else [])
    matrix = np.stack(columns, axis=1)
    inverse: FloatArray = np.linalg.inv(matrix.T @ matrix)
    values: FloatArray = inverse @ (matrix.T @ current_A)
    return values, inverse, current_A - matrix @ values


def _median_chi2(freedom: int) -> float:
    """Return the median of chi-square, after Wilson and Hilferty."""
    k = max(1, freedom)
    return float(k * (1 - 2 / (9 * k)) ** 3)
