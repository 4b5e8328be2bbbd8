"""The state of training after a step: all that a bit-identical continuation needs.

A checkpoint is written beside its run file at every step, under a temporary name that then
replaces the old one, so a killed process leaves either the old or the new checkpoint. Its
layout is plain: a line with name and version, lengths and check sum of a JSON header, the
header (step, epoch, state, and for each array its type, shape and check sum), and the
arrays' bytes in the same order.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eqp_hw import __version__
from eqp_hw.errors import RecordError

from .failures import record_failures, replace_file

__all__ = [
    "CHECKPOINT_VERSION",
    "Checkpoint",
    "checkpoint_path",
    "load_checkpoint",
    "save_checkpoint",
]

CHECKPOINT_VERSION = 1
_MAGIC = b"eqp_hw checkpoint\n"
_LENGTHS = struct.Struct("<IQI")  # version, header length, header CRC-32


@final
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of training after a step.

    Attributes
    ----------
    step, epoch
        Steps and epochs done.
    arrays
        Numeric arrays by name (master parameters, optimiser moments, permutation ...).
    state
        All else; JSON-able (see `eqp_hw.records.generators` for random generators).
    run_id
        `RunWriter.run_id` of the run.
    """

    step: int
    epoch: int
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""


def checkpoint_path(run_path: str | Path) -> Path:
    """Return where the checkpoint of a run file stands."""
    path = Path(run_path)
    return path.with_name(path.name + ".checkpoint")


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, *, fsync: bool = False) -> None:
    """Write a checkpoint in the place of the one before.

    Parameters
    ----------
    path
        See `checkpoint_path`.
    checkpoint
        The state.
    fsync
        Wait for the disk, so that it survives a power failure; a killed process never needs
        it. It costs milliseconds: about once a second and at the end of an epoch will do.

    Raises
    ------
    RecordError
        It cannot be written; the checkpoint before is kept.
    """
    target = Path(path)
    header, data = _encode(target, checkpoint)
    temporary = target.with_name(target.name + ".partial")
    with record_failures(target, "the checkpoint cannot be written", "the one before is kept"):
        try:
            with temporary.open("wb", buffering=0) as file:
                _write_all(file, memoryview(header))
                for part in data:
                    _write_all(file, part)
                if fsync:
                    os.fsync(file.fileno())
            replace_file(temporary, target, fsync=fsync)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def load_checkpoint(path: str | Path, *, run_id: str | None = None) -> Checkpoint:
    """Read a checkpoint and verify it.

    Parameters
    ----------
    path
        See `checkpoint_path`.
    run_id
        The run it must belong to.

    Raises
    ------
    RecordError
        Missing, not a checkpoint, of another version, damaged, or of another run.
    """
    source = Path(path)
    with record_failures(source, "the checkpoint cannot be read"):
        content = source.read_bytes()
    checkpoint = _decode(source, content)
    if run_id is not None and checkpoint.run_id != run_id:
        raise RecordError(
            f"{source}: belongs to another run (run id {checkpoint.run_id!r}, the run file has "
            f"{run_id!r})"
        )
    return checkpoint


def _encode(path: Path, checkpoint: Checkpoint) -> tuple[bytes, list[memoryview[int]]]:
    entries, data = [], []
    for name, array in checkpoint.arrays.items():
        values = np.asarray(array)
        if values.dtype.kind not in "biufc":
            raise RecordError(
                f"{path}: array {name!r} of type {values.dtype} (allowed: numbers and booleans)"
            )
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        entries.append([name, values.dtype.str, values.shape, zlib.crc32(raw)])
        data.append(raw)
    try:
        header = json.dumps(
            {
                "run_id": checkpoint.run_id,
                "step": int(checkpoint.step),
                "epoch": int(checkpoint.epoch),
                "state": dict(checkpoint.state),
                "arrays": entries,
            }
        ).encode()
    except (TypeError, ValueError) as error:
        raise RecordError(f"{path}: the state cannot be written as JSON: {error}") from error
    lengths = _LENGTHS.pack(CHECKPOINT_VERSION, len(header), zlib.crc32(header))
    return _MAGIC + lengths + header, data


def _decode(path: Path, content: bytes) -> Checkpoint:
    start = len(_MAGIC) + _LENGTHS.size
    if not content.startswith(_MAGIC) or len(content) < start:
        raise RecordError(f"{path}: not a checkpoint of eqp_hw")
    version, length, check = _LENGTHS.unpack_from(content, len(_MAGIC))
    if version != CHECKPOINT_VERSION:
        raise RecordError(
            f"{path}: checkpoint of format version {version}; eqp_hw {__version__} reads "
            f"version {CHECKPOINT_VERSION}; use the eqp_hw that wrote it"
        )
    header = content[start : start + length]
    if len(header) != length or zlib.crc32(header) != check:
        raise RecordError(f"{path}: damaged checkpoint: its header fails the check sum")
    entries = json.loads(header)
    arrays: dict[str, npt.NDArray[Any]] = {}
    offset = start + length
    view = memoryview(content)
    for name, kind, shape, crc in entries["arrays"]:
        dtype = np.dtype(kind)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        raw = view[offset : offset + size]
        if len(raw) != size or zlib.crc32(raw) != crc:
            raise RecordError(f"{path}: damaged checkpoint: array {name!r} fails the check sum")
        arrays[name] = np.frombuffer(raw, dtype=dtype).reshape(shape).copy()
        offset += size
    if offset != len(content):
        raise RecordError(f"{path}: damaged checkpoint: {len(content) - offset} bytes too many")
    return Checkpoint(
        entries["step"], entries["epoch"], arrays, entries["state"], entries["run_id"]
    )


def _write_all(file: Any, view: memoryview[int]) -> None:
    while view:  # an unbuffered write may take only a part
        view = view[file.write(view) :]
