"""Directed networks from the experiment file to the run file, and what each remedy is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import RunInterrupted
from eqp_hw.experiment.run import resume_run, run_experiment
from eqp_hw.records.reader import read_run
from eqp_hw.views.report import render_report

TINY = """
[task]
kind = "xor"

[encoding]
input = "bits"
target = "binary"

[network]
kind = "all-to-all"
n_nodes = 5

[network.initial]
coupling = "symmetrised-normal"
bias = "uniform"
directed = true
asymmetry = 0.1

[substrate]
kind = "emulator"
t_max = 100.0
max_steps = 100
threads = 1

[estimator]
kind = "transposed"
beta = 0.05
max_restarts = 1

[optimiser]
kind = "adam"
learning_rate = 0.02

[run]
epochs = 2
batch_size = 3
probe_samples = 2
seed = 3
"""


class _StopAfter:
    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def _experiment(folder: Path, *overrides: str) -> Experiment:
    path = folder / "directed.toml"
    path.write_text(TINY, encoding="utf-8")
    return Experiment.load(path, overrides)


@pytest.mark.parametrize("kind", ["transposed", "asymmetric", "centred"])
def test_a_directed_run_is_recorded_resumed_and_shown(tmp_path: Path, kind: str) -> None:
    tied = "true" if kind == "centred" else "false"
    experiment = _experiment(tmp_path, f"estimator.kind={kind}", f"optimiser.tied={tied}")
    whole = run_experiment(experiment, tmp_path / "whole.h5")
    with pytest.raises(RunInterrupted):
        run_experiment(experiment, tmp_path / "part.h5", stop=_StopAfter(2))
    resume_run(tmp_path / "part.h5")
    first, second = read_run(tmp_path / "whole.h5"), read_run(tmp_path / "part.h5")
    for one, other in zip(first.snapshots, second.snapshots, strict=True):
        assert one.master.directed
        assert one.effective.directed
        np.testing.assert_array_equal(one.master.flatten(), other.master.flatten())
    assert first.result.parameters.directed
    np.testing.assert_array_equal(
        first.result.parameters.flatten(), whole.training.parameters.flatten()
    )
    np.testing.assert_array_equal(
        second.result.parameters.flatten(), whole.training.parameters.flatten()
    )
    start, end = first.snapshots[0].master, first.snapshots[-1].master
    difference = [p.coupling - p.coupling_reverse for p in (start, end)]
    if kind == "centred":  # tied
        np.testing.assert_allclose(*difference, atol=1e-12)
    else:
        assert np.abs(difference[0] - difference[1]).max() > 1e-3
    assert "directed" in render_report(first)


def test_tied_with_homeostasis_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path, "optimiser.tied=true", "optimiser.homeostasis=1.0")
    with pytest.raises(ConfigurationError, match=r"optimiser\.tied"):
        run_experiment(experiment, tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()


@pytest.mark.parametrize("kind", ["transposed", "asymmetric"])
def test_what_the_substrate_lacks_is_named(tmp_path: Path, kind: str) -> None:
    experiment = _experiment(tmp_path, f"estimator.kind={kind}", 'substrate.nudge_sites="outputs"')
    with pytest.raises(ConfigurationError, match=r"nudges at hidden nodes.*centred"):
        experiment.build()
