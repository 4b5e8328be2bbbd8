"""Reading calibration files, complete or not."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, final

import h5py
import numpy as np

from eqp_hw import __version__
from eqp_hw.errors import RecordError
from eqp_hw.records.failures import is_file_failure, record_failures
from eqp_hw.records.layout import decode_json

from .errors import CalibrationError
from .figures import Uncertainties
from .layout import (
    FORMAT_NAME,
    FORMAT_VERSION,
    StoredStep,
    load_arrays,
    load_data,
    load_step,
)
from .step import AnyArray, Finding, StepData

__all__ = [
    "CalibrationFile",
    "Heading",
    "moment",
    "open_calibration",
    "read_calibration",
    "read_heading",
]

T = TypeVar("T")

_SHOWN_BY = {"eqp_hw run": "; `eqp-hw show` looks at runs"}
_DAMAGE = (KeyError, ValueError, TypeError, OverflowError, struct.error)


@final
@dataclass(frozen=True, eq=False)
class Heading:
    """What a calibration file is, without its arrays.

    Attributes
    ----------
    identities
        Maker, model and serial number of each instrument.
    wiring
        As of `calibration.identity.wiring_of`.
    missing
        Steps that have given no figures yet, as far as known.
    ended
        ISO time of the end of each step.
    faults
        What its steps have found broken, "subject: text".
    """

    path: Path
    id: str
    complete: bool
    missing: tuple[str, ...]
    rig_name: str
    rig_path: str
    identities: Mapping[str, str]
    wiring: Mapping[str, Any]
    seed: int
    started: str
    temperature_C: float | None
    ended: Mapping[str, str]
    faults: tuple[str, ...] = ()

    @property
    def times(self) -> dict[str, datetime]:
        """When each step ended."""
        return {name: moment(text) for name, text in self.ended.items()}

    @property
    def measured(self) -> datetime | None:
        """When its oldest step ended, None where it has none."""
        return min(self.times.values(), default=None)


@final
@dataclass(frozen=True, eq=False)
class CalibrationFile:
    """All of a calibration file.

    Attributes
    ----------
    rig_text
        The rig file.
    steps
        In the order of measurement.
    attempts
        Step, reason and raw data of measurements that gave no figures.
    figures, uncertainties
        Final arrays by field of `RigCalibration`; empty before the end.
    """

    heading: Heading
    rig_text: str
    provenance: Mapping[str, Any]
    resumes: tuple[Mapping[str, Any], ...]
    steps: Mapping[str, StoredStep]
    attempts: tuple[tuple[str, str, StepData], ...]
    figures: Mapping[str, AnyArray]
    uncertainties: Uncertainties
    source: str


def open_calibration(path: Path, mode: str = "r") -> Any:
    """Open a calibration file and make sure that it is one, of this version.

    Raises
    ------
    CalibrationError
        It is none, or one of another version.
    OSError
        It cannot be opened; see `record_failures`.
    """
    if path.is_dir():
        raise CalibrationError(f"{path}: a folder; a calibration file is needed")
    with path.open("rb" if mode == "r" else "r+b"):
        pass  # raises what h5py would say less clearly
    if not h5py.is_hdf5(path):
        raise CalibrationError(f"{path}: not an HDF5 file, so not a calibration of eqp_hw")
    if mode == "r":
        file = _open_unlocked(path)
    else:
        file = h5py.File(path, mode, libver="earliest", locking="best-effort")
    try:
        name, version = file.attrs.get("format"), file.attrs.get("format_version")
        if name != FORMAT_NAME:
            raise CalibrationError(
                f"{path}: an HDF5 file, but not a calibration of eqp_hw (attribute format = "
                f"{name!r}, needed: {FORMAT_NAME!r}){_SHOWN_BY.get(str(name), '')}"
            )
        if version != FORMAT_VERSION:
            raise CalibrationError(
                f"{path}: calibration file of format version {version}; eqp_hw {__version__} "
                f"reads version {FORMAT_VERSION}; use the eqp_hw that wrote it"
            )
    except BaseException:
        file.close()
        raise
    return file


def _open_unlocked(path: Path) -> Any:
    # A file is never changed under its name, so a reader takes no lock. Where this process has
    # it open for writing, HDF5 wants the same locking as there.
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        return h5py.File(path, "r", locking="best-effort")


def read_heading(path: str | Path) -> Heading:
    """Return what a calibration file is.

    Raises
    ------
    CalibrationError
        It is none, or damaged.
    RecordError
        It cannot be read.
    """
    return _read(Path(path), _heading)


def read_calibration(path: str | Path) -> CalibrationFile:
    """Return all of a calibration file; errors as in `read_heading`."""
    return _read(Path(path), _everything)


def _read(path: Path, what: Callable[[Path, Any], T]) -> T:
    with record_failures(path, "the calibration file cannot be read", "take another one"):
        file = open_calibration(path)
    try:
        return what(path, file)
    except _DAMAGE as error:
        raise CalibrationError(f"{path}: damaged calibration file: {error}") from error
    except (OSError, RuntimeError, RecordError) as error:
        if isinstance(error, CalibrationError) or not is_file_failure(error):
            raise
        raise CalibrationError(f"{path}: damaged calibration file: {error}") from error
    finally:
        file.close()


def _heading(path: Path, file: Any) -> Heading:
    temperature = float(file.attrs["temperature_C"])
    steps = file["steps"]
    names = sorted(steps, key=lambda name: int(steps[name].attrs["order"]))
    started, ended = str(file.attrs["started"]), {n: str(steps[n].attrs["ended"]) for n in names}
    for text in (started, *ended.values()):
        moment(text)
    found = [Finding(**one) for n in names for one in decode_json(steps[n].attrs["findings"])]
    return Heading(
        path,
        str(file.attrs["id"]),
        bool(file.attrs["complete"]),
        tuple(decode_json(file.attrs["missing"])),
        str(file.attrs["rig_name"]),
        str(file.attrs["rig_path"]),
        decode_json(file["identities"].asstr()[()]),
        decode_json(file["wiring"].asstr()[()]),
        int(file.attrs["seed"]),
        started,
        None if np.isnan(temperature) else temperature,
        ended,
        tuple(str(finding) for finding in found if finding.level == "fault"),
    )


def moment(text: str) -> datetime:
    """Return a moment; ValueError where the text says none."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _everything(path: Path, file: Any) -> CalibrationFile:
    heading = _heading(path, file)
    attempts = file["attempts"]
    figures: Mapping[str, AnyArray] = {}
    uncertainties: Uncertainties = {}
    source = ""
    if "calibration" in file:
        figures = load_arrays(file["calibration"], "figures")
        uncertainties = load_arrays(file["calibration"], "uncertainties")
        source = str(file["calibration"].attrs["source"])
    return CalibrationFile(
        heading,
        str(file["rig"].asstr()[()]),
        decode_json(file["provenance"].asstr()[()]),
        tuple(decode_json(file["resumes"].asstr()[()])),
        {name: load_step(file["steps"], name) for name in heading.ended},
        tuple(_attempt(attempts[name]) for name in sorted(attempts, key=int)),
        figures,
        uncertainties,
        source,
    )


def _attempt(group: Any) -> tuple[str, str, StepData]:
    return str(group.attrs["step"]), str(group.attrs["reason"]), load_data(group, "data")
