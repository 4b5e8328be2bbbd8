"""One fringe: a signal against the power of one heater.

V = o + g cos(θ₀ + π P/P_π). For a fixed P_π it is linear in (o, g cos θ₀, g sin θ₀): P_π is
scanned about its nominal value, then all four are refined by Gauss-Newton steps. Points at the
ends of the converter's range are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray

__all__ = ["FringeFit", "fit_fringe"]

_BoolArray = npt.NDArray[np.bool_]
_SCAN = np.linspace(0.5, 2.0, 301)
_STEPS = 20
_LEAST_CONTRAST = 5.0
_LEAST_TURN = np.pi
"""Half a fringe. Of less, P_π goes with offset and amplitude, and its error is no longer honest:
of a quarter it was found up to seven standard errors off."""
_TOO_SHORT = "less than half a fringe was swept: go to higher powers"


@final
@dataclass(frozen=True, eq=False)
class FringeFit:
    """One fringe.

    Attributes
    ----------
    half_wave_power_W, half_wave_error_W
        P_π and its standard error.
    phase, phase_error
        θ₀ in (−π, π], rad.
    offset, amplitude
        o and g > 0, in the unit of the signal.
    residual
        (m,) signal minus fit; NaN where clipped.
    clipped
        (m,) points left out.
    noise
        Standard deviation of one point.
    """

    half_wave_power_W: float
    half_wave_error_W: float
    phase: float
    phase_error: float
    offset: float
    amplitude: float
    residual: FloatArray
    clipped: _BoolArray
    noise: float


def fit_fringe(power_W: FloatArray, signal: FloatArray, nominal_half_wave_W: float) -> FringeFit:
    """Fit a fringe to m ≥ 6 points.

    Parameters
    ----------
    power_W, signal
        (m,).
    nominal_half_wave_W
        To within a factor of two.

    Raises
    ------
    FitError
        Too few points beside clipped ones, less than half a fringe (by the nominal half-wave
        power, or by that found), or no contrast.
    """
    clipped = _clipped(signal)
    power, values = power_W[~clipped], signal[~clipped]
    if len(power) < 6:
        raise FitError(f"{len(power)} points of {len(signal)} are not clipped: a fringe needs six")
    if np.pi * np.ptp(power) / nominal_half_wave_W < _LEAST_TURN:
        raise FitError(_TOO_SHORT)
    slopes = np.pi / nominal_half_wave_W * _SCAN
    fits = [_linear(power, values, float(slope)) for slope in slopes]
    best = int(np.argmin([float(left @ left) for _, left in fits]))
    slope, (offset, cosine, sine) = float(slopes[best]), fits[best][0]
    x = np.array([offset, np.hypot(cosine, sine), np.arctan2(sine, cosine), slope])
    for _ in range(_STEPS):
        model, columns = _fringe(x, power)
        step = np.linalg.lstsq(columns, values - model)[0]
        x = x + step
        if np.abs(step / np.maximum(np.abs(x), 1e-12)).max() < 1e-12:
            break
    model, columns = _fringe(x, power)
    left = values - model
    noise = float(np.sqrt(left @ left / max(1, len(power) - 4)))
    scale = np.linalg.norm(columns, axis=0)
    inverse = np.linalg.pinv((columns / scale).T @ (columns / scale)) / np.outer(scale, scale)
    error = noise * np.sqrt(np.diag(inverse))
    if not (np.isfinite(x).all() and x[1] > _LEAST_CONTRAST * error[1] and x[1] > 2 * noise):
        raise FitError(
            f"a fringe without contrast: amplitude {abs(x[1]):.2g} under noise of {noise:.2g}"
        )
    if not 0.4 < x[3] * nominal_half_wave_W / np.pi < 2.5:
        raise FitError("the fit does not converge near the nominal half-wave power")
    if x[3] * np.ptp(power) < _LEAST_TURN:
        raise FitError(_TOO_SHORT)
    residual = np.full(len(signal), np.nan)
    residual[~clipped] = left
    half_wave = np.pi / x[3]
    return FringeFit(
        half_wave_power_W=float(half_wave),
        half_wave_error_W=float(half_wave * error[3] / x[3]),
        phase=float(np.angle(np.exp(1j * x[2]))),
        phase_error=float(error[2]),
        offset=float(x[0]),
        amplitude=float(x[1]),
        residual=residual,
        clipped=clipped,
        noise=noise,
    )


def _fringe(x: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray]:
    offset, amplitude, phase, slope = x
    cosine, sine = np.cos(phase + slope * power), np.sin(phase + slope * power)
    columns = np.stack(
        [np.ones_like(power), cosine, -amplitude * sine, -amplitude * sine * power], axis=1
    )
    return offset + amplitude * cosine, columns


def _linear(power: FloatArray, values: FloatArray, slope: float) -> tuple[FloatArray, FloatArray]:
    columns = np.stack([np.ones_like(power), np.cos(slope * power), -np.sin(slope * power)], axis=1)
    found = np.linalg.lstsq(columns, values)[0]
    return found, values - columns @ found


def _clipped(signal: FloatArray) -> _BoolArray:
    """Return points at an extreme value that comes three times or more."""
    clipped = np.zeros(len(signal), dtype=bool)
    for extreme in (signal.min(), signal.max()):
        same = signal == extreme
        if same.sum() >= 3 and np.ptp(signal) > 0:
            clipped |= same
    return clipped
