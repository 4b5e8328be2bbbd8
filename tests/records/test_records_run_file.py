"""The run file: what goes in comes out, and no mishap spoils a file."""

import dataclasses
import os
import subprocess
import sys
import zlib
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
from eqp_hw.records.atomic_file import refuse_existing
from eqp_hw.records.checkpoint import Checkpoint, checkpoint_path, save_checkpoint
from eqp_hw.records.layout import FORMAT_VERSION
from eqp_hw.records.reader import read_network, read_run
from eqp_hw.records.rows import CHECK, EpochRow, StepRow, columns
from eqp_hw.records.run_file import RunWriter

HERE = Path(__file__).parent


def run_python(code: str, *arguments: object) -> str:
    """Run ``code`` in another process; return what it prints."""
    preamble = f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", preamble + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


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


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create_run(path) as first:
        first.record_step(step_row(1))
    save_checkpoint(checkpoint_path(path), Checkpoint(1, 0))
    content = path.read_bytes()
    with pytest.raises(RecordError, match="--force, or another --output"):
        create_run(path)
    assert path.read_bytes() == content
    with create_run(path, force=True) as second:
        assert second.run_id != first.run_id
    assert read_run(path).steps["step"].size == 0
    assert list(tmp_path.iterdir()) == [path]


def test_force_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create_run(path).close()
    content = path.read_bytes()
    with pytest.raises(TypeError, match="cannot be recorded"):
        RunWriter.create(
            path,
            experiment=EXPERIMENT,
            resolved={"a": object()},
            provenance={},
            network=make_network(),
            force=True,
        )
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_or_device_is_no_place_for_a_run(tmp_path: Path, force: bool) -> None:
    for path in (tmp_path, Path("/dev/full")):
        if path.exists():
            with pytest.raises(RecordError, match="a folder or device, not a file"):
                refuse_existing(path, force)


def test_a_name_taken_in_the_meantime_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    fsync = os.fsync

    def take_the_name(handle: int) -> None:
        path.write_text("mine")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", take_the_name)
    with pytest.raises(RecordError, match="exists and is not replaced"):
        create_run(path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_creation_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    (tmp_path / "run.h5.partial").write_bytes(b"\x89HDF\r\n\x1a\n half")
    create_run(path).close()
    assert list(tmp_path.iterdir()) == [path]
    os.link(path, tmp_path / "run.h5.partial")  # killed between link and unlink
    with RunWriter.reopen(path) as writer:
        for step in range(600):
            writer.record_step(step_row(step))
    assert list(tmp_path.iterdir()) == [path]
    assert len(read_run(path).steps["step"]) == 600


OTHER_PROCESS = """
from pathlib import Path
from records_samples import create_run
from eqp_hw.errors import RecordError
from eqp_hw.records.reader import read_run
from eqp_hw.records.run_file import RunWriter
path = Path(sys.argv[1])
for attempt in (
    lambda: RunWriter.reopen(path),
    lambda: create_run(path, force=True),
    lambda: create_run(path.with_name("new.h5")),
):
    try:
        attempt()
    except RecordError as error:
        print(error)
print(len(read_run(path).steps["step"]))
"""


def test_a_file_in_use_is_neither_continued_nor_replaced_but_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create_run(path) as writer, h5py.File(tmp_path / "new.h5.partial", "w"):
        writer.record_step(step_row(1))
        reopened, forced, new, count = run_python(OTHER_PROCESS, path).splitlines()
        writer.record_step(step_row(2))
        with pytest.raises(RecordError, match="this process has it open"):
            RunWriter.reopen(path)
        with pytest.raises(RecordError, match="in use by another process"):
            create_run(path, force=True)
    assert "in use by another process" in reopened
    assert "in use by another process, so it is not replaced" in forced
    assert "another process is creating this file" in new
    assert count == "1"
    assert_rows(read_run(path).steps, [step_row(1), step_row(2)])


def test_the_lock_is_held_across_growth(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create_run(path) as writer:
        for step in range(600):
            writer.record_step(step_row(step))
        code = OTHER_PROCESS.replace('lambda: create_run(path.with_name("new.h5")),', "")
        reopened, forced, count = run_python(code, path).splitlines()
    assert "in use" in reopened
    assert "in use" in forced
    assert count == "600"


def test_what_is_no_run_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    for open_it in (read_run, read_network, RunWriter.reopen):
        with pytest.raises(RecordError, match=r"run\.h5: .* no such file"):
            open_it(path)
        with pytest.raises(RecordError, match="a folder"):
            open_it(tmp_path)
        with pytest.raises(RecordError, match=r"the folder .*nowhere does not exist"):
            open_it(tmp_path / "nowhere" / "run.h5")
    path.write_text("step,cost\n")
    for open_it in (read_run, read_network, RunWriter.reopen):
        with pytest.raises(RecordError, match="not an HDF5 file"):
            open_it(path)
    with h5py.File(path, "w") as file:
        file["data"] = 1
    for open_it in (read_run, RunWriter.reopen):
        with pytest.raises(RecordError, match=r"not a run file .*format = None"):
            open_it(path)


def test_another_format_version_is_refused_and_both_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create_run(path).close()
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 7
    content = path.read_bytes()
    for open_it in (read_run, read_network, RunWriter.reopen):
        with pytest.raises(RecordError, match=r"version 7; eqp_hw \S+ reads versions 1 and 2"):
            open_it(path)
    assert path.read_bytes() == content


def test_a_file_of_version_1_is_shown_but_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create_run(path) as writer:
        writer.record_step(step_row(1))
    new = ("beta", "repeats", "gradient_error", "signal_to_noise", "lock_in_alarm")
    with h5py.File(path, "r+") as file:
        rows = file["steps"][:1]
        kept = [name for name in rows.dtype.names if name not in new]
        old = np.zeros(1, np.dtype([(name, rows.dtype[name]) for name in kept]))
        for name in kept:
            old[name] = rows[name]
        old[CHECK] = zlib.crc32(old.tobytes()[:-4])
        del file["steps"]
        file["steps"] = old
        file.attrs["format_version"] = 1
    run = read_run(path)
    assert run.steps["step"].tolist() == [1]
    assert not set(new) & run.steps.keys()
    assert run.gradients == run.plans == ()
    with pytest.raises(
        RecordError, match=r"version 1: .* can show it, but continues only version 2"
    ):
        RunWriter.reopen(path)


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


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create_run(path).close()
    whole = path.read_bytes()
    for size in (9, 100, 3000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        for open_it in (read_run, RunWriter.reopen):
            with pytest.raises(RecordError, match=r"run\.h5: "):
                open_it(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        del file["network/edges"]
    for open_it in (read_run, read_network, RunWriter.reopen):
        with pytest.raises(RecordError, match="damaged"):
            open_it(path)


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"the folder .*nowhere does not exist"):
        create_run(tmp_path / "nowhere" / "run.h5")
    with pytest.raises(RecordError, match="a folder; the name of a run file is needed"):
        create_run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="a folder stands where a file is needed"):
        create_run(tmp_path / "file" / "run.h5")


NO_PERMISSION = """
import os
from pathlib import Path
from records_samples import create_run
from eqp_hw.errors import RecordError
from eqp_hw.records.run_file import RunWriter
folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(65534)  # to root nothing is forbidden
for attempt in (lambda: create_run(folder / "new.h5"), lambda: RunWriter.reopen(folder / "run.h5")):
    try:
        attempt()
    except RecordError as error:
        print(error)
"""


def test_missing_permission_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    create_run(folder / "run.h5").close()
    (folder / "run.h5").chmod(0o444)
    folder.chmod(0o555)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o011)
    try:
        created, reopened = run_python(NO_PERMISSION, folder).splitlines()
    finally:
        folder.chmod(0o755)
    assert "new.h5: the run file cannot be created: permission denied" in created
    assert "run.h5: the run file cannot be opened for writing: permission denied" in reopened


DISK_FULL = """
import resource, signal
from pathlib import Path
from records_samples import create_run, step_row
from eqp_hw.errors import RecordError
from eqp_hw.records.run_file import RunWriter
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with create_run(path) as writer:
        for step in range(100_000):
            writer.record_step(step_row(step))
except RecordError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [20_000, 250_000])
def test_a_disk_that_fills_up_costs_nothing_recorded(tmp_path: Path, limit: int) -> None:
    """The limit on file sizes stands for the full disk: both fail inside the same write."""
    path = tmp_path / "run.h5"
    message = run_python(DISK_FULL, path, limit)
    if limit < 100_000:
        assert "cannot be created: the file may not grow any further" in message
        assert "nothing was changed" in message
        assert list(tmp_path.iterdir()) == []
        return
    assert list(tmp_path.iterdir()) == [path]
    steps = read_run(path).steps
    last = int(steps["step"][-1])
    assert f"the file may not grow any further (file size limit); steps up to {last} are" in message
    assert_rows(steps, [step_row(step) for step in range(last + 1)])
    with RunWriter.reopen(path) as writer:  # with room again, the run goes on
        writer.record_step(step_row(last + 1))
    assert len(read_run(path).steps["step"]) == last + 2


def test_a_failing_write_closes_the_file_and_says_what_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems need room even to overwrite; HDF5 then fails late, with a text only."""
    path = tmp_path / "run.h5"

    def full(*_: object) -> None:
        raise OSError("Can't write data (file write failed, errno = 28, error message = '...')")

    writer = create_run(path)
    writer.record_step(step_row(1))
    with monkeypatch.context() as patch:
        patch.setattr(h5py.h5f, "flush", full)
        with pytest.raises(RecordError, match="the disk is full; steps up to 1 are safe"):
            writer.record_step(step_row(2))
    with pytest.raises(RecordError, match="closed"):
        writer.record_step(step_row(2))
    writer.close()
    assert_rows(
        read_run(path).steps, [step_row(1), step_row(2)][: len(read_run(path).steps["step"])]
    )


def test_an_error_inside_the_with_block_is_not_hidden(tmp_path: Path) -> None:
    def fail() -> None:
        with create_run(tmp_path / "run.h5") as writer:
            writer.record_step(step_row(1))
            writer.sync()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert_rows(read_run(tmp_path / "run.h5").steps, [step_row(1)])
