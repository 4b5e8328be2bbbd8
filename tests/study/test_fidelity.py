"""Gradient fidelity on substrates whose faults are known, and the statistics of its figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.network.registry import build_network
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.study.equilibrium import equilibrium_near
from eqp_hw.study.fidelity import measure_fidelity
from eqp_hw.study.fidelity_groups import parameter_groups, pick
from eqp_hw.study.fidelity_options import FidelityOptions
from eqp_hw.study.fidelity_result import (
    DIFFERENCES,
    EMULATOR,
    Fidelity,
    Measured,
    agreement,
    mean_of,
)

QUICK = FidelityOptions(samples=4, bonds=5)
BOTH = (DIFFERENCES, EMULATOR)


def fidelity(
    *imperfections: dict[str, Any],
    options: FidelityOptions = QUICK,
    seed: int = 3,
    hidden: int = 6,
    **estimator: Any,
) -> Fidelity:
    table: dict[str, Any] = {"kind": "emulator", "threads": 1}
    if imperfections:
        table["imperfections"] = list(imperfections)
    experiment = Experiment.create(
        task="iris",
        network={"kind": "layered", "hidden": [hidden]},
        substrate=table,
        estimator={"kind": "centred", "beta": 0.02, **estimator},
        run={"seed": seed, "epochs": 1},
    )
    return measure_fidelity(experiment, options)


def test_a_perfect_substrate_agrees_with_both_references_in_all_groups() -> None:
    found = fidelity(beta=1e-3)
    groups = {row.group for row in found.rows}
    assert groups == {"all", "input-hidden", "hidden-output", "bias"}
    for row in found.rows:
        assert row.cosine > 0.9999, row
        assert row.ratio == pytest.approx(1.0, abs=2e-3)
        assert row.ceiling == pytest.approx(1.0, abs=1e-6)
    assert found.used == 4
    assert found.strays == 0
    assert found.mismatch < 1e-9
    # Five couplings of each group and both quadratures of five fields were moved.
    assert found.row(DIFFERENCES).parameters == 20
    assert sum(np.isfinite(point.differences) for point in found.points) == 20
    assert found.row(EMULATOR).parameters == len(found.points) == 24 + 18 + 2 * 9


def test_what_calibration_does_not_know_shows_against_the_emulator_alone() -> None:
    found = fidelity({"kind": "coupling-disorder", "absolute": 0.1, "bias_absolute": 0.05})
    assert found.row(DIFFERENCES).cosine > 0.999
    assert found.row(EMULATOR).cosine < 0.9
    assert found.mismatch > 0.05


def test_what_breaks_ep_shows_against_both() -> None:
    found = fidelity({"kind": "nonreciprocity", "relative": 0.4})
    assert found.row(DIFFERENCES).cosine < 0.98
    assert found.row(EMULATOR).cosine < 0.98


def test_a_nudge_too_strong_for_its_estimator_shows_against_both() -> None:
    strong = fidelity(kind="one-sided", beta=0.1)
    weak = fidelity(kind="one-sided", beta=1e-3)
    for reference in BOTH:
        assert strong.row(reference).cosine < weak.row(reference).cosine - 0.003


def test_errors_cover_what_noise_does() -> None:
    """Over seeds of the noise alone: distances from the noiseless figures against errors."""
    exact = fidelity(seed=4, options=FidelityOptions(samples=3, bonds=4, step=0.01))
    options = FidelityOptions(samples=3, bonds=4, step=0.01, reads=4)
    assert exact.restarts == 0
    away: dict[str, list[float]] = {reference: [] for reference in BOTH}
    for noise_seed in range(16):
        noise = {"kind": "readout-noise", "sigma": 3e-3, "seed": noise_seed}
        found = fidelity(noise, seed=4, options=options)
        for reference in BOTH:
            row, true = found.row(reference), exact.row(reference)
            away[reference].append((row.ratio - true.ratio) / row.ratio_error)
            assert row.cosine > row.ceiling - 5 * row.cosine_error - (1 - true.cosine)
    for scores in away.values():
        assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.5


def test_errors_of_finite_differences_are_those_of_their_replicates() -> None:
    """Stated by propagation before any scatter is looked at: the excess is 1, at every step."""
    for step in (0.01, 0.04):
        options = FidelityOptions(samples=3, bonds=6, step=step, reads=4, replicates=8)
        noise = {"kind": "readout-noise", "sigma": 1e-3, "seed": 2}
        found = fidelity(noise, seed=4, options=options)
        assert found.restarts == 0
        # 24 parameters, 7 degrees of freedom each, but few of them rule.
        assert found.excess_differences == pytest.approx(1.0, abs=0.2)
        assert found.excess_ep == pytest.approx(1.0, abs=0.35)
        exact = fidelity(seed=4, options=FidelityOptions(samples=3, bonds=6, step=step))
        true = {point.parameter: point.differences for point in exact.points}
        in_sigma = np.array(
            [
                (point.differences - true[point.parameter]) / point.differences_error
                for point in found.points
                if point.differences_error > 0
            ]
        )
        assert len(in_sigma) == 24
        assert 0.7 < np.sqrt((in_sigma**2).mean()) < 1.4


def test_reads_and_steps_follow_from_the_noise() -> None:
    options = FidelityOptions()
    assert [options.reads_at(noise) for noise in (0.0, 1e-4, 2e-3, 1.0)] == [1, 4, 16, 64]
    assert FidelityOptions(reads=3).reads_at(1.0) == 3
    assert options.step_at(0.0, 2.0) == pytest.approx(2e-3)
    assert options.step_at(1e-3, 2.0) == pytest.approx(0.2)
    assert options.step_at(0.0, 1.0, resolution=0.01) == pytest.approx(0.04)
    assert FidelityOptions(step=0.3).step_at(0.0, 1.0, resolution=1.0) == 0.3


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"reads": 0}, {"step": 0.0}, {"step": float("nan")}, {"bonds": -1}]
)
def test_options_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"--{next(iter(wrong))}"):
        FidelityOptions(**wrong)


def test_groups_are_those_of_roles_and_leave_out_bonds_between_inputs() -> None:
    network = build_network("all-to-all", {"n_nodes": 5, "inputs": 2, "outputs": 1})
    groups = parameter_groups(network, "complex")
    counts = {name: len(members) for name, members in groups.items()}
    assert counts == {
        "input-hidden": 4,
        "input-output": 2,
        "hidden-hidden": 1,
        "hidden-output": 2,
        "bias": 6,
    }
    assert "bias" not in parameter_groups(network, "none")
    assert len(parameter_groups(network, "amplitude")["bias"]) == 3
    values = np.arange(1.0, 21.0)
    parameters = Parameters(values[:10], np.zeros(5, complex))
    parameters.bias[2:] = 1 + 2j
    for members in groups.values():
        for one in members:
            moved = one.shifted(parameters, 0.25, -100.0, 100.0)
            change = moved.flatten() - parameters.flatten()
            assert np.flatnonzero(change).tolist() == [one.index]
            assert one.of(moved) - one.of(parameters) == pytest.approx(0.25)
    chosen = pick(groups, 1, np.random.default_rng(0))
    assert len(chosen) == 4 + 2  # one coupling of each kind, both parts of one field


def test_equilibrium_near_is_where_the_flow_ends() -> None:
    rng = np.random.default_rng(5)
    network = build_network("layered", {"sizes": [3, 5, 2]})
    parameters = Parameters(rng.normal(size=network.n_couplings), np.zeros(10, complex))
    start = rng.uniform(-np.pi, np.pi, 10)
    found = equilibrium_near(network, parameters, start)
    assert found is not None
    assert np.abs(force(network, parameters, found[None])).max() < 1e-8
    assert np.linalg.eigvalsh(jacobian(network, parameters, found).toarray()).min() > 0
    assert found[network.inputs] == pytest.approx(start[network.inputs])
    # A small push does not leave the basin.
    pushed = found.copy()
    pushed[network.free] += 1e-3 * rng.normal(size=len(network.free))
    again = equilibrium_near(network, parameters, pushed)
    assert again == pytest.approx(found, abs=1e-8)


def test_noise_is_taken_off_norms_and_told_of_cosines() -> None:
    rng = np.random.default_rng(1)
    n, sigma = 4000, 0.5
    truth = rng.standard_normal(n)
    one, two = (
        Measured(truth + sigma * rng.standard_normal(n), np.full(n, sigma)) for _ in range(2)
    )
    row = agreement("x", "all", one, two, rng)
    assert row.ceiling == pytest.approx(1 / (1 + sigma**2), abs=0.02)
    assert row.cosine == pytest.approx(row.ceiling, abs=0.03)
    noisy = agreement("x", "all", one, Measured(truth, np.zeros(n)), rng)
    assert noisy.ratio == pytest.approx(1.0, abs=0.02)


def test_replicates_that_scatter_more_than_their_noise_raise_the_errors() -> None:
    rng = np.random.default_rng(2)
    n = 400
    quiet = [(0.1 * rng.standard_normal((2, n)), np.full((2, n), 0.01)) for _ in range(4)]
    measured, excess = mean_of(quiet)
    assert excess == pytest.approx(1.0, abs=0.1)
    assert measured.errors == pytest.approx(np.full(n, 0.1 / np.sqrt(8)), rel=0.1)
    loud = [(values * 3, variance) for values, variance in quiet]
    measured, excess = mean_of(loud)
    assert excess == pytest.approx(3.0, abs=0.3)
    assert measured.errors == pytest.approx(np.full(n, 0.3 / np.sqrt(8)), rel=0.1)
