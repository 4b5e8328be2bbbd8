"""Iris on imperfect hardware: the automatic settings learn it, careless ones clearly less well.

All settings and more epochs: benchmarks/imperfect_iris.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eqp_hw.experiment.assemble import Experiment

IMPERFECT = Path(__file__).parents[2] / "examples" / "iris_imperfect.toml"
CARELESS = (
    "estimator.kind=one-sided",
    "estimator.beta=0.05",
    "estimator.repeats=1",
    "optimiser.master=direct",
)


def _mean_accuracy(folder: Path, *overrides: str) -> float:
    common = (
        *("run.epochs=30", "run.validate_every=0", "run.probe_samples=4"),
        *("run.evaluation_starts=2", "substrate.threads=1"),
    )
    found = [
        Experiment.load(IMPERFECT, [*common, *overrides, f"run.seed={seed}"])
        .run(folder / "run.h5", force=True)
        .test_accuracy
        for seed in range(1, 6)
    ]
    return float(np.mean(found))


@pytest.mark.slow
def test_automatic_settings_learn_where_careless_ones_do_not(tmp_path: Path) -> None:
    automatic = _mean_accuracy(tmp_path)
    careless = _mean_accuracy(tmp_path, *CARELESS)
    assert automatic >= 0.92
    assert careless < automatic - 0.05
