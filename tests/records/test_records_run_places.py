"""Where a run may be written, and by whom: existing files, locks, permissions."""

import os
from pathlib import Path

import h5py
import pytest
from records_samples import (
    EXPERIMENT,
    assert_rows,
    create_run,
    make_network,
    run_python,
    step_row,
)

from eqp_hw.errors import RecordError
from eqp_hw.records.atomic_file import refuse_existing
from eqp_hw.records.checkpoint import Checkpoint, checkpoint_path, save_checkpoint
from eqp_hw.records.reader import read_run
from eqp_hw.records.run_file import RunWriter


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
