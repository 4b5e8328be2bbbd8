"""The joint fit of a network whose phases are read in frames, by steps of a reference arm.

A phase of the step shifter, θ_s = offset + Σ_j S_sj P_j, turns all phases as they are read alike:
ψ_mi = φ_mi + θ_s. Its slopes are fitted with all other figures, as turns of a known shape. Its
offset is a gauge: inputs and fields turned by as much make up for it; it keeps its nominal value.

The shifter also heats its neighbours, and the network moves a little from frame to frame. By how
much, the fitted network itself says: the frames are read again with these movements known, and
the network is fitted again, until neither changes. The first time round they count as noise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.calibration import RigCalibration

from .diagnosis import Diagnosis, with_drift
from .ellipse import Detection
from .network_equations import Equilibria, Free
from .network_fit import NetworkFit, fit_network
from .network_model import Elements, NetworkModel, own_equilibria
from .stepping import SteppingFit, equivalent_quadratures, find_steps, fit_steps

__all__ = ["StepShifter", "SteppedNetwork", "solve_stepped_network"]

_log = logging.getLogger("eqp_hw.calibration")

_BoolArray = npt.NDArray[np.bool_]
Diagnose = Callable[[Equilibria, _BoolArray, Detection], Diagnosis]
_ROUNDS = 6
_DIAGNOSES = 4
_STEADY = 0.1
"""Movements that change by this share of the noise are known."""
_ABOVE = 1.5
_FAR = 10.0
_FEW = 0.02
_LEAST_RANGE = 0.02
"""Of a half-wave power: drives of the shifter that differ by less tell no slope."""


@final
@dataclass(frozen=True, eq=False)
class StepShifter:
    """Figures of the step shifter.

    Attributes
    ----------
    slope
        (n_heaters,) dθ_s/dP_j, rad/W.
    covariance
        (n_heaters, n_heaters) of them; NaN where the nominal one stands.
    """

    slope: FloatArray
    covariance: FloatArray


@final
@dataclass(frozen=True, eq=False)
class SteppedNetwork:
    """What came out.

    Attributes
    ----------
    diagnosis
        The network.
    shifter
        The step shifter.
    read
        Offsets and amplitudes of the detectors.
    noise
        (n_free,) of one phase, rad.
    used
        (m,) drives that were fitted: those whose frames belong together.
    """

    diagnosis: Diagnosis
    shifter: StepShifter
    read: SteppingFit
    noise: FloatArray
    used: _BoolArray


def solve_stepped_network(
    model: NetworkModel,
    known: RigCalibration,
    signal_V: FloatArray,
    power_W: FloatArray,
    step_W: FloatArray,
    noise_V: FloatArray,
    near: _BoolArray,
    diagnose: Diagnose,
) -> SteppedNetwork:
    """Fit network, step shifter and detectors.

    Parameters
    ----------
    model
        Structure; the step shifter is the last heater.
    known
        Nominal figures: of the step shifter to within 40 %.
    signal_V
        (m, N, n_free) means of each frame.
    power_W
        (m, n_heaters), the step shifter's being its mean over the frames.
    step_W
        (m, N) what the step shifter's power was beside that mean.
    noise_V
        (n_free,) standard deviation of a mean.
    near
        (n_heaters,) heaters whose heat may reach the step shifter. One that is left out though it
        does is found as crosstalk to all inputs and fields alike, which no equilibrium can tell
        from it.
    diagnose
        Fits the network to equilibria: those that it is handed, which they are of all (m,) drives,
        and the first guess of the detectors.

    Raises
    ------
    FitError
        No steps, no contrast, or the equilibria do not determine the elements.
    """
    frames = _Stepped(known, signal_V, power_W, step_W, noise_V, near)
    for _ in range(_DIAGNOSES):
        inflated, used = frames.inflated, frames.used
        diagnosis = diagnose(frames.seen(used), used, frames.detection)
        fit = frames.settle(model, diagnosis, used)
        diagnosis = replace(diagnosis, solution=replace(diagnosis.solution, fit=fit))
        frames.leave_out(fit, used)
        # What the movements hid before shows now: crosstalk, faults.
        if not inflated and (frames.used == used).all():
            break
    diagnosis = with_drift(model, replace(diagnosis, seen=frames.as_diagnosed(diagnosis, used)))
    return SteppedNetwork(diagnosis, frames.shifter(diagnosis), frames.read, frames.noise, used)


@final
class _Stepped:
    def __init__(
        self,
        known: RigCalibration,
        signal_V: FloatArray,
        power_W: FloatArray,
        step_W: FloatArray,
        noise_V: FloatArray,
        near: _BoolArray,
    ) -> None:
        self._signal, self._power, self._step = signal_V, power_W, step_W
        self._noise_V, self._row = noise_V, power_W.shape[1] - 1
        nominal = np.pi / known.half_wave_power_W[self._row] * known.crosstalk[self._row]
        factor = find_steps(signal_V, nominal[self._row] * step_W[:, :, None])
        self._start = np.array([factor * nominal[self._row]])
        self._moved = np.zeros(signal_V.shape)
        self._strange = np.zeros(len(signal_V), dtype=bool)
        self._read()
        # Turned back by what the shifter does as far as known; turns are what is left of it.
        self._reference = nominal * self.read.step[0] / nominal[self._row]
        self._turned = known.phase_offset[self._row] + power_W @ self._reference
        fitted = near.copy()
        own = power_W[:, self._row]
        fitted[self._row] = own.std() > _LEAST_RANGE * known.half_wave_power_W[self._row]
        self._columns: IntArray = np.flatnonzero(fitted)

    def _read(self) -> None:
        self.read = fit_steps(self._signal, self._step[:, :, None], self._start, moved=self._moved)
        if self.read.without_contrast.any():
            worst = int(np.flatnonzero(self.read.without_contrast)[0])
            raise FitError(
                f"free node {worst}: a fringe without contrast, {self.read.amplitude_V[worst]:.2g} "
                f"V under residuals of {self.read.noise_V[worst]:.2g} V; mend its detector first"
            )
        self._start = self.read.step
        delta = (self._step * self.read.step[0])[:, :, None] + self._moved
        cosine, sine = equivalent_quadratures(self._signal, self.read.offset_V, delta)
        self._vector = cosine + 1j * sine
        amplitude = self.read.amplitude_V
        self.detection = Detection(
            np.stack([0 * amplitude, 0 * amplitude, amplitude, amplitude, 0 * amplitude])
        )
        stated = np.sqrt(2 / self._signal.shape[1]) * self._noise_V / amplitude
        # What moves between frames errs phases as much as radii.
        radius = 1.4826 * np.median(np.abs(np.abs(self._vector) / amplitude - 1), axis=0)
        self.inflated = bool((radius > _ABOVE * np.maximum(stated, 1e-6)).any())
        self.noise = np.maximum(np.maximum(stated, radius) if self.inflated else stated, 1e-6)

    @property
    def used(self) -> _BoolArray:
        """(m,) drives whose frames belong together: the network did not hop between them."""
        return self.read.used & ~self._strange

    def leave_out(self, fit: NetworkFit, used: _BoolArray) -> None:
        """Leave out the few drives that alone do not fit: small hops leave the radii intact."""
        far = (np.abs(fit.residual) > _FAR * self.noise).any(axis=1)
        if 0 < far.sum() <= _FEW * len(far):
            self._strange[np.flatnonzero(used)[far]] = True

    def seen(self, used: _BoolArray) -> Equilibria:
        """Return equilibria as detectors in phase and in quadrature would have read them."""
        turned = self._vector * np.exp(-1j * self._turned)[:, None]
        voltage = np.concatenate([turned.real, turned.imag], axis=1)
        turns = self._power[:, self._columns] if len(self._columns) else None
        return Equilibria(self._power, voltage, self.noise, turns).pick(used)

    def settle(self, model: NetworkModel, diagnosis: Diagnosis, used: _BoolArray) -> NetworkFit:
        """Fit network and movements in turn until neither changes."""
        solution, fit = diagnosis.solution, diagnosis.solution.fit
        ratios = np.zeros(model.n_edges, dtype=bool)
        ratios[fit.rows["ratio"]] = True
        free = Free(solution.slopes, ratios)
        for _ in range(_ROUNDS):
            moved = self._movements(model, diagnosis, fit, used)
            change = np.sqrt(((moved - self._moved)[used] ** 2).mean(axis=(0, 1)))
            self._moved = moved
            self._read()
            if (change < _STEADY * self.noise).all():
                break
            seen = self.as_diagnosed(diagnosis, used)
            fit = fit_network(model, fit.elements, fit.detection, seen, free)
            _log.info("movements: %.2g rad more, chi-square %.3g", change.max(), fit.chi_square)
        return fit

    def as_diagnosed(self, diagnosis: Diagnosis, used: _BoolArray) -> Equilibria:
        """Return equilibria with powers where they really went, and turns."""
        seen = self.seen(used)
        seen = replace(seen, power_W=_as_driven(seen.power_W, diagnosis))
        if diagnosis.shapes is None:
            return seen
        own = diagnosis.shapes if seen.turns is None else np.hstack([seen.turns, diagnosis.shapes])
        return replace(seen, turns=own)

    def _movements(
        self, model: NetworkModel, diagnosis: Diagnosis, fit: NetworkFit, used: _BoolArray
    ) -> FloatArray:
        every = self.seen(np.ones(len(used), dtype=bool))
        phases, _ = fit.detection.phases(every.voltage_V)
        own = len(self._columns)
        if every.turns is not None:
            phases = phases - (every.turns @ fit.turns[:own])[:, None]
        if diagnosis.shapes is not None:
            phases[used] -= (diagnosis.shapes @ fit.turns[own:])[:, None]
        power = _as_driven(every.power_W, diagnosis)
        return _movements(model, fit.elements, power, self._step, self._row, phases)

    def shifter(self, diagnosis: Diagnosis) -> StepShifter:
        """Return the slopes of the step shifter."""
        fit, n = diagnosis.solution.fit, self._power.shape[1]
        slope, covariance = self._reference.copy(), np.full((n, n), np.nan)
        count = len(self._columns)
        slope[self._columns] += fit.turns[:count]
        place = np.arange(fit.layout["turn"].start, fit.layout["turn"].start + count)
        covariance[np.ix_(self._columns, self._columns)] = fit.covariance[np.ix_(place, place)]
        if self._row not in self._columns:
            slope[self._row] = self.read.step[0]
            covariance[self._row] = covariance[:, self._row] = 0.0
            covariance[self._row, self._row] = self.read.covariance[0, 0]
        return StepShifter(slope, covariance)


def _as_driven(power_W: FloatArray, diagnosis: Diagnosis) -> FloatArray:
    """Return the powers that reach the shifters, with the faults that were found."""
    power = power_W.copy()
    power[:, list(diagnosis.without_effect)] = 0.0
    for one, two in diagnosis.swapped:
        power[:, [one, two]] = power[:, [two, one]]
    return power


def _movements(
    model: NetworkModel,
    elements: Elements,
    power_W: FloatArray,
    step_W: FloatArray,
    row: int,
    phases: FloatArray,
) -> FloatArray:
    """Return (m, N, n_free) how far the phases are from those at the mean power, by frame."""
    moved = np.zeros((*step_W.shape, phases.shape[1]))
    heated = elements.slope[:, row].copy()
    heated[row] = 0.0
    if not heated.any():
        return moved
    theta = elements.theta(power_W)
    rest, good = own_equilibria(model, elements, theta, phases)
    for k in range(step_W.shape[1]):
        there, sound = own_equilibria(model, elements, theta + step_W[:, k, None] * heated, rest)
        moved[:, k] = np.where((good & sound)[:, None], there - rest, 0.0)
    return moved
