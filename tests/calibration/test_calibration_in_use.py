"""Tomography and dynamics: what is measured once the network is calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from memory_session import MemorySession, rig_of

from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.sweep import fit_sweep
from eqp_hw.calibration.step import StepFit
from eqp_hw.calibration.steps.dynamics import DynamicsStep
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.calibration.steps.sweeps import SweepStep
from eqp_hw.calibration.steps.tomography import TomographyStep
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

SEED = 1
NETWORK = NetworkStep(equations_per_figure=8, samples=32)


@pytest.fixture(scope="module")
def known() -> RigCalibration:
    session = MemorySession(rig_of(), SEED)
    for step in (ResistanceStep(), ReadoutStep(), NETWORK):
        session.take(step)
    return session.known


def again(known: RigCalibration, truths: object = None, **options: object) -> MemorySession:
    """Return the same rig on another day, with what was found out before."""
    session = MemorySession(rig_of(), SEED, truths=truths, **options)  # type: ignore[arg-type]
    session.known = known
    return session


def turning(of_time: Callable[[float], float]) -> Callable[[FloatArray, float], FloatArray]:
    """Return ideal detectors whose reference turns."""

    def see(voltage: FloatArray, time_s: float) -> FloatArray:
        n = voltage.shape[1] // 2
        turned = (voltage[:, :n] + 1j * voltage[:, n:]) * np.exp(1j * of_time(time_s))
        return np.concatenate([turned.real, turned.imag], axis=1)

    return see


IDEAL_DETECTORS = {"splitting_imbalance": 0.0, "quadrature_error": 0.0, "detector_offset_V": 0.0}


def faults(fit: StepFit) -> list[str]:
    return [finding.subject for finding in fit.findings if finding.level == "fault"]


def test_couplings_in_place_are_those_commanded(known: RigCalibration) -> None:
    session = again(known)
    fit = session.take(TomographyStep())
    commanded = fit.figures["coupling_commanded"]
    for end in ("coupling_forward", "coupling_reverse"):
        seen = np.isfinite(fit.figures[end])
        away = (fit.figures[end] - commanded)[seen]
        assert np.abs(away).max() < 0.02 * 3.0
        assert np.sqrt(((away / fit.uncertainties[end][seen]) ** 2).mean()) < 2.0
    assert float(fit.figures["reciprocity_index"]) < 1e-3
    assert fit.figures["prediction_error"].max() < 2e-3
    assert fit.findings == []


def test_tomography_errors_are_honest_where_the_calibration_is_exact() -> None:
    inside = []
    for seed in range(1, 25):
        session = MemorySession(rig_of(), seed)
        session.known = session.plant.truths.figures
        fit = session.take(TomographyStep(least=40))
        for end in ("coupling_forward", "coupling_reverse"):
            sigma = fit.uncertainties[end]
            away = (fit.figures[end] - fit.figures["coupling_commanded"]) / sigma
            inside.append(np.abs(away[np.isfinite(away)]) < 1)
    assert np.concatenate(inside).mean() == pytest.approx(0.68, abs=0.1)


def test_a_bond_that_became_one_sided_is_found_and_measured(known: RigCalibration) -> None:
    truths = draw_truths(rig_of(), SEED)
    reciprocity = truths.reciprocity.copy()
    reciprocity[8] = 0.2
    fit = again(known, replace(truths, reciprocity=reciprocity)).take(TomographyStep())
    assert faults(fit) == ["bond 8 (2-4)"]
    ratio = fit.figures["coupling_forward"][8] / fit.figures["coupling_reverse"][8]
    assert np.log(ratio) == pytest.approx(0.2, abs=0.01)
    index, error = fit.figures["reciprocity_index"], fit.uncertainties["reciprocity_index"]
    assert float(index) > 20 * float(error)


def test_a_coupler_that_died_is_found(known: RigCalibration) -> None:
    truths = draw_truths(rig_of(), SEED)
    maximum = truths.figures.coupling_maximum.copy()
    maximum[7] = 1e-6
    figures = replace(truths.figures, coupling_maximum=maximum)
    session = again(known, replace(truths, figures=figures))
    fit = session.take(TomographyStep())
    told = [one for one in fit.findings if one.subject == "bond 7 (2-3)"]
    assert len(told) == 1
    assert abs(fit.figures["coupling_forward"][7]) < 0.05


def test_two_couplers_exchanged_since_are_found(known: RigCalibration) -> None:
    truths = draw_truths(rig_of(), SEED)
    order = np.arange(20)
    order[[2, 7]] = 7, 2
    found = truths.figures
    figures = replace(
        found,
        half_wave_power_W=found.half_wave_power_W[order],
        phase_offset=found.phase_offset[order],
        crosstalk=found.crosstalk[order],
        coupling_maximum=found.coupling_maximum[order[:10]],
    )
    fit = again(known, replace(truths, figures=figures)).take(TomographyStep())
    swapped = [one for one in fit.findings if "swapped" in one.text]
    assert [one.subject.split(" (")[0] for one in swapped] == ["bond 2"]


def test_recommendations_follow_noise_and_curvature(known: RigCalibration) -> None:
    fit = again(known).take(DynamicsStep())
    assert fit.findings == []
    # Heaters of 1 ms, at rest to 2 mrad after a jump of a few rad.
    assert 0.003 < float(fit.figures["settle.typical_s"]) < 0.015
    # 2 mrad of one conversion, and a tolerance of 2 mrad to be told from it four times over.
    assert 12 <= int(fit.figures["readout.samples"]) <= 24
    assert 0.02 < float(fit.figures["estimator.beta"]) < 0.2
    assert np.abs(fit.figures["drift_rate"] / fit.uncertainties["drift_rate"]).max() < 4


@pytest.mark.parametrize("kind", ["steady", "walk"])
def test_a_drifting_reference_is_named(kind: str) -> None:
    path = np.cumsum(np.random.default_rng(5).normal(0, 0.002, 20_000))
    turn = (lambda t: 0.01 * t) if kind == "steady" else (lambda t: float(path[int(t / 0.01)]))
    rig = rig_of(**IDEAL_DETECTORS)
    session = MemorySession(rig, 2, detectors=turning(turn))
    for step in (ResistanceStep(), ReadoutStep()):
        session.take(step)
    fit = session.take(NetworkStep(equations_per_figure=6, samples=16))
    assert faults(fit) == ["reference"]
    found = session.take(DynamicsStep(reads=200))
    assert faults(found) == ["reference"]


def test_a_drifting_heater_is_no_drifting_reference(known: RigCalibration) -> None:
    rig = rig_of(drift_per_sqrt_s=0.01)
    session = MemorySession(rig, SEED)
    session.known = known
    fit = session.take(DynamicsStep(reads=300))
    assert faults(fit) == []
    assert fit.figures["drift_walk"].max() > 1e-3


def test_sweeps_of_single_heaters_agree_with_the_joint_fit(known: RigCalibration) -> None:
    session = again(known)
    fit = session.take(SweepStep())
    assert fit.findings == []
    hidden = session.plant.truths.figures
    found, error = (
        values["sweep_half_wave_power_W"][1:] for values in (fit.figures, fit.uncertainties)
    )
    in_sigma = (found - hidden.half_wave_power_W[1:]) / error
    assert np.sqrt((in_sigma**2).mean()) < 1.6
    assert np.median(error / found) < 1e-3
    told = fit.uncertainties["sweep_crosstalk"] > 0
    away = (fit.figures["sweep_crosstalk"] - hidden.crosstalk)[told]
    in_sigma = away / fit.uncertainties["sweep_crosstalk"][told]
    assert np.sqrt((in_sigma**2).mean()) < 1.6


@pytest.mark.parametrize("row", [4, 11, 15])
def test_a_heater_that_has_aged_is_found_by_its_sweep(known: RigCalibration, row: int) -> None:
    truths = draw_truths(rig_of(), SEED)
    half_wave = truths.figures.half_wave_power_W.copy()
    half_wave[row] *= 1.05
    figures = replace(truths.figures, half_wave_power_W=half_wave)
    fit = again(known, replace(truths, figures=figures)).take(SweepStep())
    told = {one.subject: one.text for one in fit.findings}
    assert set(told) == {f"heaters:{row}"}
    assert "higher than in the joint fit" in told[f"heaters:{row}"]


def test_a_phase_that_is_not_linear_in_power_shows(known: RigCalibration) -> None:
    rig, row = rig_of(), 15
    session, model = again(known), NetworkModel(rig)
    power = np.tile(0.02 * np.random.default_rng(3).uniform(size=20), (8, 1))
    power[:, row] = np.linspace(0, 0.065, 8)
    seen = []
    for drive in power:
        session.write_powers(drive)
        session.settle()
        seen.append(session.read_detectors(32).mean(axis=0))
    elements, detection = Elements.of(known, model.n_edges), Detection.of(known)
    noise, rows = np.full(3, 4e-4), np.array([row])
    straight = fit_sweep(model, elements, detection, row, rows, power, np.array(seen), noise)
    assert abs(straight.bend) < 5 * straight.bend_error
    wrong = power.copy()
    wrong[:, row] *= 1 + 0.05 * wrong[:, row]  # as if the meter told too much at high power
    bent = fit_sweep(model, elements, detection, row, rows, wrong, np.array(seen), noise)
    own = elements.slope[row, row]
    # P' = P + P²/20: θ = S·P ≈ S·(P' − P'²/20), whose second derivative is −S/10.
    assert bent.bend == pytest.approx(-0.1 * own, rel=0.2)
    assert abs(bent.bend) > 6 * bent.bend_error


def test_drifting_shifters_are_told_by_the_network_step() -> None:
    session = MemorySession(rig_of(drift_per_sqrt_s=2e-3), 3)
    session.take(ResistanceStep())
    fit = session.take(NetworkStep(equations_per_figure=6, samples=16))
    assert faults(fit) == []
    told = [one.text for one in fit.findings if one.subject == "network"]
    assert len(told) == 1
    assert "shifters drift" in told[0]
