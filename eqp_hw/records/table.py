"""A table of rows in an HDF5 file that survives the sudden death of its writer.

The space of a table is allocated and filled when the file is made, never afterwards, so
appending a row overwrites bytes of one contiguous block and touches no HDF5 metadata: there
is no moment at which the file's structure is half written. Which rows count is said by the
rows themselves: each carries a check sum, and the table ends before the first row that does
not match it. What belongs to a row besides its columns (arrays, the "payload") is flushed
before the row.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
import numpy.typing as npt

from eqp_hw.errors import RecordError

from .rows import CHECK, EpochRow, SnapshotRow, StepRow, columns, row_dtype

__all__ = ["Payload", "RecordTable", "Row", "TableSpec", "checked_payload", "valid_rows"]

Row = StepRow | EpochRow | SnapshotRow


@final
@dataclass(frozen=True)
class Payload:
    """Array stored with every row of a table.

    Attributes
    ----------
    name
        Data set name.
    shape
        Shape of one entry.
    dtype
        Type of its elements.
    unit, description
        Written as attributes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unit: str
    description: str


@final
@dataclass(frozen=True)
class TableSpec:
    """What a table holds.

    Attributes
    ----------
    name
        Its place in the file: a data set, or with payload a group with the data set ``rows``.
    row
        Row class; its first field is the key, which increases from row to row.
    capacity
        Number of rows for which space is allocated at first.
    description
        Written as an attribute.
    payload
        Arrays beside the rows.
    """

    name: str
    row: type[StepRow] | type[EpochRow] | type[SnapshotRow]
    capacity: int
    description: str
    payload: tuple[Payload, ...] = ()

    @property
    def rows_path(self) -> str:
        """Path of the data set of rows."""
        return f"{self.name}/rows" if self.payload else self.name


@final
class RecordTable:
    """A table of an open file; appends at the end of its valid rows."""

    def __init__(self, file: Any, spec: TableSpec) -> None:
        """Bind to the table ``spec`` of ``file``, which has it already."""
        self.spec = spec
        self._file = file
        self._rows = file[spec.rows_path]
        self._payload = {p.name: file[f"{spec.name}/{p.name}"] for p in spec.payload}
        self._dtype = row_dtype(spec.row)
        if self._rows.dtype != self._dtype:
            raise ValueError(f"the columns of '{spec.name}' are not those of this version")
        self._names = [column.name for column in columns(spec.row)]
        self._memory_type = h5py.h5t.py_create(self._dtype)
        self._memory_space = h5py.h5s.create_simple((1,))
        self._file_space = self._rows.id.get_space()
        everything = self._rows[()]
        self.capacity = len(everything)
        """Number of rows for which space is allocated."""
        self.count = len(valid_rows(everything))
        rest = everything[self.count :]
        if rest.tobytes() != _fill(self._dtype).tobytes() * len(rest):
            # Leftovers of a truncation that was cut off: appended rows must not revive them.
            self._clear(self.count)
        self.last: np.void | None = everything[self.count - 1] if self.count else None

    @classmethod
    def create(cls, file: Any, spec: TableSpec, capacity: int | None = None) -> RecordTable:
        """Allocate the table in ``file``."""
        size = spec.capacity if capacity is None else capacity
        dtype = row_dtype(spec.row)
        rows = _allocate(file, spec.rows_path, (size,), dtype, _fill(dtype))
        rows.attrs["description"] = spec.description
        rows.attrs["valid"] = (
            f"rows up to the first whose '{CHECK}' is not the CRC-32 of its other bytes"
        )
        for column in columns(spec.row):
            rows.attrs[f"unit of {column.name}"] = column.unit
            rows.attrs[f"description of {column.name}"] = column.description
        for p in spec.payload:
            missing = np.full((), np.nan if p.dtype.kind in "fc" else 0, dtype=p.dtype)
            data = _allocate(file, f"{spec.name}/{p.name}", (size, *p.shape), p.dtype, missing)
            data.attrs["unit"] = p.unit
            data.attrs["description"] = p.description
        return cls(file, spec)

    @property
    def is_full(self) -> bool:
        """Whether another row needs a larger file."""
        return self.count >= self.capacity

    def copy_to(self, file: Any, capacity: int) -> RecordTable:
        """Make the same table, with the valid rows, in another file."""
        other = RecordTable.create(file, self.spec, capacity)
        if self.count:
            other._rows[: self.count] = self._rows[: self.count]
            for name, data in self._payload.items():
                for k in range(self.count):  # one at a time: entries may be large
                    other._payload[name][k] = data[k]
        other.count, other.last = self.count, self.last
        return other

    def append(self, row: Row, payload: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
        """Write one row and hand it to the operating system."""
        if payload:
            for name, array in payload.items():
                self._payload[name][self.count] = array
            self._file.flush()
        record = np.zeros(1, dtype=self._dtype)
        record[0] = (*(getattr(row, name) for name in self._names), 0)
        record[CHECK] = _checksum(record)
        # h5py's indexing builds the compound type anew on each call; this is five times faster.
        self._file_space.select_hyperslab((self.count,), (1,))
        self._rows.id.write(self._memory_space, self._file_space, record, self._memory_type)
        h5py.h5f.flush(self._file.id, h5py.h5f.SCOPE_GLOBAL)
        self.count += 1
        self.last = record[0]

    def rows(self) -> npt.NDArray[Any]:
        """Return the valid rows."""
        return np.asarray(self._rows[: self.count])

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` rows."""
        if count < self.count:
            self._clear(count)
            self.count = count
            self.last = self._rows[count - 1] if count else None

    def _clear(self, start: int) -> None:
        self._rows[start:] = np.full(self.capacity - start, _fill(self._dtype))
        self._file.flush()


def checked_payload(
    path: Path, spec: TableSpec, arrays: Mapping[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a row as the table ``spec`` of the file ``path`` stores them.

    Raises
    ------
    RecordError
        An array is missing, or its shape is not that of the table.
    """
    expected = {p.name: p for p in spec.payload}
    if arrays.keys() != expected.keys():
        raise RecordError(
            f"{path}: {spec.name}: master and effective parameters must both be "
            "directed or both be reciprocal"
        )
    payload = {}
    for name, p in expected.items():
        payload[name] = np.asarray(arrays[name], dtype=p.dtype)
        if payload[name].shape != p.shape:
            raise RecordError(
                f"{path}: {spec.name}: {name} has the shape {payload[name].shape}, "
                f"the network needs {p.shape}"
            )
    return payload


def valid_rows(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the rows before the first that is missing, incomplete or out of order."""
    size = rows.dtype.itemsize - rows.dtype[CHECK].itemsize
    data = np.ascontiguousarray(rows)
    raw = data.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)[:, :size]
    key = data[rows.dtype.names[0]] if rows.dtype.names else np.zeros(0)
    check = data[CHECK]
    previous = -1
    for k in range(len(rows)):
        if key[k] <= previous or zlib.crc32(raw[k].tobytes()) != check[k]:
            return rows[:k]
        previous = int(key[k])
    return rows


def _checksum(record: npt.NDArray[Any]) -> int:
    return zlib.crc32(record.tobytes()[: -record.dtype[CHECK].itemsize])


def _fill(dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    fill = np.zeros((), dtype=dtype)
    for name in dtype.names or ():
        if dtype[name].kind == "f":
            fill[name] = np.nan
        elif dtype[name].kind == "i":
            fill[name] = -1
    return fill


def _allocate(
    file: Any, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], fill: npt.NDArray[Any]
) -> Any:
    """Create a contiguous data set whose every byte is on disk before it is needed."""
    group, _, name = path.rpartition("/")
    parent = file.require_group(group) if group else file
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
    properties.set_fill_value(fill)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(dtype, logical=True)
    return h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), kind, space, dcpl=properties))
