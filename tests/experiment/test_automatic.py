"""estimator = "auto" in experiment files: wiring, refusals, and bit-identical resumption."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
from experiment_samples import TINY, assert_same_run

from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import RunInterrupted
from eqp_hw.experiment.recording import RunFileRecorder
from eqp_hw.experiment.run import resume_run, run_experiment
from eqp_hw.records.reader import read_run

NOISY = """
[estimator]
kind = "auto"
beta = "auto"
repeats = "auto"
retune_every = 2

[substrate]
threads = 1

[[substrate.imperfections]]
kind = "drift"
rate = 1e-3

[[substrate.imperfections]]
kind = "readout-noise"
sigma = 0.01

[[substrate.imperfections]]
kind = "clock"
settle_s = 1.0
read_s = 0.1
"""


def write(folder: Path, tables: str) -> Path:
    path = folder / "auto.toml"
    path.write_text(TINY + tables, encoding="utf-8")
    return path


def make(tables: str, tmp_path: Path) -> Experiment:
    return Experiment.load(write(tmp_path, tables))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    run_experiment(make(NOISY, folder), folder / "whole.h5")
    return folder


def test_the_choice_its_reason_and_the_gradients_are_in_the_run_file(whole) -> None:
    run = read_run(whole / "whole.h5")
    assert [entry.epoch for entry in run.plans] == [0, 2, 4]
    first = run.plans[0].plan
    assert first["kind"] in ("centred", "alternative")
    assert first["interleave"] is True  # drift is seen
    assert "0.01 rad once" in first["reason"]
    assert "drifted" in first["reason"]
    np.testing.assert_array_equal(run.steps["beta"][:4], first["beta"])
    np.testing.assert_array_equal(run.steps["repeats"][:4], first["repeats"])
    assert 1 < first["repeats"] <= 8
    assert (run.steps["gradient_error"] > 0).all()
    assert (run.steps["signal_to_noise"] > 0).all()
    assert np.isnan(run.steps["lock_in_alarm"]).all()
    assert [entry.epoch for entry in run.gradients] == [3, 6]
    for entry in run.gradients:
        error = entry.standard_error
        between_inputs = np.isin(run.network.edges, run.network.inputs).all(axis=1)
        np.testing.assert_array_equal(error.coupling > 0, ~between_inputs)
        free = run.network.free
        assert (error.bias[free].real > 0).all()
        assert (error.bias[run.network.inputs] == 0).all()
        # Two steps an epoch: the error of their mean is smaller than that of one step.
        in_epoch = run.steps["epoch"] == entry.epoch
        single = run.steps["gradient_error"][in_epoch]
        expected = np.sqrt((single**2).sum()) / in_epoch.sum()
        assert np.linalg.norm(error.coupling) == pytest.approx(expected)


@pytest.mark.parametrize("stop_after", [1, 4, 8])
def test_an_interrupted_automatic_run_resumes_to_the_bit(whole, tmp_path, stop_after) -> None:
    """Drift goes on by the clock, so that nothing may be measured twice or left out."""
    path, asked = tmp_path / "run.h5", itertools.count(1)
    with pytest.raises(RunInterrupted):
        run_experiment(
            Experiment.load(whole / "auto.toml"), path, stop=lambda: next(asked) == stop_after
        )
    resume_run(path)
    assert_same_run(whole / "whole.h5", path)
    one, other = read_run(whole / "whole.h5"), read_run(path)
    assert [entry.plan for entry in one.plans] == [entry.plan for entry in other.plans]
    for a, b in zip(one.gradients, other.gradients, strict=True):
        np.testing.assert_array_equal(a.mean.flatten(), b.mean.flatten())
        np.testing.assert_array_equal(a.standard_error.flatten(), b.standard_error.flatten())


def test_a_run_that_dies_between_a_choice_and_its_first_step_resumes_to_the_bit(
    whole, tmp_path, monkeypatch
) -> None:
    """The file holds a plan that no checkpoint knows of: it is made again, and is the same."""
    path = tmp_path / "run.h5"
    record = RunFileRecorder.on_step

    def die(self, row, state) -> None:
        if row.epoch == 3:  # the first step after the second choice
            raise MemoryError
        record(self, row, state)

    with monkeypatch.context() as patched:
        patched.setattr(RunFileRecorder, "on_step", die)
        with pytest.raises(MemoryError):
            run_experiment(Experiment.load(whole / "auto.toml"), path)
    assert [entry.epoch for entry in read_run(path).plans] == [0, 2]
    resume_run(path)
    assert_same_run(whole / "whole.h5", path)
    one, other = read_run(whole / "whole.h5"), read_run(path)
    assert [entry.plan for entry in one.plans] == [entry.plan for entry in other.plans]


def test_the_reason_is_logged(tmp_path, caplog) -> None:
    tables = '[estimator]\nkind = "auto"\nbeta = "auto"\nrepeats = "auto"\n'
    with caplog.at_level(logging.INFO, logger="eqp_hw.learning.training"):
        run_experiment(make(tables, tmp_path), tmp_path / "run.h5")
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch 1: ")]
    assert len(told) == 1
    assert "chebyshev-8 at beta" in told[0]
    assert "1 read of each state" in told[0]


@pytest.mark.parametrize(
    ("tables", "field"),
    [
        ('kind = "auto"\nnodes = 4', "estimator.nodes"),
        ('kind = "centred"\ndisplacement = 0.1', "estimator.displacement"),
        ('kind = "centred"\nbeta = "auto"\nread_budget = 8', "estimator.read_budget"),
        ('kind = "centred"\nretune_every = 2', "estimator.retune_every"),
        ('kind = "auto"\nbeta = 0.1\ndisplacement = 0.1', "estimator.displacement"),
        ('kind = "coupled"\nbeta = "auto"', "estimator.beta"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path, tables, field) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(f"[estimator]\n{tables}\n", tmp_path).build()
    assert caught.value.field == field


def test_what_is_given_stays_and_the_rest_is_chosen(tmp_path) -> None:
    tables = '[estimator]\nkind = "chebyshev"\nnodes = 4\nbeta = "auto"\nrepeats = 3\n'
    run_experiment(make(tables, tmp_path), tmp_path / "run.h5")
    plans = [entry.plan for entry in read_run(tmp_path / "run.h5").plans]
    assert len(plans) == 2
    for plan in plans:
        assert (plan["kind"], plan["options"], plan["repeats"]) == ("chebyshev", {"nodes": 4}, 3)
    assert plans[0]["beta"] != plans[1]["beta"]
