"""The run file: what goes in comes out, and rows that were cut off do not count."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from records_samples import (
    EXPERIMENT,
    PROVENANCE,
    RESOLVED,
    assert_parameters,
    assert_rows,
    create_run,
    epoch_row,
    make_network,
    parameters,
    step_row,
)

from eqp_hw.errors import RecordError
from eqp_hw.records.layout import FORMAT_VERSION
from eqp_hw.records.reader import read_network, read_run
from eqp_hw.records.rows import CHECK, EpochRow, StepRow, columns
from eqp_hw.records.run_file import RunWriter


def test_everything_recorded_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    chi = np.random.default_rng(0).normal(size=(2, 5, 2))
    phases = np.random.default_rng(1).normal(size=(3, 5))
    targets = np.full((3, 2), np.pi / 2)
    with create_run(path) as writer:
        assert writer.last_step is None
        for step in range(1, 4):
            writer.record_step(step_row(step))
        nan = dataclasses.replace(epoch_row(1, 3), validation_cost=np.nan)
        writer.record_epoch(nan)
        writer.record_parameters(0, 0, parameters(0), parameters(1))
        writer.record_parameters(1, 3, parameters(2), parameters(3))
        writer.record_response(0, 0, chi[0])
        writer.record_response(1, 3, chi[1])
        writer.record_phases(1, 3, phases, targets, np.array([0, 1, 2]))
        assert writer.last_step == 3
        assert not read_run(path).finished
        writer.finish(
            {"test_accuracy": np.float64(0.1), "epochs": 1, "engine": "native"},
            confusion=np.array([[2, 1], [0, 3]]),
            predictions=np.arange(6),
            labels=np.arange(6) % 2,
            scores=np.eye(6),
            parameters=parameters(4),
        )
    run = read_run(path)
    assert run.finished
    assert (run.experiment, run.resolved, run.provenance) == (EXPERIMENT, RESOLVED, PROVENANCE)
    assert run.resumes == ()
    assert run.run_id == writer.run_id
    assert_rows(run.steps, [step_row(step) for step in range(1, 4)])
    assert_rows(run.epochs, [nan])
    assert [(s.epoch, s.step) for s in run.snapshots] == [(0, 0), (1, 3)]
    assert_parameters(run.snapshots[1].master, parameters(2))
    assert_parameters(run.snapshots[1].effective, parameters(3))
    np.testing.assert_array_equal([r.chi for r in run.responses], chi)
    np.testing.assert_array_equal(run.phases[0].phases, phases)
    np.testing.assert_array_equal(run.phases[0].targets, targets)
    np.testing.assert_array_equal(run.phases[0].labels, [0, 1, 2])
    assert run.result is not None
    assert run.result.summary == {"test_accuracy": 0.1, "epochs": 1, "engine": "native"}
    np.testing.assert_array_equal(run.result.confusion, [[2, 1], [0, 3]])
    np.testing.assert_array_equal(run.result.predictions, np.arange(6))
    np.testing.assert_array_equal(run.result.scores, np.eye(6))
    assert run.result.parameters is not None
    assert_parameters(run.result.parameters, parameters(4))


def test_the_network_is_read_back(tmp_path: Path) -> None:
    create_run(tmp_path / "run.h5").close()
    network, expected = read_network(tmp_path / "run.h5"), make_network()
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(network, field.name), getattr(expected, field.name))


def test_directed_parameters_keep_both_couplings(tmp_path: Path) -> None:
    with create_run(tmp_path / "run.h5") as writer:
        writer.record_parameters(0, 0, parameters(0, directed=True), parameters(1, directed=True))
        with pytest.raises(RecordError, match="both be directed"):
            writer.record_parameters(1, 1, parameters(0, directed=True), parameters(1))
        with pytest.raises(RecordError, match="shape differs"):
            writer.record_parameters(1, 1, parameters(0), parameters(1))
    (snapshot,) = read_run(tmp_path / "run.h5").snapshots
    assert_parameters(snapshot.master, parameters(0, directed=True))
    assert_parameters(snapshot.effective, parameters(1, directed=True))


def test_the_file_explains_itself(tmp_path: Path) -> None:
    """A user who knows only h5py finds columns by name, with units, and no padding."""
    with create_run(tmp_path / "run.h5") as writer:
        writer.record_step(step_row(1))
        writer.record_response(0, 0, np.zeros((5, 2)))
        writer.finish({})
    with h5py.File(tmp_path / "run.h5") as file:
        assert file.attrs["format"] == "eqp_hw run"
        assert file.attrs["format_version"] == FORMAT_VERSION
        for name, row, count in (("steps", StepRow, 1), ("epochs", EpochRow, 0)):
            table = file[name]
            assert len(table) == count
            assert table.dtype.names == (*(c.name for c in columns(row)), CHECK)
            for column in columns(row):
                assert table.attrs[f"unit of {column.name}"] == column.unit
                assert len(table.attrs[f"description of {column.name}"]) > 5
        assert file["steps"].attrs["unit of duration_total_s"] == "s"
        assert file["steps"].attrs["unit of displacement_max"] == "rad"
        assert file["responses/chi"].shape == (1, 5, 2)
        assert file["responses/chi"].attrs["unit"] == "rad"


def test_recording_overwrites_space_and_nothing_else(tmp_path: Path) -> None:
    """No HDF5 metadata changes when a row is written, so no kill can leave it half changed."""
    path = tmp_path / "run.h5"
    with create_run(path) as writer:
        writer.record_parameters(0, 0, parameters(0), parameters(1))
        writer.record_response(0, 0, np.zeros((5, 2)))
        before = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        with h5py.File(path, "r", locking="best-effort") as file:
            tables = [file["steps"], file["epochs"]]
            tables += [*file["parameters"].values(), *file["responses"].values()]
            blocks = [(t.id.get_offset(), t.id.get_storage_size()) for t in tables]
        for number in range(1, 4):
            writer.record_step(step_row(number))
            writer.record_epoch(epoch_row(number, number))
            writer.record_parameters(number, number, parameters(2), parameters(3))
            writer.record_response(number, number, np.ones((5, 2)))
        after = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    assert len(after) == len(before)
    outside = np.ones(len(before), dtype=bool)
    for offset, size in blocks:
        outside[offset : offset + size] = False
    assert (before != after)[~outside].any()
    changed = np.flatnonzero((before != after) & outside)
    assert len(changed) == 0


def test_a_row_cut_off_anywhere_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create_run(path) as writer:
        writer.record_step(step_row(1))
        before = path.read_bytes()
        writer.record_step(step_row(2))
    after = path.read_bytes()
    with h5py.File(path) as file:
        size = file["steps"].dtype.itemsize
        start = file["steps"].id.get_offset() + size
    cut = tmp_path / "cut.h5"
    for written in range(size):
        cut.write_bytes(after[: start + written] + before[start + written :])
        assert_rows(read_run(cut).steps, [step_row(1)])
    cut.write_bytes(after[: start + size] + before[start + size :])
    assert_rows(read_run(cut).steps, [step_row(1), step_row(2)])


def test_growing_keeps_every_row(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    rows = [step_row(step) for step in range(1100)]
    with create_run(path) as writer:
        for number, row in enumerate(rows):
            writer.record_step(row)
            if number % 100 == 0:
                writer.record_parameters(number, number, parameters(number), parameters(1))
        assert_rows(read_run(path).steps, rows)
    run = read_run(path)
    assert_rows(run.steps, rows)
    assert len(run.snapshots) == 11
    for snapshot in run.snapshots:
        assert_parameters(snapshot.master, parameters(snapshot.epoch))
    assert list(tmp_path.iterdir()) == [path]


def test_truncation_cut_off_half_way_revives_nothing(tmp_path: Path) -> None:
    """Rows beyond a gap, as a killed truncation may leave, never become part of the run again."""
    path = tmp_path / "run.h5"
    with create_run(path) as writer:
        for step in range(1, 6):
            writer.record_step(step_row(step))
    with h5py.File(path, "r+") as file:
        file["steps"][2] = file["steps"][100]
    assert_rows(read_run(path).steps, [step_row(1), step_row(2)])
    with RunWriter.reopen(path) as writer:
        assert writer.last_step == 2
        writer.record_step(step_row(3))
    assert_rows(read_run(path).steps, [step_row(step) for step in (1, 2, 3)])


def test_truncate_knows_steps_from_epochs(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create_run(path) as writer:
        for step in range(1, 7):
            writer.record_step(step_row(step))
        for epoch in (1, 2, 3):
            writer.record_epoch(epoch_row(epoch, 2 * epoch))
        writer.finish({"accuracy": 1.0})
        with pytest.raises(RecordError, match="finished"):
            writer.record_step(step_row(7))
    with RunWriter.reopen(path, provenance={"host": "elsewhere"}) as writer:
        assert writer.finished
        assert read_run(path).finished
        writer.truncate(4, epoch=1)  # stopped before the evaluation that ends epoch 2
        assert not writer.finished
        writer.record_epoch(epoch_row(2, 4))
        writer.record_step(step_row(5))
    run = read_run(path)
    assert not run.finished
    assert run.resumes == ({"host": "elsewhere"},)
    assert_rows(run.steps, [step_row(step) for step in range(1, 6)])
    assert_rows(run.epochs, [epoch_row(1, 2), epoch_row(2, 4)])


def test_numbers_must_increase_and_shapes_must_fit(tmp_path: Path) -> None:
    with create_run(tmp_path / "run.h5") as writer:
        writer.record_step(step_row(3))
        with pytest.raises(RecordError, match="step = 3 does not follow 3"):
            writer.record_step(step_row(3))
        with pytest.raises(RecordError, match="step = -2 does not follow 3"):
            writer.record_step(dataclasses.replace(step_row(4), step=-2))
        with pytest.raises(RecordError, match=r"chi has the shape \(5, 3\), .* \(5, 2\)"):
            writer.record_response(0, 0, np.zeros((5, 3)))
        with pytest.raises(RecordError, match="one row a sample"):
            writer.record_phases(0, 0, np.zeros(5), np.zeros(2), np.zeros(1))
    with pytest.raises(RecordError, match="closed"):
        writer.record_step(step_row(4))
    with pytest.raises(RecordError, match="closed"):
        writer.truncate(0)
    with pytest.raises(RecordError, match="closed"):
        writer.finish({})
    with pytest.raises(RecordError, match="closed"):
        writer.sync()
    writer.close()


def test_gradients_and_plans_are_read_back(tmp_path: Path) -> None:
    path, directed = tmp_path / "run.h5", parameters(3, directed=True)
    plan = {"kind": "centred", "beta": 0.1, "reason": "σ is 0.01 rad", "options": {"nodes": 4}}
    with create_run(path) as writer:
        writer.record_plan(0, 0, plan)
        writer.record_plan(5, 10, {**plan, "reason": "so " * 3000})
        writer.record_gradients(2, 4, directed, parameters(4, directed=True))
        with pytest.raises(RecordError, match="shape differs"):
            writer.record_gradients(3, 6, parameters(3), parameters(4))
        with pytest.raises(RecordError, match="does not follow"):
            writer.record_plan(5, 11, plan)
    run = read_run(path)
    assert [(entry.epoch, entry.step) for entry in run.plans] == [(0, 0), (5, 10)]
    assert run.plans[0].plan == plan
    assert run.plans[1].plan["reason"] == ("so " * 3000)[:200]
    (gradients,) = run.gradients
    assert (gradients.epoch, gradients.step) == (2, 4)
    assert_parameters(gradients.mean, directed)
    assert_parameters(gradients.standard_error, parameters(4, directed=True))
