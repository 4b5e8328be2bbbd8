"""Measured calibrations, whoever has installed the means to make and to read them.

The core and the drivers know what they need of a calibration; the room that measures, fits and
stores is found through the entry-point group ``eqp_hw.calibrations``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, final

from eqp_hw.errors import UnavailableError
from eqp_hw.network.graph import FloatArray

from .calibration import RigCalibration
from .load import Rig

__all__ = [
    "ENTRY_POINT_GROUP",
    "LATEST",
    "NOMINAL",
    "CalibrateOptions",
    "CalibrationLine",
    "CalibrationOutcome",
    "CalibrationStatus",
    "CalibrationTools",
    "FindingLine",
    "MeasuredCalibration",
    "StepResult",
    "Watcher",
    "calibration_tools",
]

ENTRY_POINT_GROUP = "eqp_hw.calibrations"
"""The entry ``tools`` names a subclass of `CalibrationTools`."""
LATEST = "latest"
"""``calibration.file``: the newest complete one of this very rig."""
NOMINAL = "nominal"
"""``calibration.file``: the figures of the data sheets, as where it is left out."""


@final
@dataclass(frozen=True)
class FindingLine:
    """Something that a person at the bench should know of a step."""

    level: Literal["note", "warning", "fault"]
    subject: str
    text: str


@final
@dataclass(frozen=True)
class StepResult:
    """How a step of a calibration ended.

    Attributes
    ----------
    passed
        It gave figures.
    detail
        Its result, or why there is none.
    findings
        What it has to say.
    seconds
        Wall time.
    before
        Not measured now: it stands in the file that is continued, or was taken over.
    """

    name: str
    passed: bool
    detail: str
    findings: tuple[FindingLine, ...] = ()
    seconds: float = 0.0
    before: bool = False


@final
@dataclass(frozen=True)
class CalibrateOptions:
    """What to measure, and where to put it.

    Attributes
    ----------
    only
        Names of steps; all where empty. The figures of the others are taken over from the newest
        complete calibration of the same rig.
    output
        File; by rig and time in ``calibrations/`` beside the rig file where None.
    resume
        Continue an incomplete calibration: that of ``output``, or the newest one.
    seed
        Of everything random.
    temperature_C
        Of the bench, for the record.
    guarded
        Start the guardian process; a simulated twin that ends with this process needs none.
    """

    only: tuple[str, ...] = ()
    output: Path | None = None
    resume: bool = False
    seed: int = 0
    temperature_C: float | None = None
    guarded: bool = True


@final
@dataclass(frozen=True)
class CalibrationOutcome:
    """What a calibration came to.

    Attributes
    ----------
    complete
        All figures are there: it can be used.
    missing
        Steps that have given no figures.
    skipped
        Steps that this rig cannot take, and why; nominal figures stand in for theirs.
    time_s
        Where the time went, by "transport", "settling", "computing", "processor".
    latest
        What ``calibration.file = "latest"`` means from now on; None where there is none.
    """

    path: Path
    complete: bool
    steps: tuple[StepResult, ...]
    missing: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    time_s: Mapping[str, float] = field(default_factory=dict)
    latest: Path | None = None

    @property
    def faults(self) -> tuple[FindingLine, ...]:
        """Findings that must be mended."""
        return tuple(f for step in self.steps for f in step.findings if f.level == "fault")

    @property
    def passed(self) -> bool:
        """Whether all steps asked for gave figures and nothing is broken."""
        return all(step.passed for step in self.steps) and not self.faults

    def to_json(self) -> dict[str, Any]:
        """Return all of it as one JSON object."""
        return {
            "passed": self.passed,
            "complete": self.complete,
            "file": str(self.path),
            "missing": list(self.missing),
            "skipped": dict(self.skipped),
            "steps": [asdict(step) for step in self.steps],
            "time_s": dict(self.time_s),
            "latest": None if self.latest is None else str(self.latest),
        }


class Watcher:
    """Told how a calibration goes; does nothing by itself."""

    def on_begin(self, path: Path, names: Sequence[str]) -> None:
        """Take note of the file and of the steps that will be taken."""

    def on_step(self, name: str, description: str) -> None:
        """Take note that a step begins."""

    def on_progress(self, done: int, total: int, doing: str) -> None:
        """Take note of how far the step is."""

    def on_result(self, result: StepResult) -> None:
        """Take note of how it ended."""


@final
@dataclass(frozen=True, eq=False)
class MeasuredCalibration:
    """A calibration that fits the rig, with its origin.

    Attributes
    ----------
    calibration
        The figures.
    path, sha256
        The file.
    measured
        When the oldest of its steps ended.
    recommended
        Values for keys that the rig file, or the experiment ("estimator.beta"), leaves out, by
        dotted name.
    faults
        What was found broken.
    uncertainties
        Standard errors by field of `RigCalibration`, NaN where a nominal figure stands.
    further
        Figures of steps that are no field of it, by name.
    """

    calibration: RigCalibration
    path: Path
    sha256: str
    measured: datetime
    recommended: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    uncertainties: Mapping[str, FloatArray] = field(default_factory=dict)
    further: Mapping[str, FloatArray] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what a run file keeps of it."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "measured": self.measured.astimezone(UTC).isoformat(timespec="seconds"),
            "recommended": dict(self.recommended),
            "faults": list(self.faults),
        }


@final
@dataclass(frozen=True)
class CalibrationLine:
    """One calibration of a rig's history; ``refused`` says why it cannot be used, if so."""

    path: Path
    started: str
    measured: str | None
    complete: bool
    steps: tuple[str, ...]
    refused: str | None = None
    in_force: bool = False


@final
@dataclass(frozen=True)
class CalibrationStatus:
    """Which calibration a rig file gets now, and why no other one.

    Attributes
    ----------
    asked
        What the rig file says: "latest", "nominal" or a path.
    in_force
        The one that is used; None where the figures of the rig file are, or none can be.
    refused
        Why what the rig file asks for cannot be had.
    identities_known
        Whether the instruments were asked who they are.
    age_h
        Since the oldest step, of the one in force.
    steps
        Its steps.
    worst_residual
        Of the one in force: step, name and largest value in units of its unit.
    history
        All of this rig in its folder, newest first.
    """

    asked: str
    in_force: Path | None
    refused: str | None
    identities_known: bool
    age_h: float | None = None
    steps: tuple[StepResult, ...] = ()
    worst_residual: tuple[str, str, float, str] | None = None
    history: tuple[CalibrationLine, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all of it as one JSON object."""
        return {
            **asdict(self),
            "in_force": None if self.in_force is None else str(self.in_force),
            "history": [{**asdict(line), "path": str(line.path)} for line in self.history],
        }


class CalibrationTools(ABC):
    """What a room that calibrates offers to the others.

    ``identities`` say who each instrument is (maker, model, serial numbers), by its name in the
    rig file.
    """

    @abstractmethod
    def load(self, rig: Rig, identities: Mapping[str, str] | None) -> MeasuredCalibration:
        """Return the calibration that ``calibration.file`` of a rig names.

        ``identities`` None: the instruments were not asked; a rig is then known by its name and
        wiring, which is enough for a rehearsal.

        Raises
        ------
        ConfigurationError
            There is none, or it is that of another rig or wiring, incomplete, or too old.
        """

    @abstractmethod
    def identities(self, rig: Rig) -> dict[str, str]:
        """Ask the instruments of a rig who they are; moves no output.

        Raises
        ------
        InstrumentError
            One is not there, busy, or another one.
        """

    @abstractmethod
    def calibrate(
        self, rig: Rig, options: CalibrateOptions, watcher: Watcher | None = None
    ) -> CalibrationOutcome:
        """Calibrate a rig into a file.

        Raises
        ------
        EqpError
            Something asked for cannot be used; instruments are not there.
        """

    @abstractmethod
    def status(self, rig: Rig, identities: Mapping[str, str] | None) -> CalibrationStatus:
        """Return which calibration a rig gets; None: its instruments were not asked."""

    @abstractmethod
    def write_report(self, calibration: Path, target: Path) -> Path:
        """Write a page about a calibration file.

        Raises
        ------
        EqpError
            No calibration file, or the page cannot be written.
        """


def calibration_tools() -> CalibrationTools:
    """Return what is installed.

    Raises
    ------
    UnavailableError
        Nothing is.
    """
    entries = entry_points(group=ENTRY_POINT_GROUP)
    if "tools" not in entries.names:
        raise UnavailableError(
            "nothing that calibrates is installed (entry point 'tools' of the group "
            f"{ENTRY_POINT_GROUP!r}): reinstall eqp_hw"
        )
    tools: CalibrationTools = entries["tools"].load()()
    return tools
