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
from pathlib import Path
from typing import final

import numpy as np

from eqp_hw.errors import RecordError
from eqp_hw.records.failures import record_failures

from .step import RawArray, StepData

__all__ = ["Journal", "journal_path", "read_journal"]

_MAGIC = b"eqp_hw calibration journal 1\n"
_FRAME = struct.Struct("<II")
_LARGEST = 1 << 30
SYNC_EVERY_S = 1.0


def journal_path(calibration: Path) -> Path:
    """Return the name of the journal of a calibration file."""
    return calibration.with_name(calibration.name + ".journal")


@final
class Journal:
    """Appends rows; one journal a step.

    Parameters
    ----------
    path
        Replaced where it exists.
    step
        Name of the step.
    """

    def __init__(self, path: Path, step: str) -> None:
        self.path = path
        with record_failures(path, "the raw data cannot be recorded"):
            self._file = path.open("wb", buffering=0)
            self._write(_MAGIC + _framed(step.encode()))
        self._synced_s = time.monotonic()

    def append(self, name: str, row: RawArray) -> None:
        """Hand one row to the operating system; to the disk about once a second.

        Raises
        ------
        RecordError
            It cannot be written.
        """
        head = json.dumps([name, row.unit, row.description]).encode()
        body = io.BytesIO()
        np.save(body, row.values, allow_pickle=False)
        payload = struct.pack("<I", len(head)) + head + body.getvalue()
        with record_failures(self.path, "the raw data cannot be recorded"):
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


def read_journal(path: Path) -> tuple[str, StepData]:
    """Return the step's name and all rows before the first that is cut off or damaged.

    The name is "" where nothing can be read.

    Raises
    ------
    RecordError
        The file cannot be read at all.
    """
    with record_failures(path, "cannot be read"):
        content = path.read_bytes()
    if not content.startswith(_MAGIC):
        return "", StepData({})
    step, rows = "", dict[str, list[RawArray]]()
    at = len(_MAGIC)
    first = True
    while (frame := _frame_at(content, at)) is not None:
        at += _FRAME.size + len(frame)
        if first:
            step, first = frame.decode(errors="replace"), False
            continue
        try:
            name, row = _row(frame)
        except (ValueError, RecordError):
            break
        kept = rows.setdefault(name, [])
        if kept and kept[0].values.shape != row.values.shape:
            break
        kept.append(row)
    arrays = {
        name: RawArray(np.stack([r.values for r in kept]), kept[0].unit, kept[0].description)
        for name, kept in rows.items()
    }
    return step, StepData(arrays)


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
        raise RecordError("a row without a head")
    (length,) = struct.unpack_from("<I", frame)
    name, unit, description = json.loads(frame[4 : 4 + length])
    values = np.load(io.BytesIO(frame[4 + length :]), allow_pickle=False)
    return str(name), RawArray(values, str(unit), str(description))
