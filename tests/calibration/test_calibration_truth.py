"""From unknown rigs to filled calibrations, against hidden truths drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from memory_session import MemorySession, rig_of
from truth_comparison import COMPARED, Compared, calibrate, realised_error

from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep

SEEDS = range(1, 21)
SMALL = (ResistanceStep(), ReadoutStep(), NetworkStep(equations_per_figure=6, samples=16))
FULL = (ResistanceStep(), ReadoutStep(), NetworkStep())


@pytest.fixture(scope="module")
def small() -> list[Compared]:
    return [calibrate(MemorySession(rig_of(), seed), SMALL) for seed in SEEDS]


def assert_exact(one: Compared) -> None:
    table = one.session.rig.settings.calibration
    error = {name: float(np.abs(values).max()) for name, values in one.errors.items()}
    assert error["half_wave_power_W"] < 0.01 * table.half_wave_power_W
    assert error["phase_offset"] < 0.020
    assert error["crosstalk"] < 0.05 * max(table.crosstalk)
    assert error["coupling_maximum"] < 0.02 * table.coupling_maximum
    assert error["bias_maximum"] < 0.02 * table.bias_maximum
    assert error["nudge_maximum"] < 0.02 * table.nudge_maximum
    assert error["resistance_ohm"] < 0.001 * table.resistance_ohm
    assert error["readout_offset_V"] < 1e-3
    assert error["quadrature_error"] < 1e-3


def inside(values: list[np.ndarray]) -> float:
    return float((np.abs(np.concatenate(values)) < 1).mean())


def test_figures_are_found_wherever_the_offsets_lie_on_the_circle(small: list[Compared]) -> None:
    for one in small:
        assert_exact(one)


@pytest.mark.parametrize("figure", COMPARED)
def test_uncertainties_are_honest(small: list[Compared], figure: str) -> None:
    values = [one.in_sigma[figure] for one in small]
    count = sum(len(one) for one in values)
    # Of few figures the share itself scatters: 10 points beside two of its standard errors.
    slack = 0.10 + (2 * np.sqrt(0.68 * 0.32 / count) if count < 200 else 0.0)
    assert inside(values) == pytest.approx(0.68, abs=slack)


def test_all_uncertainties_together_are_honest(small: list[Compared]) -> None:
    values = [errors for one in small for errors in one.in_sigma.values()]
    assert inside(values) == pytest.approx(0.68, abs=0.03)


def test_commanded_phases_are_realised(small: list[Compared]) -> None:
    for one in small[:5]:
        missed = realised_error(one.session)
        assert np.sqrt((missed**2).mean()) < 0.003
        assert np.abs(missed).max() < 0.020


def test_nothing_is_found_fault_with_on_a_sound_rig(small: list[Compared]) -> None:
    for one in small:
        findings = [finding for fit in one.fits for finding in fit.findings]
        assert [str(finding) for finding in findings if finding.level == "fault"] == []
        chi_square = one.fits[-1].figures["chi_square"]
        assert chi_square == pytest.approx(1.0, abs=0.25)


def test_elements_between_clamped_nodes_are_left_as_they_are(small: list[Compared]) -> None:
    fit = small[0].fits[-1]
    # The first bond joins the two inputs: nothing that is read depends on it.
    assert np.isnan(fit.figures["phase_offset"][0])
    assert any(finding.subject == "heaters:0" for finding in fit.findings)
    assert np.isfinite(fit.figures["phase_offset"][1:]).all()


def test_the_scale_of_energies_is_told_to_be_unknown(small: list[Compared]) -> None:
    for one in small[:5]:
        fit, hidden = one.fits[-1], one.session.plant.truths.figures
        found = np.concatenate([fit.figures["coupling_maximum"][1:], fit.figures["bias_maximum"]])
        true = np.concatenate([hidden.coupling_maximum[1:], hidden.bias_maximum])
        factor = np.log(found / true)
        assert factor.std() < 1e-3  # ratios are found,
        assert abs(factor.mean()) < 4 * float(fit.figures["scale_error"])  # the whole is not


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rig_of_106_heaters(seed: int) -> None:
    one = calibrate(MemorySession(rig_of("heater_array"), seed), FULL)
    assert_exact(one)
    assert inside(list(one.in_sigma.values())) == pytest.approx(0.68, abs=0.06)
    assert np.sqrt((realised_error(one.session, 3) ** 2).mean()) < 0.003
