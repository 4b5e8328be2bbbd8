"""What substrates report: how settling ended, phases as read, the steps of a self-test.

All of it is importable from `eqp_hw.substrate`, where the verbs are that return it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

__all__ = [
    "BoolArray",
    "Measurement",
    "OscillatingReading",
    "Oscillation",
    "Reading",
    "SelfTestStep",
    "SettleOutcome",
    "SettleStatus",
    "StateToken",
]

BoolArray = npt.NDArray[np.bool_]


class SettleStatus(enum.IntEnum):
    """How settling ended for one sample."""

    EQUILIBRIUM = 0
    """At a stable equilibrium."""
    NOT_SETTLED = 1
    """Still moving when the time or step limit was reached."""
    NO_FIXED_POINT = 2
    """Non-reciprocal couplings that keep the phases moving."""
    UNSTABLE = 3
    """At rest where the Hessian is not positive definite."""
    FAILED = 4
    """Not finite, or the instrument could not tell."""


@final
@dataclass(frozen=True, eq=False)
class SettleOutcome:
    """What `Substrate.settle` reports, per sample.

    Attributes
    ----------
    status
        (batch,) uint8 of `SettleStatus`.
    residual
        (batch,) largest |∂F/∂φ|; NaN where the substrate cannot know it.
    smallest_eigenvalue
        (batch,) of the Hessian at rest; NaN where not computed.
    positive_definite
        (batch,) the Hessian is positive definite; False where unknown.
    certified
        (batch,) the end point is proven to be where the physical flow ends.
    hop
        (batch,) a nudged state that is not connected to its free state.
    steps
        (batch,) integration steps (emulators), 0 otherwise.
    duration_s
        Wall time of the whole batch.
    """

    status: npt.NDArray[np.uint8]
    residual: FloatArray
    smallest_eigenvalue: FloatArray
    positive_definite: BoolArray
    certified: BoolArray
    hop: BoolArray
    steps: IntArray
    duration_s: float

    @property
    def settled(self) -> BoolArray:
        """(batch,) whether each sample is at a stable equilibrium."""
        return np.asarray(self.status == SettleStatus.EQUILIBRIUM)

    def with_worse(self, other: SettleOutcome) -> SettleOutcome:
        """Return the worse of two outcomes for each sample; steps and durations add up."""
        return SettleOutcome(
            status=np.maximum(self.status, other.status),
            residual=np.fmax(self.residual, other.residual),
            smallest_eigenvalue=np.fmin(self.smallest_eigenvalue, other.smallest_eigenvalue),
            positive_definite=self.positive_definite & other.positive_definite,
            certified=self.certified & other.certified,
            hop=self.hop | other.hop,
            steps=self.steps + other.steps,
            duration_s=self.duration_s + other.duration_s,
        )


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """Phases as read, averaged as phasors over repeats (never as raw angles).

    Attributes
    ----------
    phases
        (batch, N) in (−π, π], inputs at their clamped values.
    standard_error
        (batch, N) rad; 0 for a noiseless read, NaN where one read cannot tell.
    count
        Number of reads averaged.
    started_s, ended_s
        Time stamps of the first and last read, monotonic clock of the substrate, s.
    complex_phases
        (batch, N) analytically continued phases under a complex nudge (emulators only),
        None otherwise; `phases` then holds their real parts.
    """

    phases: FloatArray
    standard_error: FloatArray
    count: int
    started_s: float
    ended_s: float
    complex_phases: ComplexArray | None = None


@final
@dataclass(frozen=True, eq=False)
class Measurement:
    """One settled and read state."""

    outcome: SettleOutcome
    reading: Reading


@final
@dataclass(frozen=True)
class Oscillation:
    """A slow real nudge β·cos(ωt), and when it is read.

    Attributes
    ----------
    angular_frequency
        ω > 0, in rad a unit of the substrate's own time: s for hardware, the time of
        dφ/dt = −∂F/∂φ for emulators.
    lead_periods
        Periods that pass before the first read, so that the onset dies away.
    periods
        Periods that are read.
    reads_per_period
        Reads in each, evenly spaced, the first at the crest cos = 1.
    """

    angular_frequency: float
    lead_periods: int = 2
    periods: int = 2
    reads_per_period: int = 16


@final
@dataclass(frozen=True, eq=False)
class OscillatingReading:
    """Phases read under an oscillating nudge.

    Attributes
    ----------
    angles
        (n_reads,) ωt of each read, rad, 0 at the first.
    phases
        (n_reads, batch, N) rad, one read each, not averaged.
    standard_error
        (n_reads, batch, N) rad; 0 for a noiseless read, NaN where one read cannot tell.
    settled
        (batch,) whether the integration (or the instrument) followed the nudge to the end.
    """

    angles: FloatArray
    phases: FloatArray
    standard_error: FloatArray
    settled: BoolArray


@final
@dataclass(frozen=True)
class StateToken:
    """Names a stored state of one substrate; means nothing elsewhere."""

    number: int


@final
@dataclass(frozen=True)
class SelfTestStep:
    """One named step of a self-test, with what was found and, if it failed, the likely cause."""

    name: str
    passed: bool
    detail: str
