"""The state of training after a step: all that a bit-identical continuation needs.

A checkpoint file beside the run file holds three slots. A checkpoint is written over one that
holds neither the newest nor the last one that was forced to the disk, so a killed process leaves
the one before, and a power failure the last forced one. Writing in place is what makes a
checkpoint at every step cheap: a new file that takes the name of the old one costs a file system
milliseconds. Only a checkpoint that does not fit into a slot makes a new, larger file.

Layout: a page with name, version, slot size and their check sum; then the slots. A slot has a
sequence number (the highest valid one counts), lengths and check sum, a JSON header (step, epoch,
state, and for each array its type and shape), and the arrays' bytes in the same order.
"""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from eqp_hw import __version__
from eqp_hw.errors import RecordError

from .failures import record_failures, replace_file

__all__ = [
    "CHECKPOINT_VERSION",
    "Checkpoint",
    "CheckpointFile",
    "checkpoint_path",
    "load_checkpoint",
    "save_checkpoint",
]

CHECKPOINT_VERSION = 2
_MAGIC = b"eqp_hw checkpoint\n"
_FILE_HEAD = struct.Struct("<IQI")  # version, slot size, CRC-32 of these two
_SLOT_HEAD = struct.Struct("<QQQI")  # sequence, header length, data length, CRC-32 of all else
_PAGE = 4096  # slots share no page: writing one never puts another at risk
_N_SLOTS = 3
_KEPT = "the one before is kept"


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


@final
class CheckpointFile:
    """Writes the checkpoints of one run, keeping their file open.

    Parameters
    ----------
    path
        See `checkpoint_path`. A file that is there and sound is continued.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file: io.FileIO | None = None
        self._size = 0
        self._sequences = [0] * _N_SLOTS
        self._forced: int | None = None

    def save(self, checkpoint: Checkpoint, *, fsync: bool = False) -> None:
        """Write a checkpoint; the one before is kept until this one is complete.

        Parameters
        ----------
        checkpoint
            The state.
        fsync
            Wait for the disk, so that it survives a power failure; a killed process never
            needs it. It costs milliseconds: about once a second will do.

        Raises
        ------
        RecordError
            It cannot be written; the checkpoint before is kept.
        """
        body = _encode(self._path, checkpoint)
        with record_failures(self._path, "the checkpoint cannot be written", _KEPT):
            try:
                if not self._is_ours():
                    self._open()
                sequence = max(self._sequences) + 1
                if self._file is None or _SLOT_HEAD.size + body.size > self._size:
                    self._create(body, sequence)
                else:
                    self._overwrite(self._file, body, sequence, fsync=fsync)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file; harmless if done twice."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None
        self._sequences, self._forced = [0] * _N_SLOTS, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _is_ours(self) -> bool:
        """Whether the open file still has the name: someone may have moved it away."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        """Continue the file that is there; leave it if there is none, or none that is sound."""
        self.close()
        try:
            content = self._path.read_bytes()
            slots = _slots(self._path, content)
        except (FileNotFoundError, RecordError):
            return
        self._file = self._path.open("r+b", buffering=0)
        self._size = _slot_size(self._path, content)
        self._sequences = [0 if slot is None else slot.sequence for slot in slots]
        os.fsync(self._file.fileno())
        self._forced = self._sequences.index(max(self._sequences))

    def _create(self, body: _Body, sequence: int) -> None:
        """Put a file with room to spare, and this checkpoint alone, in the place of the old."""
        # The old file stays open, and so untouched, until the new one has its name.
        size = -(-2 * (_SLOT_HEAD.size + body.size) // _PAGE) * _PAGE
        head = _FILE_HEAD.pack(CHECKPOINT_VERSION, size, 0)
        head = head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))
        temporary = self._path.with_name(self._path.name + ".partial")
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        file = temporary.open("x+b", buffering=0)
        try:
            # All space is taken now: later checkpoints do not fail for want of it.
            _reserve(file, _PAGE + _N_SLOTS * size)
            _write_at(file, 0, _MAGIC + head)
            _write_at(file, _PAGE, body.slot(sequence))
            os.fsync(file.fileno())
            replace_file(temporary, self._path, fsync=True)
        except BaseException:
            with suppress(OSError):
                file.close()
                temporary.unlink(missing_ok=True)
            raise
        self.close()
        self._file, self._size = file, size
        self._sequences[0], self._forced = sequence, 0

    def _overwrite(self, file: io.FileIO, body: _Body, sequence: int, *, fsync: bool) -> None:
        newest = self._sequences.index(max(self._sequences))
        slot = next(k for k in range(_N_SLOTS) if k not in (newest, self._forced))
        offset = _PAGE + slot * self._size
        try:
            _write_at(file, offset, body.slot(sequence))
            if fsync:
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):  # what was reported as failed must not count
                _write_at(file, offset, bytes(_SLOT_HEAD.size))
            raise
        self._sequences[slot] = sequence
        if fsync:
            self._forced = slot


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, *, fsync: bool = False) -> None:
    """Write one checkpoint; a run that writes many keeps a `CheckpointFile` open.

    Parameters and errors as in `CheckpointFile.save`.
    """
    with CheckpointFile(path) as file:
        file.save(checkpoint, fsync=fsync)


def load_checkpoint(path: str | Path, *, run_id: str | None = None) -> Checkpoint:
    """Read the newest complete checkpoint of a file.

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
    newest = max(
        (slot for slot in _slots(source, content) if slot is not None),
        key=lambda slot: slot.sequence,
    )
    checkpoint = _decode(source, newest)
    if run_id is not None and checkpoint.run_id != run_id:
        raise RecordError(
            f"{source}: belongs to another run (run id {checkpoint.run_id!r}, the run file has "
            f"{run_id!r})"
        )
    return checkpoint


@final
@dataclass(frozen=True, eq=False)
class _Body:
    """Content of a slot."""

    header: bytes
    data: list[memoryview[int]]

    @property
    def size(self) -> int:
        return len(self.header) + sum(len(part) for part in self.data)

    def slot(self, sequence: int) -> bytes:
        """Return the bytes of the slot."""
        head = _SLOT_HEAD.pack(sequence, len(self.header), self.size - len(self.header), 0)[:-4]
        crc = zlib.crc32(self.header, zlib.crc32(head))
        for part in self.data:
            crc = zlib.crc32(part, crc)
        return b"".join([head, struct.pack("<I", crc), self.header, *self.data])


@final
@dataclass(frozen=True, eq=False)
class _Slot:
    """A valid slot of a file that was read."""

    sequence: int
    header: memoryview[int]
    data: memoryview[int]


def _encode(path: Path, checkpoint: Checkpoint) -> _Body:
    entries, data = [], []
    for name, array in checkpoint.arrays.items():
        values = np.asarray(array)
        if values.dtype.kind not in "biufc":
            raise RecordError(
                f"{path}: array {name!r} of type {values.dtype} (allowed: numbers and booleans)"
            )
        data.append(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        entries.append([name, values.dtype.str, values.shape])
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
    return _Body(header, data)


def _slot_size(path: Path, content: bytes) -> int:
    start = len(_MAGIC)
    if not content.startswith(_MAGIC) or len(content) < start + _FILE_HEAD.size:
        raise RecordError(f"{path}: not a checkpoint of eqp_hw")
    version, size, check = _FILE_HEAD.unpack_from(content, start)
    if version != CHECKPOINT_VERSION:
        raise RecordError(
            f"{path}: checkpoint of format version {version}; eqp_hw {__version__} reads "
            f"version {CHECKPOINT_VERSION}; use the eqp_hw that wrote it"
        )
    if zlib.crc32(content[start : start + _FILE_HEAD.size - 4]) != check:
        raise RecordError(f"{path}: damaged checkpoint: its header fails the check sum")
    return int(size)


def _slots(path: Path, content: bytes) -> list[_Slot | None]:
    """Return the slots, None where one is empty or was cut off; at least one is valid."""
    size = _slot_size(path, content)
    excess = len(content) - (_PAGE + _N_SLOTS * size)
    if excess:
        many = f"{abs(excess)} bytes too {'many' if excess > 0 else 'few'}"
        raise RecordError(f"{path}: damaged checkpoint: {many}")
    view = memoryview(content)
    slots = [_slot(view[_PAGE + k * size : _PAGE + (k + 1) * size]) for k in range(_N_SLOTS)]
    if not any(slots):
        raise RecordError(f"{path}: damaged checkpoint: all of it fails the check sum")
    return slots


def _slot(content: memoryview[int]) -> _Slot | None:
    sequence, n_header, n_data, check = _SLOT_HEAD.unpack_from(content)
    start = _SLOT_HEAD.size
    end = start + n_header + n_data
    if sequence == 0 or end > len(content):
        return None
    if zlib.crc32(content[start:end], zlib.crc32(content[: start - 4])) != check:
        return None
    return _Slot(sequence, content[start : start + n_header], content[start + n_header : end])


def _decode(path: Path, slot: _Slot) -> Checkpoint:
    entries = json.loads(bytes(slot.header))
    arrays: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for name, kind, shape in entries["arrays"]:
        dtype = np.dtype(kind)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        raw = slot.data[offset : offset + size]
        arrays[name] = np.frombuffer(raw, dtype=dtype).reshape(shape).copy()
        offset += size
    if offset != len(slot.data):
        raise RecordError(f"{path}: damaged checkpoint: {len(slot.data) - offset} bytes too many")
    return Checkpoint(
        entries["step"], entries["epoch"], arrays, entries["state"], entries["run_id"]
    )


def _reserve(file: io.FileIO, size: int) -> None:
    """Make a new file ``size`` bytes long, with space on the disk where the system can tell."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    file.truncate(size)


def _write_at(file: io.FileIO, offset: int, content: bytes) -> None:
    file.seek(offset)
    rest = memoryview(content)
    while rest:  # an unbuffered write may take only a part
        rest = rest[file.write(rest) :]
