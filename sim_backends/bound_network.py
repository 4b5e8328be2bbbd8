"""A network with its options and programmed couplings: relaxes the free phases in a field."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.lag import lagged_coupling
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.substrate import BoolArray

from .clamping import InputCoupling
from .emulator_options import EmulatorOptions
from .engines import choose_engine
from .flows import DirectedFlow, Flow, ParanoidFlow, ReciprocalFlow
from .outcomes import merge
from .relaxation.interface import Bonds, Relaxation, RelaxationStatus
from .relaxation.phase_flow import PhaseFlow

__all__ = ["BoundNetwork", "State"]

_NOT_PROGRAMMED = "no parameters yet: call write_parameters first"


@final
@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Where the free phases of a batch are.

    Attributes
    ----------
    phases
        (batch, n_free) rad.
    rest_field
        (batch, n_free) field at which each sample rests; NaN where it does not.
    held
        (batch, n_outputs) phases at which the outputs were held when it came to rest (the
        forces on them do not vanish then); None where they were free.
    """

    phases: FloatArray
    rest_field: ComplexArray
    held: FloatArray | None = None

    @classmethod
    def moving(cls, phases: FloatArray) -> State:
        """Return phases that rest nowhere yet."""
        return cls(phases, np.full(phases.shape, np.nan + 0j))

    def stirred(self) -> State:
        """Return the same phases after inputs or couplings changed."""
        return State.moving(self.phases)


@final
class BoundNetwork:
    """Relaxes one network, as programmed; the complex field is an argument of its methods."""

    def __init__(self, network: Network, options: EmulatorOptions) -> None:
        self.network = network
        self._options = options
        edges = network.free_index[network.edges[network.internal_edges]]
        self.bonds = Bonds(len(network.free), edges)
        self.engine = choose_engine(self.bonds, options.engine)
        self._inputs_to_field = InputCoupling(network)
        self._parameters: Parameters | None = None
        self._lag: FloatArray | None = None
        self._flow: Flow | None = None

    @property
    def parameters(self) -> Parameters:
        """What is programmed."""
        if self._parameters is None:
            raise SubstrateError(_NOT_PROGRAMMED)
        return self._parameters

    @property
    def programmed(self) -> bool:
        """Whether there are parameters."""
        return self._parameters is not None

    @property
    def reciprocal(self) -> bool:
        """Whether an energy exists for certain: J_ij = J_ji and no lag."""
        return not self.parameters.directed and self._lag is None

    def program(self, parameters: Parameters, lag: FloatArray | None) -> None:
        """Take up couplings; ``lag`` as in `Substrate.set_coupling_lag`, None for none."""
        self._parameters, self._lag = parameters, lag
        forward, reverse = lagged_coupling(self.network, parameters, lag)
        inside = self.network.internal_edges

        def flow(factor: float) -> Flow:
            options = self._options.relaxation(factor)
            if parameters.directed or lag is not None:
                return DirectedFlow(self.bonds, forward[inside], reverse[inside], options)
            return ReciprocalFlow(self.engine, self.bond_coupling(), options)

        if self._options.paranoid:
            self._flow = ParanoidFlow(flow(1.0), flow(1e-2), flow(1e-4))
        else:
            self._flow = flow(1.0)

    def phase_flow(self) -> PhaseFlow:
        """Return the right-hand side dφ/dt of the free phases."""
        forward, reverse = lagged_coupling(self.network, self.parameters, self._lag)
        inside = self.network.internal_edges
        if self.reciprocal:
            return PhaseFlow(self.bonds, forward[inside])
        return PhaseFlow(self.bonds, forward[inside], reverse[inside])

    def field(self, inputs: FloatArray) -> ComplexArray:
        """Return the (batch, n_free) field of clamped inputs and biases."""
        clamped = self._inputs_to_field.field(self.parameters, inputs, self._lag)
        return clamped + self.parameters.bias[self.network.free]

    def relax(
        self, field: ComplexArray, phases: FloatArray, rest_field: ComplexArray
    ) -> tuple[Relaxation, BoolArray]:
        """Settle samples at rest in ``rest_field`` by `follow`, all others by `relax`.

        Returns
        -------
        The result, and which samples rest now, (batch,).
        """
        if self._flow is None:
            raise SubstrateError(_NOT_PROGRAMMED)
        at_rest: BoolArray = np.asarray(np.isfinite(rest_field).all(axis=1))
        if at_rest.all():
            result = self._flow.follow(field, phases, rest_field)
        elif not at_rest.any():
            result = self._flow.relax(field, phases)
        else:
            result = merge(
                at_rest,
                self._flow.follow(field[at_rest], phases[at_rest], rest_field[at_rest]),
                self._flow.relax(field[~at_rest], phases[~at_rest]),
            )
        return result, np.asarray(result.status == RelaxationStatus.EQUILIBRIUM)

    def smallest_eigenvalue(self, field: ComplexArray, phases: FloatArray) -> FloatArray:
        """Return it for each sample, (batch,); NaN unless asked for and reciprocal."""
        if not (self._options.eigenvalues and self.reciprocal):
            return np.full(len(field), np.nan)
        return self.engine.smallest_eigenvalue(self.bond_coupling(), field, phases)

    def bond_coupling(self) -> FloatArray:
        """Return J of the bonds among free nodes, of a reciprocal network."""
        return self.parameters.bond_coupling(self.network)[0][self.network.internal_edges]
