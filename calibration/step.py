"""One step of a calibration: what it measures, what it finds out, and what it has to say of it.

A step has two halves. `Step.measure` moves the instruments and returns raw arrays; `Step.fit` is
pure: the same arrays give the same figures, years later and without the bench.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

if TYPE_CHECKING:
    from .session import Session

__all__ = ["AnyArray", "Finding", "Level", "Plot", "RawArray", "Step", "StepData", "StepFit"]

AnyArray = npt.NDArray[Any]
Level = Literal["note", "warning", "fault"]
"""A note is good to know, a warning lowers trust, a fault must be mended (exit code 1)."""


@final
@dataclass(frozen=True)
class Finding:
    """Something that a person at the bench should know.

    Attributes
    ----------
    level
        How bad it is.
    subject
        What it concerns, by the name in the rig file: "heaters:12", "node 3", "bond 5 (2-7)".
    text
        What was found and what it probably means, in one sentence.
    """

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@final
@dataclass(frozen=True, eq=False)
class RawArray:
    """An array with its unit ("" where it has none) and what it is."""

    values: AnyArray
    unit: str = ""
    description: str = ""


@final
@dataclass(frozen=True, eq=False)
class StepData:
    """What a step has measured: raw arrays by name; plain numbers, bool or str dtypes."""

    arrays: Mapping[str, RawArray]

    def __getitem__(self, name: str) -> AnyArray:
        """Return the values of the array ``name``."""
        return self.arrays[name].values

    def __contains__(self, name: object) -> bool:
        return name in self.arrays


@final
@dataclass(frozen=True, eq=False)
class Plot:
    """A picture for the report.

    Attributes
    ----------
    title, caption
        What is shown, and what to look for in it.
    draw
        Draws into matplotlib axes that it is given.
    """

    title: str
    caption: str
    draw: Callable[[Any], None]


@final
@dataclass(frozen=True, eq=False)
class StepFit:
    """What a step's raw arrays say.

    Attributes
    ----------
    figures
        Arrays by name. One that is named as a field of `RigCalibration` replaces that field
        (same shape; an element that could not be found is NaN and keeps what was known); others
        are kept in the file and shown. A scalar named as a key of the rig file
        ("settle.typical_s", "readout.samples") is a recommendation: it is used where the rig
        file leaves the key out; "estimator.beta" where the experiment does. "drift_walk"
        (rad/√s; scalar or array) is what ``calibration.max_drift`` is judged by.
    uncertainties
        Standard errors of figures, by the same names and of the same shapes.
    residuals
        Measured minus fitted, by a name of their own each; any shape.
    findings
        What to tell.
    units
        Units of figures and residuals, by name; those of `RigCalibration` fields are known.
    """

    figures: Mapping[str, AnyArray]
    uncertainties: Mapping[str, AnyArray] = field(default_factory=dict)
    residuals: Mapping[str, AnyArray] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    units: Mapping[str, str] = field(default_factory=dict)


class Step(ABC):
    """A named step; an instance holds options only, no results."""

    name: ClassVar[str]
    """Short, with hyphens: ``--only`` and the file's groups use it."""
    description: ClassVar[str]
    """One line for the terminal."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Names of steps whose figures this one builds on; they come before it."""

    bound_to: ClassVar[tuple[str, ...]] = ()
    """Names of steps that are not measured anew without this one: their figures belong together."""
    bound_because: ClassVar[str] = ""
    """Why, in a few words."""

    def unavailable_because(self, rig: Rig) -> str | None:
        """Return why this rig cannot take the step (no gain switch, ...), or None."""
        del rig
        return None

    @abstractmethod
    def measure(self, session: Session) -> StepData:
        """Move the instruments within their limits and return what was seen.

        Raises
        ------
        InstrumentError
            An instrument failed for good.
        LimitError
            A drive beyond a limit was asked for; nothing was sent.
        """

    @abstractmethod
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        """Return what the data say; moves nothing, draws no random numbers, reads no clock.

        Parameters
        ----------
        data
            As `measure` returned it, or as it was read from a file.
        known
            Figures of the steps before, nominal ones elsewhere.
        rig
            Rig file.

        Raises
        ------
        FitError
            The data say nothing (a single dead channel is a finding, not an error).
        """

    def summary(self, fit: StepFit, rig: Rig) -> str:
        """Return the result in a few words, for the terminal and the report."""
        del rig
        fields = {item.name for item in dataclasses.fields(RigCalibration)}
        parts = []
        for name in (name for name in fit.figures if name in fields):
            values = np.asarray(fit.figures[name], dtype=float)
            known = np.isfinite(values)
            error = np.asarray(fit.uncertainties.get(name, np.nan), dtype=float)
            error = error[np.isfinite(error) & (error > 0)]
            around = f" ± {np.median(error):.2g}" if error.size else ""
            count = "" if known.all() else f" ({known.sum()} of {known.size})"
            parts.append(f"{name}{around}{count}")
        others = len(fit.figures) - len(parts)
        if others:
            parts.append(f"and {others} more" if parts else f"{others} figures")
        return ", ".join(parts) or "no figures"

    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        """Return pictures for the report beside those that any step gets."""
        del data, fit, rig
        return ()

    def comparisons(self, fit: StepFit, others: Mapping[str, StepFit]) -> Sequence[Plot]:
        """Return pictures of the step's figures beside those of other steps, by their names."""
        del fit, others
        return ()
