"""Shrinkage, stochastic rounding, and masters that are what the substrate holds."""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.capabilities import Capabilities
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.run import run_experiment
from eqp_hw.learning.rounding import stochastically_rounded
from eqp_hw.learning.shrinkage import shrunk
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.reader import read_run


def _parameters(values: np.ndarray, reverse: np.ndarray | None = None) -> Parameters:
    return Parameters(np.asarray(values, float), np.zeros(2, complex), reverse)


def test_shrinkage_spares_what_stands_out_and_silences_what_does_not() -> None:
    gradient = Parameters(np.array([1.0, 1.0, 1e-3, 0.0]), np.array([2 + 1e-3j]), np.ones(4))
    error = Parameters(np.array([0.0, 1e-2, 1.0, 0.0]), np.array([1e-2 + 1j]), np.full(4, 1.0))
    found = shrunk(gradient, error)
    np.testing.assert_allclose(found.coupling, [1, 1 / 1.0001, 1e-9, 0], rtol=1e-5)
    assert found.bias[0].real == pytest.approx(2, rel=1e-4)
    assert abs(found.bias[0].imag) < 1e-8
    np.testing.assert_allclose(found.coupling_reverse, 0.5)


def test_shrinkage_brings_noisy_gradients_of_unequal_bonds_nearer_to_the_truth() -> None:
    """Far bonds have small gradients: their noise is taken off, that of near bonds kept."""
    rng = np.random.default_rng(0)
    truth = 10 ** rng.uniform(-3, 0, 2000) * rng.choice([-1, 1], 2000)
    s = np.full(2000, 0.1)
    noisy = truth + s * rng.standard_normal(2000)
    zeros = np.zeros(2, complex)
    found = shrunk(Parameters(noisy, zeros), Parameters(s, zeros)).coupling
    assert ((found - truth) ** 2).sum() < 0.75 * ((noisy - truth) ** 2).sum()
    assert found @ truth / np.linalg.norm(found) > noisy @ truth / np.linalg.norm(noisy)


GRID = Capabilities(nudge_nodes=(0,), coupling_range=(-2.0, 1.0), coupling_bits=3)
STEP = 3 / 7


def test_stochastic_rounding_goes_to_a_neighbour_and_is_right_in_the_mean() -> None:
    rng, draws = np.random.default_rng(1), 4000
    values = np.random.default_rng(2).uniform(-2, 1, 30)
    reverse = -values[::-1] / 2
    rounded = [
        stochastically_rounded(_parameters(values, reverse), GRID, rng) for _ in range(draws)
    ]
    for asked, found in (
        (values, np.array([p.coupling for p in rounded])),
        (reverse, np.array([p.coupling_reverse for p in rounded])),
    ):
        position = (found + 2) / STEP
        np.testing.assert_allclose(position, np.round(position), atol=1e-9)
        assert np.abs(found - asked).max() < STEP
        part = (asked + 2) / STEP % 1
        error = STEP * np.sqrt(part * (1 - part) / draws)
        assert (np.abs(found.mean(axis=0) - asked) < 4.5 * error + 1e-12).all()
        assert (found.std(axis=0)[part > 0.01] > 0).all()


def test_what_is_on_the_grid_or_outside_the_range_is_left_alone() -> None:
    rng = np.random.default_rng(3)
    values = np.array([-2.0, 1.0, -2 + 3 * STEP, 1.2, -7.0])
    for _ in range(20):
        found = stochastically_rounded(_parameters(values), GRID, rng)
        np.testing.assert_allclose(found.coupling, values, atol=1e-12)
    free = Capabilities(nudge_nodes=(0,))
    same = _parameters(np.array([0.123]))
    assert stochastically_rounded(same, free, rng) is same


COARSE = {
    "kind": "emulator",
    "threads": 1,
    "imperfections": [{"kind": "coupling-bits", "bits": 5, "low": -3.0, "high": 3.0}],
}


def _train(tmp_path, **optimiser: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return master couplings at the start, at the end, and the effective ones at the end."""
    path = tmp_path / "run.h5"
    run_experiment(
        Experiment.create(
            task="xor",
            network={"kind": "all-to-all", "n_nodes": 5},
            initial={"coupling": "uniform", "bias": "uniform"},
            encoding={"input": "bits", "target": "binary"},
            substrate=COARSE,
            optimiser={"kind": "gradient-descent", "learning_rate": 0.01, **optimiser},
            run={"epochs": 10, "validate_every": 0, "coupling_limit": 3.0},
        ),
        path,
        force=True,
    )
    snapshots = read_run(path).snapshots
    last = snapshots[-1]
    return snapshots[0].effective.coupling, last.master.coupling, last.effective.coupling


def test_small_steps_are_lost_on_a_grid_but_for_a_float_master_or_random_rounding(tmp_path) -> None:
    step = 6 / 31
    start, master, held = _train(tmp_path, master="direct")
    np.testing.assert_array_equal(master, held)
    # Each step was rounded away, but for the first of a coupling that began between two levels.
    assert (held != start).sum() <= 1
    start, master, held = _train(tmp_path, master="direct", rounding="stochastic")
    np.testing.assert_array_equal(master, held)
    assert (held != start).sum() >= 3
    start, master, held = _train(tmp_path)
    assert 0 < np.abs(master - held).max() <= step / 2 + 1e-12
