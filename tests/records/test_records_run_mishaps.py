"""No mishap spoils a run file, and what is none is refused by name."""

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from records_samples import (
    assert_rows,
    create_run,
    run_python,
    step_row,
)

from eqp_hw.errors import RecordError
from eqp_hw.records.reader import read_network, read_run
from eqp_hw.records.rows import CHECK
from eqp_hw.records.run_file import RunWriter


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
