"""Phase stepping with steps that nobody knows: offsets, amplitudes and the steps themselves.

V_mki = a_i + b_i cos(ψ_mi + δ_mki): detector i, drive m, frame k. Offsets and amplitudes belong to
a detector, steps are common to all of them, phases to a drive. Many drives stand for the many
pixels of a generalised phase-shifting interferogram: with three frames or more all of them are
determined together (the advanced iterative algorithm, Wang and Han, Opt. Lett. 29, 1671 (2004)).
Here the phases are eliminated from Gauss-Newton steps, which gives the covariance as well.

Gauge: the phase ψ is that of the frame (or power) at which the steps are zero; of the two solutions
(ψ, δ) and (−ψ, −δ) that is taken in which more power is more phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray

__all__ = ["SteppingFit", "equivalent_quadratures", "find_steps", "fit_steps"]

_BoolArray = npt.NDArray[np.bool_]
_SCAN = np.linspace(0.5, 1.65, 47)
_STEPS = 40
_LEAST_DRIVES = 6
_FAR = 8.0
"""Drives with a residual of so many standard deviations are left out: a hop between frames."""
_REWEIGHTED = 3
_LEAST_CONTRAST = 3.0


@final
@dataclass(frozen=True, eq=False)
class SteppingFit:
    """Read-out by phase steps.

    Attributes
    ----------
    step
        (q,) coefficients of the shapes: phases of the steps, or a slope.
    offset_V, amplitude_V
        (n,) a and b > 0.
    covariance
        (q + 2n, q + 2n) of steps, offsets and amplitudes, each detector weighted by its residuals.
    phase
        (m, n) ψ.
    residual_V
        (m, N, n) measured minus fitted; NaN of drives that were left out.
    noise_V
        (n,) standard deviation of one mean that the residuals show.
    used
        (m,) drives that were fitted.
    """

    step: FloatArray
    offset_V: FloatArray
    amplitude_V: FloatArray
    covariance: FloatArray
    phase: FloatArray
    residual_V: FloatArray
    noise_V: FloatArray
    used: _BoolArray

    @property
    def step_error(self) -> FloatArray:
        """(q,) standard errors."""
        error: FloatArray = np.sqrt(np.diag(self.covariance)[: len(self.step)])
        return error

    @property
    def offset_error_V(self) -> FloatArray:
        """(n,) standard errors."""
        first, n = len(self.step), len(self.offset_V)
        error: FloatArray = np.sqrt(np.diag(self.covariance)[first : first + n])
        return error

    @property
    def amplitude_error_V(self) -> FloatArray:
        """(n,) standard errors."""
        error: FloatArray = np.sqrt(np.diag(self.covariance)[-len(self.offset_V) :])
        return error

    @property
    def without_contrast(self) -> _BoolArray:
        """(n,) detectors whose fringe is lost in what the fit leaves."""
        return np.asarray(~(self.amplitude_V > _LEAST_CONTRAST * self.noise_V))


def find_steps(signal_V: FloatArray, nominal_step: FloatArray) -> float:
    """Return by which factor the nominal steps are to be multiplied to fit best, from nothing.

    Every phase and amplitude is free, one offset a detector: what is left is then zero at the
    right steps alone, for three frames as well.

    Parameters
    ----------
    signal_V
        (m, N, n).
    nominal_step
        (N,) or (m, N, 1), to within a factor of 1.6.

    Raises
    ------
    FitError
        Fewer than three frames, too few drives, or steps that differ too little.
    """
    m, frames, _ = signal_V.shape
    if frames < 3 or m < _LEAST_DRIVES:
        raise FitError(
            f"{frames} frames of {m} drives: unknown steps need three frames and "
            f"{_LEAST_DRIVES} drives"
        )
    step = np.broadcast_to(np.asarray(nominal_step, float).reshape(-1, frames, 1), (m, frames, 1))
    if np.abs(step - step[:, :1]).max() < np.pi / 2:
        raise FitError("the steps make less than a quarter of a turn: step farther")
    left = [_left_over(signal_V, factor * step) for factor in _SCAN]
    return float(_SCAN[int(np.argmin(left))])


def _left_over(signal_V: FloatArray, step: FloatArray) -> float:
    """Return the squares left by free phases and amplitudes and one offset a detector.

    The part of a column of N signals that no fringe of these steps makes is the projection off
    (cos δ, sin δ): of signals it is that of the offset alone.
    """
    columns = np.concatenate([np.cos(step), np.sin(step)], axis=2)
    inverse = np.linalg.pinv(columns)
    off = np.eye(step.shape[1]) - columns @ inverse
    rest = off @ signal_V
    ones = off.sum(axis=2)
    offset = np.einsum("mk,mki->i", ones, rest) / max(float((ones**2).sum()), 1e-300)
    rest = rest - ones[:, :, None] * offset
    return float((rest**2).sum())


def fit_steps(
    signal_V: FloatArray,
    shapes: FloatArray,
    start: FloatArray,
    *,
    moved: FloatArray | None = None,
) -> SteppingFit:
    """Fit offsets, amplitudes and steps δ_mki = (shapes @ step)_mk + moved_mki.

    Parameters
    ----------
    signal_V
        (m, N, n) means of each frame.
    shapes
        (m, N, q) or (N, q): unit columns for free steps, powers for a slope.
    start
        (q,) first guess, from `find_steps`.
    moved
        (m, N, n) by how much the phases themselves moved between the frames, as far as known.

    Raises
    ------
    FitError
        No detector sees a fringe, or the steps do not tell a phase.
    """
    m, frames, n = signal_V.shape
    shapes = np.broadcast_to(shapes, (m, frames, shapes.shape[-1]))
    known = np.zeros((1, 1, 1)) if moved is None else moved
    used: _BoolArray = np.asarray(np.isfinite(signal_V).all(axis=(1, 2)))
    step, weight = np.asarray(start, dtype=float), np.ones(n)
    for _ in range(_REWEIGHTED):
        part = known[used] if len(known) == m else known
        one = _Frames(signal_V[used], shapes[used], part, weight)
        step = one.run(step)
        noise = one.noise()
        weight = 1 / np.maximum(noise, 1e-12) ** 2
        scale = np.maximum(1.4826 * np.median(np.abs(one.residual), axis=(0, 1)), 0.3 * noise)
        worst = (np.abs(one.residual) / np.maximum(scale, 1e-12)).max(axis=(1, 2))
        good = worst < _FAR
        if good.all() or good.mean() < 0.5:
            continue
        used[np.flatnonzero(used)[~good]] = False
    part = known[used] if len(known) == m else known
    one = _Frames(signal_V[used], shapes[used], part, weight)
    step = one.run(step)
    full = np.full(signal_V.shape, np.nan)
    full[used] = one.residual
    delta = shapes @ step
    cosine, sine = equivalent_quadratures(signal_V, one.offset, delta[:, :, None] + known)
    fit = SteppingFit(
        step,
        one.offset,
        one.amplitude,
        one.covariance(),
        np.arctan2(sine, cosine),
        full,
        one.noise(),
        used,
    )
    if fit.without_contrast.all():
        raise FitError(
            f"fringes without contrast: amplitudes up to {fit.amplitude_V.max():.2g} V under "
            f"residuals of {fit.noise_V.max():.2g} V at all detectors"
        )
    return fit


def equivalent_quadratures(
    signal_V: FloatArray, offset_V: FloatArray, step: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (m, n) b cos ψ and b sin ψ of frames with known offsets and steps.

    Least squares on the columns cos δ and −sin δ: what detectors in phase and in quadrature would
    have read, without offsets and with equal amplitudes.

    Parameters
    ----------
    signal_V
        (m, N, n).
    offset_V
        (n,).
    step
        (m, N, n) or what broadcasts to it.
    """
    step = np.broadcast_to(step, signal_V.shape)
    cosine, sine = np.cos(step), -np.sin(step)
    above = signal_V - offset_V
    cc, cs = (cosine * cosine).sum(axis=1), (cosine * sine).sum(axis=1)
    ss = (sine * sine).sum(axis=1)
    c, s = (cosine * above).sum(axis=1), (sine * above).sum(axis=1)
    determinant = cc * ss - cs * cs
    return (ss * c - cs * s) / determinant, (cc * s - cs * c) / determinant


@final
class _Frames:
    """One weighted fit; phases are eliminated, so that its size is that of the read-out."""

    def __init__(
        self, signal_V: FloatArray, shapes: FloatArray, moved: FloatArray, weight: FloatArray
    ) -> None:
        self._signal, self._shapes, self._moved = signal_V, shapes, moved
        self._weight = weight
        self._n, self._q = signal_V.shape[2], shapes.shape[2]

    def run(self, start: FloatArray) -> FloatArray:
        """Return the steps; offsets, amplitudes and phases stand in the attributes then."""
        step = np.array(start, dtype=float)
        delta = (self._shapes @ step)[:, :, None] + self._moved
        self.offset = _first_offsets(self._signal, delta)
        cosine, sine = equivalent_quadratures(self._signal, self.offset, delta)
        self.amplitude = np.median(np.hypot(cosine, sine), axis=0)
        self._phase = np.arctan2(sine, cosine)
        before = np.inf
        for _ in range(_STEPS):
            change = self._improve(step)
            step = step + change
            size = float(np.abs(change * np.abs(self._shapes).max(axis=(0, 1))).max(initial=0.0))
            if not np.isfinite(size):
                raise FitError("the phase steps do not determine a phase")
            if size < 1e-11 or (size < 1e-8 and size > 0.5 * before):
                break
            before = size
        self._linearise(step)
        return step

    def _linearise(self, step: FloatArray) -> FloatArray:
        """Set residuals and the normal matrix; return its right side."""
        angle = self._phase[:, None] + (self._shapes @ step)[:, :, None] + self._moved
        cosine, sine = np.cos(angle), np.sin(angle)
        self.residual = self._signal - self.offset - self.amplitude * cosine
        self._sine = sine
        n, q = self._n, self._q
        # By a step: −b sin of its frame; by the phase: their sum over frames, projected off.
        by_step = -(self.amplitude * sine)[:, :, :, None] * self._shapes[:, :, None, :]
        columns = np.concatenate(
            [by_step, np.ones_like(cosine)[..., None], cosine[..., None]], axis=3
        )
        size = np.maximum((sine**2).sum(axis=1), 1e-300)
        along = np.einsum("mki,mkip->mip", sine, columns) / size[:, :, None]
        columns -= sine[:, :, :, None] * along[:, None]
        self._columns = columns
        block = np.einsum("mkip,mkiq->ipq", columns, columns) * self._weight[:, None, None]
        right = np.einsum("mkip,mki->ip", columns, self.residual) * self._weight[:, None]
        normal, vector = np.zeros((q + 2 * n, q + 2 * n)), np.zeros(q + 2 * n)
        normal[:q, :q] = block[:, :q, :q].sum(axis=0)
        vector[:q] = right[:, :q].sum(axis=0)
        for kind in range(2):
            rows = q + kind * n + np.arange(n)
            vector[rows] = right[:, q + kind]
            normal[:q, rows] = block[:, :q, q + kind].T
            normal[rows, :q] = block[:, q + kind, :q]
            for other in range(2):
                normal[rows, q + other * n + np.arange(n)] = block[:, q + kind, q + other]
        self._normal = normal
        return vector

    def _improve(self, step: FloatArray) -> FloatArray:
        right = self._linearise(step)
        change = self._solve(right)
        n, q = self._n, self._q
        change_step, change_offset, change_amplitude = np.split(change, [q, q + n])
        # The phases follow: what the projection left out of the residuals.
        cosine = (self._signal - self.residual - self.offset) / self.amplitude
        rest = self.residual - change_offset - change_amplitude * cosine
        rest = rest + self.amplitude * self._sine * (self._shapes @ change_step)[:, :, None]
        size = np.maximum((self._sine**2).sum(axis=1), 1e-300)
        turn = -(self._sine * rest).sum(axis=1) / size / self.amplitude
        self._phase = self._phase + np.clip(turn, -0.5, 0.5)
        self.offset = self.offset + change_offset
        self.amplitude = np.abs(self.amplitude + change_amplitude)
        return change_step

    def _solve(self, right: FloatArray) -> FloatArray:
        scale = np.sqrt(np.diag(self._normal))
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise FitError("the phase steps do not determine a phase")
        scaled = self._normal / np.outer(scale, scale)
        try:
            found: FloatArray = np.linalg.solve(scaled, right / scale) / scale
        except np.linalg.LinAlgError:
            raise FitError("the phase steps do not determine a phase") from None
        return found

    def noise(self) -> FloatArray:
        """Return (n,) standard deviations of one mean."""
        m, frames, _ = self._signal.shape
        freedom = m * (frames - 1) - 2 - self._q / self._n
        noise: FloatArray = np.sqrt((self.residual**2).sum(axis=(0, 1)) / max(1.0, freedom))
        return noise

    def covariance(self) -> FloatArray:
        """Return the covariance of steps, offsets and amplitudes."""
        scale = np.sqrt(np.diag(self._normal))
        inner = np.linalg.inv(self._normal / np.outer(scale, scale))
        made: FloatArray = inner / np.outer(scale, scale)
        return made


def _first_offsets(signal_V: FloatArray, delta: FloatArray) -> FloatArray:
    """Return (n,) offsets by linear least squares, with every phase and amplitude free."""
    delta = np.broadcast_to(delta, signal_V.shape).transpose(0, 2, 1)
    columns = np.stack([np.cos(delta), np.sin(delta)], axis=3)
    off = np.eye(delta.shape[2]) - columns @ np.linalg.pinv(columns)
    ones = off.sum(axis=3)
    above = np.einsum("mik,mki->i", ones, signal_V)
    offsets: FloatArray = above / np.maximum((ones**2).sum(axis=(0, 2)), 1e-300)
    return offsets
