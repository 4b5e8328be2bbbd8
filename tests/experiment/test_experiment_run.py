import h5py
import numpy as np
import pytest
from experiment_samples import TINY, assert_same_run, write_tiny

from eqp_hw.errors import DataError, RecordError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import Listener, RunInterrupted
from eqp_hw.experiment.run import default_output, resume_run, run_experiment
from eqp_hw.records.checkpoint import checkpoint_path
from eqp_hw.records.reader import read_run
from eqp_hw.records.run_file import RunWriter

N_STEPS = 12  # 6 epochs of 2 mini-batches


class StopAfter:
    """Asks for a stop at the n-th time it is asked."""

    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        return self.left <= 0


class Watch(Listener):
    def __init__(self):
        self.plans, self.steps, self.epochs = [], [], []

    def on_begin(self, plan):
        self.plans.append(plan)

    def on_step(self, row, state):
        self.steps.append(row.step)

    def on_epoch(self, row, state):
        self.epochs.append(row.epoch)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return Experiment.load(write_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    return run_experiment(experiment, tmp_path_factory.mktemp("whole") / "whole.h5")


def test_a_run_is_recorded_with_all_that_led_to_it(experiment, whole):
    data = read_run(whole.run_file)
    assert data.finished
    assert data.experiment == TINY
    assert data.steps["step"].tolist() == list(range(1, N_STEPS + 1))
    assert data.epochs["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert [s.epoch for s in data.snapshots] == [0, 3, 6]
    assert [s.epoch for s in data.responses] == [0, 3, 6]
    assert [p.phases.shape for p in data.phases] == [(4, 5)] * 3
    assert data.resolved["derived"]["class_names"] == ["0", "1"]
    assert {k: v for k, v in data.resolved.items() if k != "derived"} == (
        experiment.settings.resolved()
    )
    assert data.provenance["seeds"] == {"run": 3}
    assert len(data.provenance["data_sha256"]) == 64
    assert not checkpoint_path(whole.run_file).exists()
    # The time of recording a step stands in the row of the next one.
    assert data.steps["duration_record_s"][0] == 0
    assert (data.steps["duration_record_s"][1:] > 0).all()


def test_summary_agrees_with_what_was_recorded(whole):
    data = read_run(whole.run_file)
    summary = data.result.summary
    assert summary == {k: v for k, v in whole.summary.items() if k != "finished"}
    right = data.result.predictions == data.result.labels
    assert summary["test_accuracy"] == right.mean() == whole.test_accuracy
    assert np.trace(data.result.confusion) == right.sum()
    assert (data.result.scores.argmax(axis=1) == data.result.predictions).all()
    assert summary["final_cost"] == whole.training.train.distance == whole.final_cost
    assert summary["hops"] == data.steps["hops"].sum()
    chosen = data.epochs["epoch"] == summary["selected_epoch"]
    assert summary["validation_accuracy"] == data.epochs["validation_accuracy"][chosen][0]
    assert summary["epochs"] == 6
    assert summary["steps"] == N_STEPS


def test_the_trained_network_is_in_the_file(whole):
    """Not only snapshots: the parameters whose accuracy is reported."""
    kept, stored = whole.training.parameters, read_run(whole.run_file).result.parameters
    np.testing.assert_array_equal(stored.flatten(), kept.flatten())


def test_listener_hears_everything(experiment, tmp_path):
    watch = Watch()
    run_experiment(experiment, tmp_path / "run.h5", listener=watch)
    assert watch.steps == list(range(1, N_STEPS + 1))
    assert watch.epochs == [1, 2, 3, 4, 5, 6]
    assert watch.plans[0].steps_per_epoch == 2


# Every step and every epoch end is one place to stop at: 2 + 1 in each of the 6 epochs.
@pytest.mark.parametrize("stop_at", range(1, 19))
def test_resumed_after_any_stop_is_bit_identical(experiment, whole, tmp_path, stop_at):
    path = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted, match="eqp-hw resume"):
        run_experiment(experiment, path, stop=StopAfter(stop_at))
    data = read_run(path)
    assert not data.finished
    assert checkpoint_path(path).exists()
    resume_run(path)
    assert_same_run(whole.run_file, path)
    assert len(read_run(path).resumes) == 1
    assert not checkpoint_path(path).exists()


@pytest.mark.parametrize("every", [5, 100])
def test_rare_checkpoints_only_cost_steps(experiment, tmp_path, every, monkeypatch):
    rare = Experiment.from_dict(
        {
            **experiment.settings.resolved(),
            "run": {**experiment.settings.resolved()["run"], "checkpoint_every_steps": every},
        }
    )
    whole = run_experiment(rare, tmp_path / "whole.h5").run_file
    path = tmp_path / "run.h5"

    def killed(row, state):
        if row.step == 9:
            raise KeyboardInterrupt

    watch = Watch()
    monkeypatch.setattr(watch, "on_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(rare, path, listener=watch)
    assert read_run(path).steps["step"][-1] == 9
    resume_run(path)
    assert_same_run(whole, path)


def test_interrupted_twice(experiment, whole, tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted):
        run_experiment(experiment, path, stop=StopAfter(4))
    with pytest.raises(RunInterrupted):
        resume_run(path, stop=StopAfter(6))
    outcome = resume_run(path)
    assert_same_run(whole.run_file, path)
    assert len(read_run(path).resumes) == 2
    assert not outcome.already_finished


def test_finished_run_is_left_alone(whole):
    before = whole.run_file.read_bytes()
    again = resume_run(whole.run_file)
    assert again.already_finished
    assert again.to_json() == whole.to_json()
    assert whole.run_file.read_bytes() == before


def test_stale_checkpoint_of_a_finished_run_is_removed(whole):
    stale = checkpoint_path(whole.run_file)
    stale.write_bytes(b"left by a process killed at the very end")
    resume_run(whole.run_file)
    assert not stale.exists()


def test_existing_file_is_replaced_only_by_force(experiment, tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(b"precious")
    with pytest.raises(RecordError, match="--force"):
        run_experiment(experiment, path)
    assert path.read_bytes() == b"precious"
    run_experiment(experiment, path, force=True)
    assert read_run(path).finished


def test_missing_checkpoint_is_not_taken_for_a_new_run(experiment, tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted):
        run_experiment(experiment, path, stop=StopAfter(5))
    checkpoint_path(path).rename(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="checkpoint is missing"):
        resume_run(path)
    assert len(read_run(path).steps["step"]) > 1


def test_checkpoint_of_another_run_is_refused(experiment, tmp_path):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        with pytest.raises(RunInterrupted):
            run_experiment(experiment, path, stop=StopAfter(5))
    checkpoint_path(paths[0]).replace(checkpoint_path(paths[1]))
    with pytest.raises(RecordError, match="belongs to another run"):
        resume_run(paths[1])


def test_run_file_in_use_is_refused(experiment, tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted):
        run_experiment(experiment, path, stop=StopAfter(2))
    with RunWriter.reopen(path), pytest.raises(RecordError, match="in use"):
        resume_run(path)


def test_changed_data_are_noticed(tmp_path):
    table = tmp_path / "data.csv"
    lines = ["x,y,c", *(f"{k},{k % 3},{k % 2}" for k in range(20))]
    table.write_text("\n".join(lines), encoding="utf-8")
    experiment = Experiment.from_dict(
        {
            "task": {"kind": "csv", "path": "data.csv", "label": "c"},
            "network": {"kind": "layered", "sizes": [2, 2]},
            "run": {"epochs": 2, "batch_size": 4},
        },
        tmp_path,
    )
    path = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted):
        run_experiment(experiment, path, stop=StopAfter(2))
    table.write_text("\n".join([*lines[:-1], "99,1,1"]), encoding="utf-8")
    with pytest.raises(DataError, match="no longer the one that the run began with"):
        resume_run(path)
    table.unlink()
    with pytest.raises(DataError, match=r"data\.csv"):
        resume_run(path)
    table.write_text("\n".join(lines), encoding="utf-8")
    assert resume_run(path).summary["epochs"] == 2


def test_resume_uses_the_stored_experiment_not_the_file(whole, tmp_path):
    path = tmp_path / "run.h5"
    toml = write_tiny(tmp_path)
    with pytest.raises(RunInterrupted):
        run_experiment(Experiment.load(toml), path, stop=StopAfter(3))
    toml.write_text(TINY.replace("epochs = 6", "epochs = 1"), encoding="utf-8")
    resume_run(path)
    assert_same_run(whole.run_file, path)


def test_other_version_is_refused(whole, tmp_path):
    path = tmp_path / "old.h5"
    path.write_bytes(whole.run_file.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(RecordError, match="version 99"):
        resume_run(path)


def test_empty_test_part_has_no_accuracy(tmp_path):
    pytest.importorskip("sklearn")
    experiment = Experiment.create(
        task={"kind": "two-moons", "samples": 12},
        split={"kind": "random", "test_fraction": 0.0, "validation_fraction": 0.0},
        network={"kind": "layered", "sizes": [2, 2]},
        run={"epochs": 1},
    )
    outcome = run_experiment(experiment, tmp_path / "run.h5")
    assert outcome.summary["test_accuracy"] is None
    assert outcome.summary["validation_accuracy"] is None
    assert np.isnan(outcome.test_accuracy)
    assert len(read_run(outcome.run_file).result.labels) == 0


def test_default_output_is_named_by_experiment_and_time(experiment, tmp_path):
    path = default_output(experiment, tmp_path / "runs")
    assert path.parent.is_dir()
    assert path.name.startswith("tiny-")
    assert path.suffix == ".h5"
