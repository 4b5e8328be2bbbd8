"""An open run file and its tables: appends in place, and grows by a copy that takes its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, final

import numpy as np

from eqp_hw.errors import RecordError
from eqp_hw.network.graph import Network

from .atomic_file import Edit, build_file, publish_file
from .failures import is_file_failure, record_failures
from .layout import stored_specs
from .table import RecordTable, Row, TableSpec, checked_payload

__all__ = ["LiveFile"]

_COPIED = ("experiment", "resolved", "provenance", "resumes", "network")


@final
class LiveFile:
    """A run file, locked while it is open.

    Parameters
    ----------
    path
        Its name.
    file
        The open HDF5 file.
    network
        The graph, which its tables depend on.
    """

    def __init__(self, path: Path, file: Any, network: Network) -> None:
        self.path = path
        self._file: Any = file
        self._tables = {s.name: RecordTable(file, s) for s in stored_specs(file, network)}
        self.finished = "result" in file
        """Whether the file holds the result."""

    @property
    def attrs(self) -> Any:
        """Attributes of the file."""
        return self._file.attrs

    @property
    def last_step(self) -> int | None:
        """Step number of the last step recorded, None before the first."""
        last = self._tables["steps"].last
        return None if last is None else int(last["step"])

    def append(self, spec: TableSpec, row: Row, arrays: Mapping[str, Any]) -> None:
        """Append a row to the table of ``spec``, which is made with its first row.

        Raises
        ------
        RecordError
            Out of order, of another shape, or the file cannot be written.
        """
        self.require_unfinished()
        payload = checked_payload(self.path, spec, arrays)
        table = self._tables.get(spec.name)
        key = fields(spec.row)[0].name
        number = getattr(row, key)
        previous = -1 if table is None or table.last is None else int(table.last[key])
        if number <= previous:
            raise RecordError(
                f"{self.path}: {spec.name}: {key} = {number} does not follow {previous}; "
                "numbers must increase"
            )
        if table is None:
            self._rebuild({}, add=spec)
        elif table.spec != spec:
            raise RecordError(
                f"{self.path}: {spec.name}: the shape differs from that of the entries before"
            )
        elif table.is_full:
            self._rebuild({spec.name: max(2 * table.capacity, spec.capacity)})
        with self._writing():
            self._tables[spec.name].append(row, payload)

    def change(self, edit: Edit) -> None:
        """Change what the file holds beside its tables; a result stays."""
        self._rebuild({}, edit=edit, keep_result=True)

    def finish(self, edit: Edit) -> None:
        """Add the result by ``edit``, and give back the space that was not needed."""
        self._rebuild({name: table.count for name, table in self._tables.items()}, edit=edit)
        self.finished = True

    def truncate(self, step: int, epoch: int | None) -> None:
        """Drop the result and rows after ``step``, and after ``epoch`` save in that of steps."""
        self.require_open()
        if self.finished:
            self._rebuild({})
            self.finished = False
        for name, table in self._tables.items():
            rows = table.rows()
            keep = rows["step"] <= step
            if epoch is not None and name != "steps":
                keep &= rows["epoch"] <= epoch
            with self._writing():
                table.truncate(int(np.argmin(keep)) if not keep.all() else len(keep))

    def sync(self) -> None:
        """Wait until all is on the disk."""
        self.require_open()
        with self._writing():
            self._file.flush()
            os.fsync(self._file.id.get_vfd_handle())

    def close(self) -> None:
        """Close the file; harmless if done twice."""
        if self._file:
            with self._writing():
                self._file.close()

    def require_open(self) -> None:
        """See that the file is open."""
        if not self._file:
            raise RecordError(f"{self.path}: the run file is closed")

    def require_unfinished(self) -> None:
        """See that the file is open and holds no result."""
        self.require_open()
        if self.finished:
            raise RecordError(f"{self.path}: the run is finished; truncate it to continue")

    def _rebuild(
        self,
        capacity: Mapping[str, int],
        *,
        add: TableSpec | None = None,
        edit: Edit | None = None,
        keep_result: bool = False,
    ) -> None:
        """Put a changed copy in the place of the file."""
        old, tables = self._file, self._tables
        specs: list[TableSpec] = []

        def fill(file: Any) -> None:
            for name, value in old.attrs.items():
                file.attrs[name] = value
            kept = ("result",) if keep_result and "result" in old else ()
            for name in (*_COPIED, *kept):
                old.copy(name, file)
            for name, table in tables.items():
                table.copy_to(file, capacity.get(name, table.capacity))
                specs.append(table.spec)
            if add is not None:
                RecordTable.create(file, add)
                specs.append(add)
            if edit is not None:
                edit(file)

        with record_failures(self.path, "the run file cannot be extended", self._safe()):
            file = build_file(self.path, fill, owned=True)
            publish_file(self.path, file, replace=True)
        self._file = file
        self._tables = {spec.name: RecordTable(file, spec) for spec in specs}
        tables.clear()
        with suppress(OSError, RuntimeError):  # it has no name any more
            old.close()

    def _safe(self) -> str:
        step = self.last_step
        return "no step is recorded yet" if step is None else f"steps up to {step} are safe"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with record_failures(self.path, "the run file cannot be written", self._safe()):
            try:
                yield
            except Exception as error:
                if is_file_failure(error):
                    # HDF5 would try again, and fail again, at every later call.
                    with suppress(OSError, RuntimeError):
                        self._file.close()
                raise
