"""Raw rows of the step at hand, in a file beside the calibration, until the step is done.

The file only grows. Each row stands in a frame with its length and check sum, so that whatever is
cut off at the end, by ``kill -9`` or a full disk, all rows before can be read.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from eqp_hw.records.failures import record_failures

from .step import RawArray, StepData

__all__ = ["Journal", "JournalContent", "journal_path", "read_journal"]

_MAGIC = b"eqp_hw calibration journal 1\n"
_FRAME = struct.Struct("<II")
_CHECKPOINT = struct.pack("<I", 0)  # a row without a head
_LARGEST = 1 << 30
_CANNOT = "the raw data cannot be recorded"
_KEPT = "what was recorded before is kept: make room and continue with --resume"
SYNC_EVERY_S = 1.0


def journal_path(calibration: Path) -> Path:
    """Return the name of the journal of a calibration file."""
    return calibration.with_name(calibration.name + ".journal")


@final
@dataclass(frozen=True, eq=False)
class JournalContent:
    """What can be read of a journal.

    Attributes
    ----------
    step
        Name of the step, "" where nothing can be read.
    data
        All rows before the first that is cut off or damaged.
    whole
        Those up to the last checkpoint.
    """

    step: str
    data: StepData
    whole: StepData


@final
class Journal:
    """Appends rows; one journal a step.

    Parameters
    ----------
    path
        Replaced where it exists, at once.
    step
        Name of the step.
    before
        Rows to begin with, of a measurement that is continued.
    """

    def __init__(self, path: Path, step: str, before: StepData | None = None) -> None:
        self.path = path
        temporary = path.with_name(path.name + ".new")
        with record_failures(path, _CANNOT, _KEPT):
            self._file = temporary.open("wb", buffering=0)
            self._write(_MAGIC + _framed(step.encode()))
            if before is not None:
                for name, array in before.arrays.items():
                    for row in array.values:
                        made = RawArray(np.asarray(row), array.unit, array.description)
                        self._write(_framed(_payload(name, made)))
                self._write(_framed(_CHECKPOINT))
                os.fsync(self._file.fileno())
            os.replace(temporary, path)
        self._synced_s = time.monotonic()

    def append(self, name: str, row: RawArray) -> None:
        """Hand one row to the operating system; to the disk about once a second.

        Raises
        ------
        RecordError
            It cannot be written.
        """
        self._add(_payload(name, row))

    def checkpoint(self) -> None:
        """Say that the rows so far belong together; errors as in `append`."""
        self._add(_CHECKPOINT)

    def _add(self, payload: bytes) -> None:
        with record_failures(self.path, _CANNOT, _KEPT):
            self._write(_framed(payload))
            if time.monotonic() - self._synced_s > SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced_s = time.monotonic()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Keep the file; idempotent."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file: the step is recorded elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)


def read_journal(path: Path) -> JournalContent:
    """Return all that can be read.

    Raises
    ------
    RecordError
        The file cannot be read at all.
    """
    with record_failures(path, "cannot be read"):
        content = path.read_bytes()
    nothing = StepData({})
    at = len(_MAGIC)
    head = _frame_at(content, at) if content.startswith(_MAGIC) else None
    if head is None:
        return JournalContent("", nothing, nothing)
    at += _FRAME.size + len(head)
    rows: list[tuple[str, RawArray]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    whole = 0
    while (frame := _frame_at(content, at)) is not None:
        at += _FRAME.size + len(frame)
        if frame == _CHECKPOINT:
            whole = len(rows)
            continue
        try:
            name, row = _row(frame)
        except ValueError:
            break
        if shapes.setdefault(name, row.values.shape) != row.values.shape:
            break
        rows.append((name, row))
    step = head.decode(errors="replace")
    return JournalContent(step, _stacked(rows), _stacked(rows[:whole]))


def _stacked(rows: list[tuple[str, RawArray]]) -> StepData:
    kept: dict[str, list[RawArray]] = {}
    for name, row in rows:
        kept.setdefault(name, []).append(row)
    return StepData(
        {
            name: RawArray(np.stack([r.values for r in same]), same[0].unit, same[0].description)
            for name, same in kept.items()
        }
    )


def _payload(name: str, row: RawArray) -> bytes:
    head = json.dumps([name, row.unit, row.description]).encode()
    body = io.BytesIO()
    np.save(body, row.values, allow_pickle=False)
    return struct.pack("<I", len(head)) + head + body.getvalue()


def _framed(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _frame_at(content: bytes, at: int) -> bytes | None:
    if at + _FRAME.size > len(content):
        return None
    length, check = _FRAME.unpack_from(content, at)
    payload = content[at + _FRAME.size : at + _FRAME.size + length]
    if length > _LARGEST or len(payload) < length or zlib.crc32(payload) != check:
        return None
    return payload


def _row(frame: bytes) -> tuple[str, RawArray]:
    if len(frame) < 4:
        raise ValueError("a row without a head")
    (length,) = struct.unpack_from("<I", frame)
    name, unit, description = json.loads(frame[4 : 4 + length])
    values = np.load(io.BytesIO(frame[4 + length :]), allow_pickle=False)
    return str(name), RawArray(values, str(unit), str(description))
