"""What an estimator study found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

__all__ = ["AutomaticChoice", "Study", "StudyRow"]


@final
@dataclass(frozen=True)
class StudyRow:
    """One estimator at one displacement and one noise.

    Attributes
    ----------
    estimator
        Name.
    displacement
        Largest phase shift asked for, rad.
    noise
        Read-out noise of a single read, rad.
    beta
        Median nudge strength over the samples.
    states, repeats
        States that an estimate reads, the free one included where it counts; reads of each.
    error
        Root of the mean over noise draws of |g − g*|²/|g*|², median over samples; with exact
        reads this is the bias.
    cosine
        Between g and the exact gradient g*, median over samples and draws.
    used, lost
        Samples that gave an estimate; samples that hopped or did not settle.
    seconds
        Wall time of one estimate of all samples, s.
    """

    estimator: str
    displacement: float
    noise: float
    beta: float
    states: int
    repeats: int
    error: float
    cosine: float
    used: int
    lost: int
    seconds: float


@final
@dataclass(frozen=True)
class AutomaticChoice:
    """What ``estimator = "auto"`` chose at one noise, and how it did.

    Attributes
    ----------
    noise
        Of a single read, rad.
    estimator, beta, repeats, reason
        As in `NudgePlan`.
    error
        As in `StudyRow`, at that choice.
    displacement
        Median over samples of the largest phase shift there, rad.
    best, best_estimator
        Least error of the rows at this noise that real nudges reach, and whose it is.
    """

    noise: float
    estimator: str
    beta: float
    repeats: int
    reason: str
    error: float
    displacement: float
    best: float
    best_estimator: str


@final
@dataclass(frozen=True)
class Study:
    """All rows of a study.

    Attributes
    ----------
    title, network, cost
        What was studied.
    reads, samples
        As in `StudyOptions`.
    rows, choices
        What was found.
    refused
        Estimators that the substrate cannot serve, and why.
    """

    title: str
    network: str
    cost: str
    reads: int
    samples: int
    rows: Sequence[StudyRow]
    choices: Sequence[AutomaticChoice]
    refused: Mapping[str, str]

    def at(self, noise: float) -> list[StudyRow]:
        """Return the rows of one noise."""
        return [row for row in self.rows if row.noise == noise]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)
