"""Planted faults are found and named, not fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from memory_session import MemorySession, rig_of

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.step import Finding, StepFit
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import Channel
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

NETWORK = NetworkStep(equations_per_figure=6, samples=16)
HEATERS = [Channel("heaters", number) for number in range(20)]
DETECTORS = [Channel("digitiser", number) for number in range(6)]


def faults(fit: StepFit) -> list[Finding]:
    return [finding for finding in fit.findings if finding.level == "fault"]


def subjects(fit: StepFit) -> list[str]:
    return [finding.subject for finding in faults(fit)]


def with_dead(channel: Channel, seed: int = 3, meters: bool = True) -> MemorySession:
    truths = replace(draw_truths(rig_of(), seed), dead=frozenset([channel]))
    return MemorySession(rig_of(), seed, truths=truths, meters=meters)


def network(session: MemorySession) -> StepFit:
    session.take(ResistanceStep())
    session.take(ReadoutStep(drives=30))
    return session.take(NETWORK)


def test_a_dead_heater_draws_no_current() -> None:
    fit = with_dead(HEATERS[7]).take(ResistanceStep())
    assert subjects(fit) == ["heaters:7"]
    assert "draws no current" in faults(fit)[0].text
    assert np.isnan(fit.figures["resistance_ohm"][7])
    assert np.isfinite(np.delete(fit.figures["resistance_ohm"], 7)).all()


def test_an_output_that_is_stuck_does_not_follow() -> None:
    session = MemorySession(rig_of(), 1, stuck={HEATERS[4]: 2.5})
    fit = session.take(ResistanceStep())
    assert subjects(fit) == ["heaters:4"]
    assert "stuck: the output measures 2.5" in faults(fit)[0].text


def test_without_meters_nominal_resistances_stay() -> None:
    session = MemorySession(rig_of(), 1, meters=False)
    fit = session.take(ResistanceStep())
    assert np.isnan(fit.figures["resistance_ohm"]).all()
    assert [finding.level for finding in fit.findings] == ["note"]


@pytest.mark.parametrize("row", [2, 10, 13, 16, 18])
def test_a_heater_without_effect_is_named_without_meters(row: int) -> None:
    fit = network(with_dead(HEATERS[row], row, meters=False))
    assert subjects(fit) == [f"heaters:{row}"]
    assert np.isnan(fit.figures["half_wave_power_W"][row])
    assert float(fit.figures["chi_square"]) < 1.3


@pytest.mark.parametrize("seed", [0, 2])
def test_a_stuck_value_is_named_without_meters(seed: int) -> None:
    fit = network(MemorySession(rig_of(), seed, stuck={HEATERS[5]: 3.0}, meters=False))
    assert subjects(fit) == ["heaters:5"]


@pytest.mark.parametrize(("one", "two"), [(13, 16), (9, 10), (5, 16), (3, 7), (12, 14)])
def test_two_swapped_channels_are_named(one: int, two: int) -> None:
    wired = {HEATERS[one]: HEATERS[two], HEATERS[two]: HEATERS[one]}
    fit = network(MemorySession(rig_of(), one, wired=wired))
    assert subjects(fit) == [f"heaters:{one}"]
    assert f"swapped with heaters:{two}" in faults(fit)[0].text
    assert np.isnan(fit.figures["half_wave_power_W"][[one, two]]).all()


@pytest.mark.parametrize("edge", [7, 8, 9])
def test_a_bond_that_is_not_reciprocal_is_named(edge: int) -> None:
    truths = draw_truths(rig_of(), edge)
    reciprocity = truths.reciprocity.copy()
    reciprocity[edge] = 0.2
    session = MemorySession(rig_of(), edge, truths=replace(truths, reciprocity=reciprocity))
    fit = network(session)
    bonds = {finding.subject for finding in fit.findings if finding.subject.startswith("bond")}
    # Three bonds of one loop: equilibria know the product of their ratios only, and say so.
    assert any(subject.startswith(f"bond {edge} ") for subject in bonds)
    assert len(faults(fit)) == 1
    assert "not reciprocal" in faults(fit)[0].text
    assert float(fit.figures["chi_square"]) < 1.3


@pytest.mark.slow
def test_in_a_larger_network_the_one_bond_is_named() -> None:
    edge = 62
    rig = rig_of("heater_array")
    truths = draw_truths(rig, edge)
    reciprocity = truths.reciprocity.copy()
    reciprocity[edge] = 0.2
    session = MemorySession(rig, 1, truths=replace(truths, reciprocity=reciprocity))
    session.take(ResistanceStep())
    fit = session.take(NetworkStep(equations_per_figure=4, samples=16))
    assert [one.subject.split(" (")[0] for one in faults(fit)] == [f"bond {edge}"]


@pytest.mark.parametrize("column", [1, 4])
def test_an_open_detector_is_named_and_stops_the_network_fit(column: int) -> None:
    session = with_dead(DETECTORS[column])
    session.take(ResistanceStep())
    fit = session.take(ReadoutStep(drives=30))
    assert subjects(fit) == [f"digitiser:{column}"]
    assert "dead or open detector" in faults(fit)[0].text
    assert np.isnan(fit.figures["quadrature_error"][column % 3])
    with pytest.raises(FitError, match=rf"node {2 + column % 3}.*detectors"):
        session.take(NetworkStep(equations_per_figure=1, least=40))


def test_a_detector_that_is_stuck_at_a_value_is_named() -> None:
    def stuck(voltage: FloatArray, _: float) -> FloatArray:
        voltage[:, 2] = 0.73
        return voltage

    session = MemorySession(rig_of(), 5, detectors=stuck)
    fit = session.take(ReadoutStep(drives=30))
    assert subjects(fit) == ["digitiser:2"]
    assert "0.7300 V" in faults(fit)[0].text


def test_clipped_fringes_are_named() -> None:
    def clipped(voltage: FloatArray, _: float) -> FloatArray:
        voltage[:, 0] = np.minimum(voltage[:, 0], 0.6)
        return voltage

    fit = MemorySession(rig_of(), 5, detectors=clipped).take(ReadoutStep())
    assert ("digitiser:0", True) in [(one.subject, "clipped" in one.text) for one in faults(fit)]


def test_swapped_detectors_are_named() -> None:
    def swapped(voltage: FloatArray, _: float) -> FloatArray:
        return voltage[:, [1, 0, 2, 3, 4, 5]]

    fit = MemorySession(rig_of(), 5, detectors=swapped).take(ReadoutStep())
    assert ("digitiser:0", True) in [
        (one.subject, "swapped with digitiser:1" in one.text) for one in faults(fit)
    ]


def test_a_sweep_beyond_the_limits_is_refused() -> None:
    session = MemorySession(rig_of(), 0)
    session.all_zero()
    writes = session.writes
    with pytest.raises(LimitError, match="heaters:0"):
        session.write_powers(np.full(20, 0.2))
    assert session.writes == writes


def test_crosstalk_that_nobody_thought_of_is_found() -> None:
    truths = draw_truths(rig_of(), 4)
    crosstalk = truths.figures.crosstalk.copy()
    crosstalk[5, 15] = 0.012
    crosstalk[17, 2] = 0.004
    figures = replace(truths.figures, crosstalk=crosstalk)
    session = MemorySession(rig_of(), 4, truths=replace(truths, figures=figures))
    fit = network(session)
    assert faults(fit) == []
    assert fit.figures["crosstalk"][5, 15] == pytest.approx(0.012, abs=5e-4)
    assert fit.figures["crosstalk"][17, 2] == pytest.approx(0.004, abs=5e-4)
    notes = [str(one) for one in fit.findings if "no close neighbour" in one.text]
    assert [note.split(":")[1] for note in sorted(notes)] == ["15", "2"]


def test_detectors_of_another_network_make_no_calibration() -> None:
    rng = np.random.default_rng(0)

    def elsewhere(voltage: FloatArray, _: float) -> FloatArray:
        phase = rng.uniform(-np.pi, np.pi, 3)
        made: FloatArray = np.tile(
            np.concatenate([np.cos(phase), np.sin(phase)]), (len(voltage), 1)
        )
        return made + 1e-3 * rng.normal(size=voltage.shape)

    session = MemorySession(rig_of(), 5, detectors=elsewhere)
    known = session.known
    with pytest.raises(FitError, match="do not fit the wiring: residuals of"):
        session.take(NetworkStep(equations_per_figure=4, least=100, samples=16))
    assert session.known is known
