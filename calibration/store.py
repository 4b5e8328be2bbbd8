"""The writer of a calibration file: one HDF5 file, readable whatever happens to its writer.

Every change is made on a copy, which then takes the file's name at once. Hence ``kill -9`` loses
at most the step in flight, whose rows stand in the journal beside the file.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from eqp_hw.errors import RecordError
from eqp_hw.records.atomic_file import Edit, build_file, publish_file, refuse_existing
from eqp_hw.records.failures import record_failures
from eqp_hw.records.layout import decode_json, encode_json, store_network, store_text
from eqp_hw.records.provenance import collect_provenance
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .errors import CalibrationError
from .figures import Uncertainties, calibration_arrays
from .identity import wiring_of
from .journal import Journal, JournalContent, journal_path, read_journal
from .layout import (
    FORMAT_NAME,
    FORMAT_VERSION,
    StoredStep,
    store_arrays,
    store_data,
    store_step,
)
from .reader import open_calibration
from .step import StepData

__all__ = ["CalibrationWriter", "default_path", "folder_of", "refuse_taken"]

_NOT_FOR_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def folder_of(rig: Rig) -> Path:
    """Return the folder of a rig's calibrations."""
    return rig.base / Path(rig.settings.calibration.folder).expanduser()


def default_path(rig: Rig, now: datetime | None = None) -> Path:
    """Return a name that is free: folder of the rig, its name, and the time (UTC).

    Raises
    ------
    RecordError
        The folder cannot be made.
    """
    folder = folder_of(rig)
    with record_failures(folder, "the folder of calibrations cannot be made"):
        folder.mkdir(parents=True, exist_ok=True)
    name = _NOT_FOR_NAMES.sub("-", rig.settings.rig.name).strip("-.") or "rig"
    stem = f"{name}-{now or datetime.now(UTC):%Y%m%d-%H%M%S}"
    path, number = folder / f"{stem}.h5", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.h5", number + 1
    return path


def refuse_taken(path: Path) -> None:
    """Refuse a name that cannot be that of a new calibration; RecordError says what can be."""
    if path.is_file():
        raise RecordError(
            f"{path}: a file of this name exists and is not replaced: no calibration is ever "
            "overwritten; name another --output, or leave it out"
        )
    refuse_existing(path, force=False)
    with record_failures(path, "the calibration file cannot be created"):
        path.parent.stat()


@final
class CalibrationWriter:
    """Writes a calibration file step by step; made by `create` or `reopen`.

    The file is locked while the writer is open: a second writer is refused, readers are not.

    Attributes
    ----------
    unfinished
        Rows of the step that was cut off, in a file that was reopened. They stay in the journal
        until `journal` or `put_aside` is called.
    """

    unfinished: JournalContent | None = None

    def __init__(self, path: Path, file: Any) -> None:
        """Use `create` or `reopen` instead."""
        self.path = path
        self._file: Any = file
        self._journal: Journal | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        rig: Rig,
        identities: Mapping[str, str],
        *,
        seed: int = 0,
        temperature_C: float | None = None,
        rig_text: str = "",
    ) -> Self:
        """Begin a new file.

        Raises
        ------
        RecordError
            The name is taken (a calibration is never overwritten), or it cannot be written.
        """
        refuse_taken(path)
        started = datetime.now(UTC).isoformat(timespec="seconds")

        def fill(file: Any) -> None:
            file.attrs["format"] = FORMAT_NAME
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["id"] = uuid.uuid4().hex
            file.attrs["complete"] = False
            file.attrs["missing"] = encode_json([])
            file.attrs["rig_name"] = rig.settings.rig.name
            file.attrs["rig_path"] = rig.path
            file.attrs["seed"] = str(seed)
            file.attrs["started"] = started
            file.attrs["temperature_C"] = float("nan") if temperature_C is None else temperature_C
            store_text(file, "rig", rig_text, "rig file, TOML")
            store_text(file, "wiring", encode_json(wiring_of(rig)), "roles and channels, JSON")
            store_text(file, "identities", encode_json(dict(identities)), "instruments, JSON")
            origin = encode_json(collect_provenance(seeds={"calibration": seed}))
            store_text(file, "provenance", origin, "versions, machine, command, JSON")
            store_text(file, "resumes", "[]", "the same of each time it was continued, JSON")
            store_network(file, rig.network)
            file.create_group("steps")
            file.create_group("attempts")

        with record_failures(path, "the calibration file cannot be created"):
            file = build_file(path, fill, owned=False)
            publish_file(path, file, replace=False)
        return cls(path, file)

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Open an incomplete file to continue it; see `unfinished`.

        Raises
        ------
        CalibrationError
            No calibration file, a damaged one, or one that is complete.
        RecordError
            In use by another process, or it cannot be written.
        """
        with record_failures(path, "the calibration file cannot be opened for writing"):
            file = open_calibration(path, "r+")
        writer = cls(path, file)
        try:
            if file.attrs["complete"]:
                raise CalibrationError(
                    f"{path}: this calibration is complete; a new one gets a file of its own"
                )
            writer._add_resume()
            left = journal_path(path)
            if left.exists():
                found = read_journal(left)
                writer.unfinished = found if found.data.arrays else None
        except BaseException:
            writer.close()
            raise
        return writer

    def _add_resume(self) -> None:
        known = decode_json(self._file["resumes"].asstr()[()])
        text = encode_json([*known, collect_provenance()])
        self._rebuild(
            lambda file: store_text(
                file, "resumes", text, "provenance of each time it was continued, JSON"
            )
        )

    def journal(self, step: str, before: StepData | None = None) -> Journal:
        """Begin to record the rows of a step; ended by `add_step` or `add_attempt`.

        Parameters
        ----------
        before
            Rows to begin with, of `unfinished`.
        """
        self._require_open()
        if self._journal is not None:
            self._journal.close()
        self._journal = Journal(journal_path(self.path), step, before)
        self.unfinished = None
        return self._journal

    def put_aside(self) -> None:
        """Keep `unfinished` rows as an attempt: they will not be continued."""
        left, self.unfinished = self.unfinished, None
        if left is not None:
            self.add_attempt(left.step, left.data, "the program was ended during the measurement")
        if self._journal is None:
            journal_path(self.path).unlink(missing_ok=True)

    def add_step(self, step: StoredStep) -> None:
        """Record a finished step.

        Raises
        ------
        CalibrationError
            It is there already, or holds what cannot be recorded.
        RecordError
            The file cannot be written; what it held before stands.
        """
        if step.name in self._file["steps"]:
            raise CalibrationError(f"{self.path}: step {step.name!r} is recorded already")
        self._rebuild(lambda file: store_step(file["steps"], step))
        self._end_journal()

    def add_attempt(self, step: str, data: StepData, reason: str) -> None:
        """Record raw data that gave no figures, and why; errors as in `add_step`."""

        def edit(file: Any) -> None:
            group = file["attempts"].create_group(str(len(file["attempts"])))
            group.attrs["step"], group.attrs["reason"] = step, reason
            store_data(group, "data", data)

        self._rebuild(edit)
        self._end_journal()

    def finish(
        self, calibration: RigCalibration, uncertainties: Uncertainties, missing: list[str]
    ) -> None:
        """Record the final arrays; the file is complete where no step is missing.

        Raises
        ------
        RecordError
            The file cannot be written.
        """

        def edit(file: Any) -> None:
            if "calibration" in file:
                del file["calibration"]
            group = file.create_group("calibration")
            group.attrs["source"] = calibration.source
            store_arrays(group, "figures", calibration_arrays(calibration), {})
            store_arrays(group, "uncertainties", uncertainties, {})
            file.attrs["missing"] = encode_json(missing)
            file.attrs["complete"] = not missing

        self._rebuild(edit)

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError, RuntimeError):
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _end_journal(self) -> None:
        if self._journal is not None:
            self._journal.discard()
            self._journal = None

    def _require_open(self) -> None:
        if self._file is None:
            raise RecordError(f"{self.path}: the calibration file is closed")

    def _rebuild(self, edit: Edit) -> None:
        """Make a changed copy, which takes the file's name once it is on the disk."""
        self._require_open()
        old = self._file

        def fill(file: Any) -> None:
            for name, value in old.attrs.items():
                file.attrs[name] = value
            for name in old:
                old.copy(old[name], file, name=name)
            edit(file)

        with record_failures(self.path, "cannot be written", "what it held before stands"):
            new = build_file(self.path, fill, owned=True)
            publish_file(self.path, new, replace=True)
        self._file = new
        with suppress(OSError, RuntimeError):
            old.close()
