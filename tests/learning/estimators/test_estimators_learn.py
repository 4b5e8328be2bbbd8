"""Every estimator learns XOR on the emulator, through an experiment file's tables."""

from __future__ import annotations

import pytest

from eqp_hw.experiment.assemble import Experiment

PAIR = {"kind": "replica-pair", "first": {"kind": "emulator", "threads": 1}}


@pytest.mark.parametrize(
    "estimator",
    [
        {"kind": "random-sign"},
        {"kind": "chebyshev", "nodes": 4},
        {"kind": "cauchy", "nodes": 4},
        {"kind": "lock-in", "harmonics": 3},
        {"kind": "alternative"},
        {"kind": "coupled", "two_sided": True},
        {"kind": "dual", "null_mismatch": True},
    ],
    ids=lambda table: table["kind"],
)
def test_xor_is_learnt(estimator, tmp_path) -> None:
    experiment = Experiment.create(
        task="xor",
        encoding={"input": "bits", "target": "binary"},
        network={
            "kind": "all-to-all",
            "n_nodes": 5,
            "initial": {"coupling": "symmetrised-normal", "bias": "uniform"},
        },
        substrate=PAIR if estimator["kind"] == "dual" else {"kind": "emulator", "threads": 1},
        estimator={**estimator, "beta": 0.1},
        optimiser={"kind": "adam", "learning_rate": 0.1},
        run={"epochs": 40, "seed": 4},
    )
    outcome = experiment.run(tmp_path / "run.h5")
    assert outcome.training is not None
    assert outcome.training.test.accuracy == 1.0
    assert outcome.training.test.distance < 0.05
