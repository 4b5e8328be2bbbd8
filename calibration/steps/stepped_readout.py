"""What the read-out step finds on a rig with N-step read-out: steps, offsets, amplitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits.noise import NoiseScaling
from eqp_hw.calibration.fits.resistance import fit_resistances
from eqp_hw.calibration.fits.stepping import SteppingFit, find_steps, fit_steps
from eqp_hw.calibration.step import Finding, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .frames import Frames, frames_of

__all__ = ["SteppedReadout", "fit_stepping", "of_stepping"]

_BoolArray = npt.NDArray[np.bool_]
_NO_EFFECT = 0.02
"""A shifter that moves no detector by more of its swing makes no steps."""
_NO_FRINGE = 0.15
_LIKELY = (0.4, 2.0)
_POOR_FIT = 4.0
_STRAIGHT = 0.005
_SIGNIFICANT = 5.0
_BY_CHANCE = 3.0


@final
@dataclass(frozen=True, eq=False)
class SteppedReadout:
    """Steps of the reference arm as they are.

    Attributes
    ----------
    fit
        Of the detectors that are alive; all steps free, the first one zero.
    alive
        (n,) detectors that were fitted.
    step_W
        (N,) powers of the step shifter, mean over the drives.
    step_error
        (N,) standard errors of the steps, with what the shifter's heat may add.
    half_wave_W, half_wave_error_W
        Of the step shifter, by a straight line through the steps; the error is that of the
        resistance as well.
    straightness
        (N,) steps minus the line, rad.
    """

    fit: SteppingFit
    alive: _BoolArray
    step_W: FloatArray
    step_error: FloatArray
    half_wave_W: float
    half_wave_error_W: float
    straightness: FloatArray


def fit_stepping(data: StepData, known: RigCalibration, alive: _BoolArray) -> SteppedReadout:
    """Fit the frames of the detectors that are alive.

    Raises
    ------
    FitError
        No detector is; the step shifter has no effect; no fringe has contrast.
    """
    if not alive.any():
        raise FitError("no detector moves: is there light, and is the digitiser the right one?")
    row = len(known.resistance_ohm) - 1
    resistance, resistance_error = _resistance(data, known, row)
    frames = frames_of(data, known)
    signal = frames.signal_V[:, :, alive]
    power = data["step_setpoint_V"] ** 2 / resistance
    within = (signal - signal.mean(axis=1, keepdims=True)).std(axis=(0, 1))
    if (within < _NO_EFFECT * signal.std(axis=(0, 1))).all():
        raise FitError(
            "the step shifter has no effect: no detector moves from frame to frame; dead, stuck, "
            "or not in the reference arm"
        )
    step_W = power.mean(axis=0)
    nominal = np.pi / known.half_wave_power_W[row] * (step_W - step_W[0])
    factor = find_steps(signal, nominal)
    fit = fit_steps(signal, np.eye(len(nominal))[:, 1:], factor * nominal[1:])
    away = step_W[1:] - step_W[0]
    share = float(away @ fit.step / (away @ nominal[1:]))
    loud = float(np.median(fit.noise_V / fit.amplitude_V))
    if loud > _NO_FRINGE or not _LIKELY[0] < share < _LIKELY[1]:
        raise FitError(
            f"the frames make no fringes of common steps (steps {share:.2g} times the nominal "
            f"ones, residuals of {loud:.2g} of the amplitudes): is the step shifter of the rig "
            "file the one in the reference arm, and is the light steady?"
        )
    turn = _unseen_turn(fit, frames, alive, step_W)[1:]
    covariance = fit.covariance[: len(turn), : len(turn)] + np.outer(turn, turn)
    inverse = np.linalg.inv(covariance)
    slope = float(away @ inverse @ fit.step / (away @ inverse @ away))
    slope_error = float(1 / np.sqrt(away @ inverse @ away))
    relative = np.hypot(slope_error / slope, resistance_error / resistance)
    return SteppedReadout(
        fit,
        alive,
        step_W,
        np.append(0.0, np.sqrt(np.diag(covariance))),
        np.pi / slope,
        float(np.pi / slope * relative),
        np.append(0.0, fit.step - slope * away),
    )


def _resistance(data: StepData, known: RigCalibration, row: int) -> tuple[float, float]:
    """Return the step shifter's resistance and its error from the read-backs, if there are any."""
    if "back_current_A" not in data or len(data["back_current_A"]) < 4:
        return float(known.resistance_ohm[row]), 0.0
    fit = fit_resistances(
        data["back_setpoint_V"],
        data["back_voltage_V"],
        data["back_current_A"],
        known.resistance_ohm,
    )
    found, error = float(fit.resistance_ohm[row]), float(fit.error_ohm[row])
    if not np.isfinite(found):
        return float(known.resistance_ohm[row]), 0.0
    return found, error if np.isfinite(error) else 0.0


def _unseen_turn(
    fit: SteppingFit, frames: Frames, alive: _BoolArray, step_W: FloatArray
) -> FloatArray:
    """Return (N,) by how much the network may have turned as a whole from step to step.

    The shifter's heat moves its neighbours. What moves detectors differently shows in the
    residuals; what moves them alike cannot be told from the steps. Of heat at single nodes the
    mean over n detectors is the rms over √n, and N frames with free phases show 3/N of the rms.
    """
    count, n = fit.residual_V.shape[1], len(fit.noise_V)
    expected = frames.noise_V[alive] ** 2 / frames.samples
    above = float(((fit.noise_V**2 - expected) / fit.amplitude_V**2).mean())
    usual = float((expected / fit.amplitude_V**2).mean())
    chance = _BY_CHANCE * np.sqrt(2 / (fit.used.sum() * (count - 1) * n))
    if above <= chance * usual:
        return np.zeros(count)
    rms = count / 3 * np.sqrt(above / n)
    turn: FloatArray = rms * (step_W - step_W[0]) / np.ptp(step_W)
    return turn


def of_stepping(
    made: SteppedReadout, data: StepData, known: RigCalibration, rig: Rig, scaling: NoiseScaling
) -> StepFit:
    """Return figures, uncertainties, residuals and findings of the steps."""
    fit, alive, n = made.fit, made.alive, len(made.alive)
    n_heaters = len(known.resistance_ohm)
    findings = []
    good = alive.copy()
    good[alive] = ~fit.without_contrast
    for column in np.flatnonzero(alive & ~good):
        k = int(np.flatnonzero(np.flatnonzero(alive) == column)[0])
        text = (
            f"a fringe without contrast: {fit.amplitude_V[k]:.2g} V under residuals of "
            f"{fit.noise_V[k]:.2g} V; it moves, but not with the reference's phase"
        )
        findings.append(Finding("fault", str(rig.wiring.detectors[column]), text))

    def spread(values: FloatArray) -> FloatArray:
        whole = np.full(n, np.nan)
        whole[alive] = values
        return np.where(good, whole, np.nan)[None, :]

    residual = np.full((*fit.residual_V.shape[:2], n), np.nan)
    residual[:, :, alive] = fit.residual_V
    half_wave, half_wave_error = np.full(n_heaters, np.nan), np.full(n_heaters, np.nan)
    half_wave[-1], half_wave_error[-1] = made.half_wave_W, made.half_wave_error_W
    phase = np.append(0.0, fit.step)
    wanted = 2 * np.pi * np.arange(len(phase)) / len(phase)
    findings += _of_steps(made, scaling, data, rig)
    return StepFit(
        figures={
            "readout_offset_V": spread(fit.offset_V),
            "readout_amplitude_V": spread(fit.amplitude_V),
            "half_wave_power_W": half_wave,
            "step_power_W": made.step_W,
            "step_phase": phase,
            "step_error": phase - wanted,
            "step_straightness": made.straightness,
        },
        uncertainties={
            "readout_offset_V": spread(fit.offset_error_V),
            "readout_amplitude_V": spread(fit.amplitude_error_V),
            "half_wave_power_W": half_wave_error,
            "step_phase": made.step_error,
            "step_error": made.step_error,
            "step_straightness": made.step_error,
        },
        residuals={"frame": residual},
        findings=findings,
        units={
            "step_phase": "rad",
            "step_error": "rad",
            "step_straightness": "rad",
            "frame": "V",
        },
    )


def _of_steps(
    made: SteppedReadout, scaling: NoiseScaling, data: StepData, rig: Rig
) -> list[Finding]:
    found = []
    shifter = str(rig.wiring.heaters[-1])
    bent = np.abs(made.straightness)
    worst = int(np.argmax(bent))
    if bent[worst] > max(_STRAIGHT, _SIGNIFICANT * made.step_error[worst]):
        text = (
            f"its steps are not linear in power: {1e3 * bent[worst]:.0f} mrad off a straight line "
            f"at {1e3 * made.step_W[worst]:.3g} mW"
        )
        found.append(Finding("warning", shifter, text))
    expected = scaling.deviation[0, made.alive] / np.sqrt(float(data["samples"][0]))
    misfit = made.fit.noise_V / np.maximum(expected, 1e-12)
    moved = made.fit.noise_V / made.fit.amplitude_V
    loud = np.flatnonzero((misfit > _POOR_FIT) & ~made.fit.without_contrast)
    if len(loud):
        worst = int(loud[np.argmax(moved[loud])])
        channel = rig.wiring.detectors[int(np.flatnonzero(made.alive)[worst])]
        text = (
            f"between the steps the signal moves by {1e3 * moved[worst]:.2g} mrad rms more than "
            "steps and noise explain: the shifter's heat reaches its neighbours (the network step "
            "takes that into account), or the light is unsteady"
        )
        found.append(Finding("note", str(channel), text))
    return found
