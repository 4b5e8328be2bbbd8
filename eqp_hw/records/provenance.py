"""Where a run came from: versions, machine, command, seeds, data."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import eqp_hw
from eqp_hw import __version__
from eqp_hw.errors import RecordError

from .failures import record_failures

__all__ = ["collect_provenance", "data_checksum", "file_checksum", "git_revision"]

_LIBRARIES = ("numpy", "scipy", "h5py")


def collect_provenance(
    *,
    engine: str | None = None,
    seeds: Mapping[str, int] | None = None,
    data: str | None = None,
    command: list[str] | None = None,
) -> dict[str, Any]:
    """Describe this process and machine, for the run file.

    Parameters
    ----------
    engine
        Relaxation engine or substrate in use.
    seeds
        Seeds by purpose.
    data
        Check sum of the data set, see `data_checksum`.
    command
        Command line; that of this process if left out.

    Returns
    -------
    JSON-able mapping. ``git`` is None unless the package runs from a git checkout.
    """
    return {
        "eqp_hw": __version__,
        "git": git_revision(Path(eqp_hw.__file__)),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "host": platform.node(),
        "command": list(sys.argv if command is None else command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": engine,
        "seeds": dict(seeds or {}),
        "data_sha256": data,
    }


def git_revision(module: Path) -> dict[str, Any] | None:
    """Return commit and whether it was modified, if ``module`` is tracked by git.

    A package that is merely installed inside some repository is not described by that
    repository's commit.
    """
    file = module.resolve()
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    revision = _git(file.parent, "rev-parse", "HEAD")
    if revision is None:
        return None
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "modified": None if changes is None else changes != ""}


def file_checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises
    ------
    RecordError
        It cannot be read.
    """
    source = Path(path)
    with record_failures(source, "cannot be read"), source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the SHA-256 of named arrays: names, types, shapes and values, hexadecimal.

    Raises
    ------
    RecordError
        An array holds Python objects, whose bytes mean nothing.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        if array.dtype.hasobject:
            raise RecordError(f"array {name!r} holds Python objects (allowed: numbers, texts)")
        digest.update(repr((name, array.dtype.str, arrays[name].shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor()
