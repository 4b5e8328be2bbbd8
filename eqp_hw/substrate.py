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
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.measurement import (
    BoolArray,
    Measurement,
    OscillatingReading,
    Oscillation,
    Reading,
    SelfTestStep,
    SettleOutcome,
    SettleStatus,
    StateToken,
)
from eqp_hw.network.graph import FloatArray, Network
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
