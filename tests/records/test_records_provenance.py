"""Provenance and check sums."""

import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import eqp_hw
from eqp_hw.errors import RecordError
from eqp_hw.records.provenance import (
    collect_provenance,
    data_checksum,
    file_checksum,
    git_revision,
)


def test_provenance_says_what_ran_where_and_when() -> None:
    origin = collect_provenance(engine="native", seeds={"start": 3}, data="ab")
    assert json.loads(json.dumps(origin)) == origin
    assert origin["eqp_hw"] == eqp_hw.__version__
    assert origin["libraries"]["numpy"] == np.__version__
    assert set(origin["libraries"]) == {"numpy", "scipy", "h5py"}
    assert origin["python"].startswith("3.")
    assert (origin["engine"], origin["seeds"], origin["data_sha256"]) == (
        "native",
        {"start": 3},
        "ab",
    )
    started = datetime.fromisoformat(origin["started"])
    assert started.tzinfo == UTC
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=5)
    assert collect_provenance(command=["eqp-hw", "run"])["command"] == ["eqp-hw", "run"]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_revision_only_of_tracked_files(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    module = tmp_path / "module.py"
    module.write_text("x = 1\n")
    assert git_revision(module) is None  # no repository
    git("init", "-q")
    assert git_revision(module) is None  # merely lies in one, as an installed package may
    git("add", "module.py")
    assert git_revision(module) is None  # no commit yet
    git("commit", "-q", "-m", "one")
    assert git_revision(module) == {"revision": git("rev-parse", "HEAD"), "modified": False}
    module.write_text("x = 2\n")
    assert git_revision(module) == {"revision": git("rev-parse", "HEAD"), "modified": True}


def test_git_that_cannot_be_run_is_tolerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect_provenance()["git"] is None


def test_checksums_tell_data_apart(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,b\n1,2\n")
    assert file_checksum(path) == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    with pytest.raises(RecordError, match="cannot be read: no such file"):
        file_checksum(tmp_path / "missing")
    x, y = np.arange(6.0), np.arange(3)
    base = data_checksum({"x": x, "y": y})
    assert base == data_checksum({"y": y.copy(), "x": x.copy()})
    others = [
        {"x": x.reshape(2, 3), "y": y},
        {"x": x.astype(np.float32), "y": y},
        {"x": x + 1e-16 * (x == 0), "y": y},
        {"z": x, "y": y},
        {"x": x},
    ]
    assert len({base, *map(data_checksum, others)}) == 6
    with pytest.raises(RecordError, match="holds Python objects"):
        data_checksum({"x": np.array([None])})
