"""Phases from detector signals, as pure functions.

In-phase and quadrature detectors give o + g cos φ and o + g sin(φ + ε). A phase-stepping
read-out gives I_k = a + b cos(φ + δ_k); classical N-step and five-step formulas after Schwider
et al., Appl. Opt. 22, 3421 (1983) and Hariharan, Oreb, Eiju, Appl. Opt. 26, 2504 (1987); the
ellipse correction after Heydemann, Appl. Opt. 20, 3382 (1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.errors import DataError
from eqp_hw.network.graph import FloatArray

__all__ = [
    "Quadratures",
    "correct_quadratures",
    "fit_quadrature_ellipse",
    "five_step_phase",
    "n_step_amplitude",
    "n_step_phase",
    "stepped_phase",
]


@final
@dataclass(frozen=True, eq=False)
class Quadratures:
    """Imperfections of one pair of detectors, or arrays of them.

    Attributes
    ----------
    offset_I, offset_Q, amplitude_I, amplitude_Q
        V.
    error
        ε, rad: V_Q = offset + amplitude · sin(φ + ε).
    """

    offset_I: FloatArray
    offset_Q: FloatArray
    amplitude_I: FloatArray
    amplitude_Q: FloatArray
    error: FloatArray


def correct_quadratures(
    in_phase_V: FloatArray, quadrature_V: FloatArray, known: Quadratures
) -> tuple[FloatArray, FloatArray]:
    """Return φ in (−π, π] and the radius √(cos² + sin²), which is 1 for sound signals.

    Parameters
    ----------
    in_phase_V, quadrature_V
        (..., n) voltages.
    known
        Figures of the n pairs.
    """
    cosine = (in_phase_V - known.offset_I) / known.amplitude_I
    skewed = (quadrature_V - known.offset_Q) / known.amplitude_Q
    # sin(φ + ε) = sin φ cos ε + cos φ sin ε
    sine = (skewed - cosine * np.sin(known.error)) / np.cos(known.error)
    return np.arctan2(sine, cosine), np.hypot(sine, cosine)


def fit_quadrature_ellipse(in_phase_V: FloatArray, quadrature_V: FloatArray) -> Quadratures:
    """Fit the ellipse that (V_I, V_Q) of one pair trace as φ goes round.

    Least squares of A·I² + B·IQ + C·Q² + D·I + E·Q = 1 (Heydemann). The zero of φ is that of
    the in-phase detector.

    Parameters
    ----------
    in_phase_V, quadrature_V
        (m,) voltages at m ≥ 5 phases, spread over most of the circle.

    Raises
    ------
    DataError
        Fewer than five points, or points that lie on no ellipse.
    """
    i, q = np.asarray(in_phase_V, dtype=float), np.asarray(quadrature_V, dtype=float)
    if i.shape != q.shape or i.ndim != 1 or len(i) < 5:
        raise DataError(
            "too few points for an ellipse", field="in_phase_V", value=i.shape, allowed="5 or more"
        )
    # Centred and scaled: the constant 1 of the conic must not meet an ellipse through zero.
    shift_I, shift_Q = i.mean(), q.mean()
    scale = max(float(np.ptp(i)), float(np.ptp(q)), 1e-300) / 2
    x, y = (i - shift_I) / scale, (q - shift_Q) / scale
    columns = np.stack([x * x, x * y, y * y, x, y], axis=1)
    (a, b, c, d, e), _, rank, _ = np.linalg.lstsq(columns, np.ones(len(x)))
    discriminant = 4 * a * c - b * b
    if rank < 5 or not (np.isfinite(discriminant) and discriminant > 0 and a > 0):
        raise DataError(
            "the points lie on no ellipse: the phase must go round the circle",
            field="quadrature_V",
        )
    p0, q0 = (b * e - 2 * c * d) / discriminant, (b * d - 2 * a * e) / discriminant
    # a·u² + b·uv + c·v² = w for u = x − p0, v = y − q0
    w = 1 + a * p0 * p0 + b * p0 * q0 + c * q0 * q0
    error = np.arcsin(-b / np.sqrt(4 * a * c))
    amplitude_I = np.sqrt(w / a) / np.cos(error)
    amplitude_Q = np.sqrt(w / c) / np.cos(error)
    return Quadratures(
        offset_I=np.asarray(shift_I + scale * p0),
        offset_Q=np.asarray(shift_Q + scale * q0),
        amplitude_I=np.asarray(scale * amplitude_I),
        amplitude_Q=np.asarray(scale * amplitude_Q),
        error=np.asarray(error),
    )


def n_step_phase(intensity: FloatArray) -> FloatArray:
    """Return φ from N ≥ 3 equal steps δ_k = 2πk/N; (N, ...) → (...)."""
    sine, cosine = _n_step_sums(intensity)
    phase: FloatArray = np.arctan2(-sine, cosine)
    return phase


def n_step_amplitude(intensity: FloatArray) -> FloatArray:
    """Return the fringe amplitude b of `n_step_phase`'s signal."""
    sine, cosine = _n_step_sums(intensity)
    amplitude: FloatArray = 2 / len(intensity) * np.hypot(sine, cosine)
    return amplitude


def _n_step_sums(intensity: FloatArray) -> tuple[FloatArray, FloatArray]:
    n = len(intensity)
    if n < 3:
        raise DataError(
            "too few phase steps", field="intensity", value=n, allowed="3 or more steps"
        )
    step = 2 * np.pi * np.arange(n) / n
    return np.tensordot(np.sin(step), intensity, 1), np.tensordot(np.cos(step), intensity, 1)


def five_step_phase(intensity: FloatArray) -> FloatArray:
    """Return φ from steps (−π, −π/2, 0, π/2, π); (5, ...) → (...).

    A relative error of all steps enters only in second order (Hariharan).
    """
    if len(intensity) != 5:
        raise DataError("not five steps", field="intensity", value=len(intensity), allowed="5")
    i = intensity
    phase: FloatArray = np.arctan2(2 * (i[1] - i[3]), 2 * i[2] - i[0] - i[4])
    return phase


def stepped_phase(intensity: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return φ and the amplitude b for known steps of any size, by least squares.

    Parameters
    ----------
    intensity
        (N, ...) signals.
    step
        (N,) δ_k, rad, at least three of them different modulo 2π.

    Raises
    ------
    DataError
        The steps do not tell offset, cosine and sine apart.
    """
    columns = np.stack([np.ones(len(step)), np.cos(step), -np.sin(step)], axis=1)
    if len(step) < 3 or len(step) != len(intensity) or np.linalg.cond(columns) > 1e3:
        raise DataError(
            "these phase steps do not tell a phase",
            field="step",
            value=np.round(step, 4).tolist(),
            allowed="three or more different steps, spread over the circle, one a signal",
        )
    x = np.tensordot(np.linalg.pinv(columns), intensity, 1)
    return np.arctan2(x[2], x[1]), np.hypot(x[1], x[2])
