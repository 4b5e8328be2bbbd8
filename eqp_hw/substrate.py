"""The one door between learning and physics: the abstract `Substrate`.

A substrate holds a network of phases. The verbs are those of a laboratory: program, set the
inputs, let it settle, read, nudge, settle, read. Emulators and rigs implement the same
class; `eqp_hw.conformance` states what all of them must satisfy.

Order of use: ``write_parameters``, ``set_inputs`` (which fixes the batch size), ``reset``,
``settle``, ``read_phases``, ``store_state``, ``apply_nudge``, ``settle``, ``read_phases`` ...
Out of order, a `SubstrateError` says which verb is missing.
"""

from __future__ import annotations

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

import numpy as np
import numpy.typing as npt

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

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
    "Substrate",
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


def _cannot(what: str, field: str) -> CapabilityError:
    return CapabilityError(
        f"this substrate cannot {what}",
        field=f"capabilities.{field}",
        value=False,
        allowed="a substrate that can",
    )


class Substrate(ABC):
    """A network of coupled phases that relaxes by itself; emulated or real."""

    @property
    @abstractmethod
    def network(self) -> Network:
        """The graph with roles and positions."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this substrate can do, as data."""

    @abstractmethod
    def write_parameters(self, parameters: Parameters) -> Parameters:
        """Program couplings and bias fields; return what the substrate really holds.

        Raises
        ------
        ParameterError
            Out of range or not finite: refused whole, never clipped or rescaled.
        ZeroModeError
            The parameters leave a free global rotation.
        """

    @abstractmethod
    def set_inputs(self, phases: FloatArray) -> None:
        """Clamp the inputs to (batch, n_inputs) rad; fixes the batch size, removes the nudge.

        Raises
        ------
        SubstrateError
            Wrong shape, not finite, or a batch above the limit.
        """

    @abstractmethod
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        """Inject the field β·f at the nudge nodes, or remove the nudge (None).

        Parameters
        ----------
        field
            (batch, n_nudge_nodes) complex f; the torque on node i is β·Im(exp(−iφ_i)·f_i).
        beta
            Real, or complex where `Capabilities.complex_nudge` holds: the torque is then
            continued analytically in β.

        Raises
        ------
        CapabilityError
            A field above the maximum, of a sign or kind the substrate cannot make.
        """

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Kick the free phases to fresh random values, U(−π, π), and remove the nudge."""

    @abstractmethod
    def settle(self) -> SettleOutcome:
        """Let the phases relax under the present inputs, parameters and nudge."""

    @abstractmethod
    def store_state(self) -> StateToken:
        """Remember the present phases; forgotten at the next `set_inputs`.

        Where `Capabilities.fast_reprogramming` holds they outlast `write_parameters`: the
        phases are kept, though they need not be an equilibrium of the new parameters.
        """

    @abstractmethod
    def restore_state(self, token: StateToken) -> BoolArray:
        """Return to a stored state and remove the nudge.

        Returns
        -------
        (batch,) whether the phases fell back by themselves: False shows that the state they
        came from was not connected to the stored one. Hardware learns of a hop only here; an
        emulator, which knows it when it settles, always says True.

        Raises
        ------
        CapabilityError
            The substrate cannot (`Capabilities.state_restore` is False).
        SubstrateError
            The token is unknown or was forgotten.
        """

    @abstractmethod
    def read_phases(self, repeats: int = 1) -> Reading:
        """Read all phases ``repeats`` times and average the phasors."""

    @abstractmethod
    def self_test(self) -> list[SelfTestStep]:
        """Check the substrate in named steps; never raises for a failed step."""

    @abstractmethod
    def safe(self) -> None:
        """Drive all outputs to their safe state; idempotent, works at any time."""

    @abstractmethod
    def close(self) -> None:
        """Make safe and release everything; idempotent."""

    def measure_nudged(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> list[Measurement]:
        """From the stored free state, apply each (field, β) in turn, settle and read.

        A substrate may fuse this into fewer round trips; it must return the same.
        """
        measurements = []
        self.restore_state(free)
        for field, beta in fields:
            self.apply_nudge(field, beta)
            outcome = self.settle()
            reading = self.read_phases(repeats)
            returned = self.restore_state(free)
            outcome = dataclasses.replace(outcome, hop=outcome.hop | ~returned)
            measurements.append(Measurement(outcome, reading))
        return measurements

    def measure_together(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> tuple[list[Measurement], list[Reading]]:
        """Nudge as many replicas as there are fields, each with its own, at the same time.

        Returns
        -------
        The nudged measurement of each replica; and the free reading of each replica, taken
        just before, for the mismatch between replicas.

        Raises
        ------
        CapabilityError
            There are fewer replicas (`Capabilities.replicas`) than fields.
        """
        raise _cannot("nudge replicas of the network side by side", "replicas")

    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        """From the stored free state, apply the field f·cos(ωt), read, and return to the state.

        Parameters
        ----------
        field
            (batch, n_nudge_nodes) complex field at the crest.

        Raises
        ------
        CapabilityError
            The substrate cannot (`Capabilities.oscillating_nudge` is False).
        """
        raise _cannot("make an oscillating nudge", "oscillating_nudge")

    def clamp_outputs(self, phases: FloatArray | None) -> None:
        """Hold the outputs at (batch, n_outputs) rad, or let them go (None).

        The hold lasts until it is taken away, or until `set_inputs`, `reset` or
        `restore_state`; the next `settle` relaxes the hidden phases alone.

        Raises
        ------
        CapabilityError
            The substrate cannot (`Capabilities.phase_clamp` is False).
        """
        raise _cannot("clamp output phases", "phase_clamp")

    def set_coupling_lag(self, lag: FloatArray | None) -> None:
        """Give bond (i, j) the phase lag α_ij: its torque is J·sin(φ_j − φ_i + α), both ways.

        A property of the emulated hardware, not something that training sets. Such couplings
        are not reciprocal unless α_ij = −α_ji (ep_methods §3).

        Parameters
        ----------
        lag
            (n_edges, 2) α_ij and α_ji of each bond, rad; None for none.

        Raises
        ------
        CapabilityError
            The substrate cannot (`Capabilities.coupling_lag` is False).
        """
        raise _cannot("give its couplings a phase lag", "coupling_lag")

    def store_memory(self) -> Mapping[str, FloatArray]:
        """Return what a resumed run must know of the substrate (clock, drift); often nothing.

        Random draws need none: they are addressed by the seed of the last `reset`.
        """
        return {}

    def restore_memory(self, memory: Mapping[str, FloatArray]) -> None:
        """Take up what `store_memory` returned, in a fresh substrate of the same options.

        Raises
        ------
        SubstrateError
            This substrate keeps no memory: it is not the kind that the run began on.
        """
        if memory:
            raise SubstrateError(
                f"this substrate keeps no memory of {', '.join(sorted(memory))}: continue the run "
                "on the kind of substrate that it began on"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
