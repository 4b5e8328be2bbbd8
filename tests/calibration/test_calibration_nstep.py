"""N-step read-out: from unknown steps to a filled calibration, against hidden truths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from memory_session import merged
from nstep_samples import (
    AMONG,
    AWAY,
    END,
    NETWORK,
    QuickSession,
    stepped_rig,
    stepped_truth,
    true_steps,
)
from truth_comparison import COMPARED

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits.network_model import NetworkModel
from eqp_hw.calibration.fits.noise import noise_floor, noise_scaling
from eqp_hw.calibration.fits.stepping import equivalent_quadratures, find_steps, fit_steps
from eqp_hw.calibration.step import StepFit
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.drivers.actuators.branches import Wanted, choose_phases
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.readout.formulas import five_step_phase, n_step_phase
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap

NAMES = tuple(name for name in COMPARED if name != "quadrature_error")
RIGS = [(4, END)] * 6 + [(3, END)] * 8 + [(4, AMONG), (3, AMONG), (5, AMONG)] + [(3, AWAY)] * 4
"""Steps, and where their shifter is; one truth seed each."""


# --- the fit alone -------------------------------------------------------------------------------
def frames(
    rng: np.random.Generator, steps: int, drives: int = 60, n: int = 4, noise: float = 5e-4
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return signals, phases, offsets, amplitudes and steps far from nominal."""
    phase = rng.uniform(-np.pi, np.pi, (drives, n))
    offset, amplitude = rng.normal(0, 0.02, n), np.exp(rng.normal(0, 0.05, n))
    step = 2 * np.pi * np.arange(steps) / steps * np.exp(rng.normal(0, 0.15))
    step += rng.normal(0, 0.05, steps)
    step -= step[0]
    signal = offset + amplitude * np.cos(phase[:, None] + step[:, None])
    return signal + noise * rng.normal(size=signal.shape), phase, offset, amplitude, step


@pytest.mark.parametrize("steps", [3, 4, 5, 7])
def test_unknown_steps_offsets_and_amplitudes_come_with_honest_errors(steps: int) -> None:
    nominal, inside = 2 * np.pi * np.arange(steps) / steps, []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        signal, phase, offset, amplitude, step = frames(rng, steps)
        factor = find_steps(signal, nominal)
        fit = fit_steps(signal, np.eye(steps)[:, 1:], factor * nominal[1:])
        assert np.abs(fit.step - step[1:]).max() < 1e-3
        assert np.abs(wrap(fit.phase - phase)).max() < 4e-3
        assert fit.noise_V == pytest.approx(5e-4, rel=0.4)
        errors = (fit.step - step[1:], fit.offset_V - offset, fit.amplitude_V - amplitude)
        stated = (fit.step_error, fit.offset_error_V, fit.amplitude_error_V)
        inside += [
            np.abs(a / b) < 1
            for one, its in zip(errors, stated, strict=True)
            for a, b in zip(one, its, strict=True)
        ]
    assert np.mean(inside) == pytest.approx(0.68, abs=0.06)


def test_without_noise_the_fit_is_exact() -> None:
    signal, phase, offset, amplitude, step = frames(np.random.default_rng(0), 4, noise=0.0)
    fit = fit_steps(signal, np.eye(4)[:, 1:], np.pi / 2 * np.arange(1, 4))
    assert np.abs(fit.step - step[1:]).max() < 1e-9
    assert np.abs(fit.offset_V - offset).max() < 1e-9
    assert np.abs(fit.amplitude_V - amplitude).max() < 1e-9
    assert np.abs(wrap(fit.phase - phase)).max() < 1e-9


def test_the_covariance_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(4)
    signal, *_ = frames(rng, 4, drives=12, n=2)
    shapes = np.linspace(-1, 1, 4)[:, None]
    moved = 0.05 * rng.normal(size=signal.shape)
    fit = fit_steps(signal, shapes, np.array([2.4]), moved=moved)

    def model(values: FloatArray) -> FloatArray:
        step, offset, amplitude, phase = np.split(values, [1, 3, 5])
        angle = phase.reshape(12, 1, 2) + (shapes @ step)[:, None] + moved
        return np.asarray(offset + amplitude * np.cos(angle)).ravel()

    at = np.concatenate([fit.step, fit.offset_V, fit.amplitude_V, fit.phase.ravel()])
    # The phases of a fit of amplitudes that are all one are not those of free amplitudes.
    jacobian = np.stack(
        [(model(at + d) - model(at - d)) / 2e-6 for d in 1e-6 * np.eye(len(at))], axis=1
    )
    weight = np.tile(1 / fit.noise_V**2, 48)
    full = np.linalg.inv(jacobian.T @ (jacobian * weight[:, None]))
    np.testing.assert_allclose(fit.covariance, full[:5, :5], rtol=0.03, atol=1e-3 * full[0, 0])


def test_equivalent_quadratures_are_those_of_the_formulas() -> None:
    rng = np.random.default_rng(2)
    phase, offset, amplitude = rng.uniform(-3, 3, (20, 3)), np.array([0.1, 0, -0.2]), 0.7
    for steps, formula in ((3, n_step_phase), (4, n_step_phase), (5, n_step_phase)):
        delta = 2 * np.pi * np.arange(steps)[:, None] / steps
        signal = offset + amplitude * np.cos(phase[:, None] + delta)
        cosine, sine = equivalent_quadratures(signal, offset, delta)
        assert np.abs(wrap(np.arctan2(sine, cosine) - formula(signal.swapaxes(0, 1)))).max() < 1e-12
        assert np.abs(np.hypot(cosine, sine) - amplitude).max() < 1e-12
    delta = np.pi / 2 * np.arange(-2, 3)[:, None]
    signal = offset + amplitude * np.cos(phase[:, None] + delta)
    cosine, sine = equivalent_quadratures(signal, offset, delta)
    assert (
        np.abs(wrap(np.arctan2(sine, cosine) - five_step_phase(signal.swapaxes(0, 1)))).max()
        < 1e-12
    )


def test_a_network_that_hops_between_frames_is_left_out() -> None:
    signal, _, _, _, step = frames(np.random.default_rng(3), 4)
    signal[[7, 30], 2:] += 0.8
    fit = fit_steps(signal, np.eye(4)[:, 1:], np.pi / 2 * np.arange(1, 4))
    assert np.flatnonzero(~fit.used).tolist() == [7, 30]
    assert np.abs(fit.step - step[1:]).max() < 1e-3


def test_one_detector_without_contrast_harms_no_other() -> None:
    rng = np.random.default_rng(5)
    signal, _, _, amplitude, step = frames(rng, 4)
    signal[:, :, 1] = rng.normal(0, 0.3, signal.shape[:2])
    fit = fit_steps(signal, np.eye(4)[:, 1:], np.pi / 2 * np.arange(1, 4))
    assert fit.without_contrast.tolist() == [False, True, False, False]
    assert np.abs(fit.step - step[1:]).max() < 1e-3
    assert np.abs(np.delete(fit.amplitude_V - amplitude, 1)).max() < 1e-3


def test_what_tells_no_steps_is_refused() -> None:
    rng = np.random.default_rng(6)
    signal, *_ = frames(rng, 4)
    nominal = np.pi / 2 * np.arange(4)
    with pytest.raises(FitError, match="need three frames"):
        find_steps(signal[:, :2], nominal[:2])
    with pytest.raises(FitError, match="less than a quarter of a turn"):
        find_steps(signal, 0.1 * nominal)
    with pytest.raises(FitError, match="fringes without contrast"):
        fit_steps(rng.normal(0, 1e-3, signal.shape), np.eye(4)[:, 1:], nominal[1:])


# --- noise ---------------------------------------------------------------------------------------
def test_white_noise_has_no_floor() -> None:
    found = [
        noise_floor(noise_scaling(np.random.default_rng(seed).normal(0, 2e-3, (512, 4))))
        for seed in range(60)
    ]
    significance = np.array([one.significance for one in found])
    assert (np.abs(significance) < 1).mean() == pytest.approx(0.68, abs=0.15)
    assert significance.max() < 4
    assert np.mean([one.white for one in found]) == pytest.approx(2e-3, rel=0.02)


def test_what_averaging_leaves_is_found() -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(20):
        # Slow steps of a level: their Allan deviation does not fall.
        count = np.arange(1, 257)
        spectrum = rng.normal(size=(256, 4)) + 1j * rng.normal(size=(256, 4))
        flicker = np.fft.irfft(np.vstack([np.zeros(4), spectrum / np.sqrt(count)[:, None]]), axis=0)
        noise = rng.normal(0, 2e-3, flicker.shape) + 1e-3 * flicker / flicker.std()
        found.append(noise_floor(noise_scaling(noise)))
    assert min(one.significance for one in found) > 4
    assert np.mean([one.floor for one in found]) == pytest.approx(4.7e-4, rel=0.1)
    worth = np.median([one.worth_averaging for one in found])
    assert 10 < worth < 40


# --- rigs ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Made:
    session: QuickSession
    read: StepFit
    network: StepFit
    step_z: FloatArray
    step_off: float
    errors: dict[str, FloatArray]
    in_sigma: dict[str, FloatArray]


def make(seed: int, steps: int, shifter: str) -> Made:
    session = QuickSession(stepped_rig(steps, shifter), seed)
    first, step = session.take(ResistanceStep()), ReadoutStep(drives=40, series=256)
    data = session.measure(step)
    read = step.fit(data, session.known, session.rig)
    session.known = merged(session.known, read)
    away = read.figures["step_phase"] - true_steps(session, data["step_setpoint_V"])
    network = session.take(NETWORK)
    truth, uncertainty = stepped_truth(session), {}
    for fit in (first, read, network):
        uncertainty |= fit.uncertainties
    seen = NetworkModel(session.rig).seen.copy()
    seen[-1] = True  # it is read by, though it drives no node
    errors, in_sigma = {}, {}
    for name in NAMES:
        error, sigma = getattr(session.known, name) - getattr(truth, name), uncertainty[name]
        told = np.isfinite(sigma) & (sigma > 0)
        errors[name] = error[seen] if name == "crosstalk" else error[np.isfinite(sigma)]
        in_sigma[name] = error[told] / sigma[told]
    step_z = away[1:] / read.uncertainties["step_phase"][1:]
    return Made(session, read, network, step_z, np.abs(away).max(), errors, in_sigma)


@pytest.fixture(scope="module")
def rigs() -> list[Made]:
    return [make(seed, *one) for seed, one in enumerate(RIGS, start=1)]


def inside(values: list[FloatArray]) -> float:
    return float((np.abs(np.concatenate(values)) < 1).mean())


def test_figures_are_found(rigs: list[Made]) -> None:
    for one in rigs:
        table = one.session.rig.settings.calibration
        error = {name: float(np.abs(values).max()) for name, values in one.errors.items()}
        assert error["half_wave_power_W"] < 0.01 * table.half_wave_power_W
        assert error["phase_offset"] < 0.020
        assert error["crosstalk"] < 0.05 * max(table.crosstalk)
        assert error["coupling_maximum"] < 0.02 * table.coupling_maximum
        assert error["bias_maximum"] < 0.02 * table.bias_maximum
        assert error["nudge_maximum"] < 0.02 * table.nudge_maximum
        assert error["readout_offset_V"] < 1e-3
        assert error["readout_amplitude_V"] < 1e-3


@pytest.mark.parametrize("figure", NAMES)
def test_uncertainties_are_honest(rigs: list[Made], figure: str) -> None:
    values = [one.in_sigma[figure] for one in rigs]
    count = sum(len(one) for one in values)
    slack = 0.10 + (2 * np.sqrt(0.68 * 0.32 / count) if count < 200 else 0.0)
    assert inside(values) == pytest.approx(0.68, abs=slack)


def test_all_uncertainties_together_are_honest(rigs: list[Made]) -> None:
    values = [errors for one in rigs for errors in one.in_sigma.values()]
    assert inside(values) == pytest.approx(0.68, abs=0.04)


def test_the_steps_themselves_are_found(rigs: list[Made]) -> None:
    for one, (_, shifter) in zip(rigs, RIGS, strict=True):
        # Heat of the shifter turns its neighbours while it steps: the error says so.
        assert one.step_off < (5e-4 if shifter == AWAY else 0.02)
    assert inside([one.step_z for one in rigs]) == pytest.approx(0.72, abs=0.16)
    assert max(float(np.abs(one.step_z).max()) for one in rigs) < 4


def test_commanded_phases_are_realised(rigs: list[Made]) -> None:
    for one in (rigs[0], rigs[-4]):
        session, model = one.session, HeaterModel.of(one.session.known)
        gauge = session.plant.truths.figures.phase_offset - stepped_truth(session).phase_offset
        seen = NetworkModel(session.rig).seen.copy()
        seen[-1] = True
        limit = 0.95 * session.highest_V**2 / session.known.resistance_ohm
        for _ in range(10):
            wanted = Wanted.phases(session.rng.uniform(-np.pi, np.pi, session.n_heaters))
            phases, power = choose_phases(model, wanted, limit)
            session.write_voltages(model.voltages(power))
            session.plant.elapse(0.1)
            missed = wrap(session.plant.shifter_phases() - gauge - phases)[seen]
            assert np.sqrt((missed**2).mean()) < 0.003


def test_nothing_is_found_fault_with_on_a_sound_rig(rigs: list[Made]) -> None:
    for one in rigs:
        levels = {f.level for fit in (one.read, one.network) for f in fit.findings}
        assert levels <= {"note"}
        assert one.network.figures["chi_square"] == pytest.approx(1.0, abs=0.25)


def test_noise_and_bits_are_those_of_stepped_phases(rigs: list[Made]) -> None:
    for one in rigs:
        steps = one.session.rig.settings.readout.steps
        expected = 2e-3 / np.sqrt(4) * np.sqrt(2 / steps)  # 4 conversions a read
        assert one.read.figures["phase_noise"] == pytest.approx(expected, rel=0.35)
        away = one.read.figures["noise_exponent"] + 0.5
        assert abs(away) < 4 * one.read.uncertainties["noise_exponent"]
        bits = np.log2(2 * np.pi / np.sqrt(12) / one.read.figures["phase_noise"])
        np.testing.assert_allclose(one.read.figures["usable_bits"], bits)
