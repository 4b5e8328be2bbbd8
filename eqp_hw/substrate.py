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
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

import numpy as np
import numpy.typing as npt

from eqp_hw.capabilities import Capabilities
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

__all__ = [
    "BoolArray",
    "Measurement",
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
        """Remember the present phases; forgotten at the next `set_inputs`."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
