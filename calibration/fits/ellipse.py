"""In-phase and quadrature detectors: the ellipse that their voltages trace, with uncertainties.

V_I = o_I + g_I cos φ, V_Q = o_Q + g_Q sin(φ + ε). The algebraic fit of Heydemann, Appl. Opt. 20,
3382 (1981), gives a start; Gauss-Newton steps then make the distances from the ellipse, which
are what the noise makes, as small as possible, and give the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import numpy as np

from eqp_hw.calibration.errors import FitError
from eqp_hw.drivers.readout.formulas import Quadratures, fit_quadrature_ellipse
from eqp_hw.errors import DataError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration

__all__ = ["Detection", "EllipseFit", "fit_ellipse"]

_STEPS = 12
_GAPS = 12
"""Sectors of the circle; an ellipse needs points in most of them."""


@final
@dataclass(frozen=True, eq=False)
class Detection:
    """Figures of n pairs of detectors.

    Attributes
    ----------
    values
        (5, n): offset I, offset Q, amplitude I, amplitude Q (V), error (rad).
    """

    values: FloatArray

    @classmethod
    def of(cls, calibration: RigCalibration) -> Self:
        """Return the read-out that a calibration states."""
        return cls(
            np.concatenate(
                [
                    calibration.readout_offset_V,
                    calibration.readout_amplitude_V,
                    calibration.quadrature_error[None, :],
                ]
            )
        )

    def phases(self, voltage_V: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (m, n) phases and radii of (m, 2n) voltages, in-phase ones first."""
        cosine, sine, _ = self._circle(voltage_V)
        return np.arctan2(sine, cosine), np.hypot(cosine, sine)

    def derivatives(self, voltage_V: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (5, m, n) derivatives of phases and of radii by the five figures."""
        cosine, sine, skewed = self._circle(voltage_V)
        _, _, amplitude_I, amplitude_Q, error = self.values
        radius = np.hypot(cosine, sine)
        by_cosine = np.zeros((5, *cosine.shape))
        by_cosine[0], by_cosine[2] = -1 / amplitude_I, -cosine / amplitude_I
        by_sine = -np.tan(error) * by_cosine
        by_sine[1] = -1 / (amplitude_Q * np.cos(error))
        by_sine[3] = -skewed / (amplitude_Q * np.cos(error))
        by_sine[4] = -cosine + sine * np.tan(error)
        phase = (cosine * by_sine - sine * by_cosine) / radius**2
        return phase, (cosine * by_cosine + sine * by_sine) / radius

    def _circle(self, voltage_V: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        offset_I, offset_Q, amplitude_I, amplitude_Q, error = self.values
        n = len(error)
        cosine = (voltage_V[:, :n] - offset_I) / amplitude_I
        skewed = (voltage_V[:, n:] - offset_Q) / amplitude_Q
        return cosine, (skewed - cosine * np.sin(error)) / np.cos(error), skewed


@final
@dataclass(frozen=True, eq=False)
class EllipseFit:
    """One pair of detectors.

    Attributes
    ----------
    values
        (5,) as in `Detection`.
    covariance
        (5, 5), scaled by the residuals.
    residual
        (m,) radii minus 1.
    noise_V
        Standard deviation of one voltage that the residuals show.
    """

    values: FloatArray
    covariance: FloatArray
    residual: FloatArray
    noise_V: float


def fit_ellipse(in_phase_V: FloatArray, quadrature_V: FloatArray) -> EllipseFit:
    """Fit the ellipse of one pair of detectors to m ≥ 8 points.

    Raises
    ------
    FitError
        The points lie on no ellipse, or on too small a part of one.
    """
    try:
        start = fit_quadrature_ellipse(in_phase_V, quadrature_V)
    except DataError as error:
        raise FitError(str(error)) from None
    parts = (start.offset_I, start.offset_Q, start.amplitude_I, start.amplitude_Q, start.error)
    values: FloatArray = np.array([float(part) for part in parts], dtype=np.float64)
    voltage = np.stack([in_phase_V, quadrature_V], axis=1)
    m = len(voltage)
    if m < 8:
        raise FitError(f"{m} points: an ellipse and its uncertainty need 8 or more")
    for _ in range(_STEPS):
        pair = Detection(values[:, None])
        phases, radius = pair.phases(voltage)
        by_radius = pair.derivatives(voltage)[1][:, :, 0].T
        step = np.linalg.lstsq(by_radius, 1.0 - radius[:, 0])[0]
        values += step
        if float(np.abs(step).max()) < 1e-12:
            break
    if not (np.isfinite(values).all() and (values[2:4] > 0).all() and abs(values[4]) < 1.2):
        raise FitError("the voltages of the two detectors lie on no ellipse")
    sectors = np.unique(np.floor(_GAPS * (phases[:, 0] / (2 * np.pi) + 0.5)))
    if len(sectors) < _GAPS // 2:
        raise FitError(
            f"the phase was seen in {len(sectors)} of {_GAPS} sectors of the circle: "
            "too little of the ellipse"
        )
    pair = Detection(values[:, None])
    residual = pair.phases(voltage)[1][:, 0] - 1.0
    by_radius = pair.derivatives(voltage)[1][:, :, 0].T
    variance = float(residual @ residual) / max(1, m - 5)
    covariance: FloatArray = variance * np.asarray(np.linalg.inv(by_radius.T @ by_radius))
    noise_V = float(np.sqrt(variance) * np.sqrt(values[2] * values[3]))
    return EllipseFit(values, covariance, residual, noise_V)


def quadratures_of(values: FloatArray) -> Quadratures:
    """Return (5, n) figures as the read-out's formulas take them."""
    return Quadratures(*values)
