"""A network as programmed, for dynamics: force, field, and a bound of its rates."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.errors import ConfigurationError, SubstrateError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.lag import lagged_coupling
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.clamping import InputCoupling
from eqp_hw.sim_backends.relaxation.forces import Force, fast_force
from eqp_hw.sim_backends.relaxation.interface import Bonds
from eqp_hw.sim_backends.relaxation.phase_flow import PhaseFlow

__all__ = ["ProgrammedNetwork", "checked_step"]

_SHARE_OF_STABLE = 0.15
_STABLE = 2.0
"""Heun's method is stable for h·λ below this."""


@final
class ProgrammedNetwork:
    """Couplings and biases taken up by a network; the fields are arguments."""

    def __init__(
        self,
        network: Network,
        inputs_to_field: InputCoupling,
        parameters: Parameters,
        lag: FloatArray | None,
    ) -> None:
        self._network = network
        self._inputs_to_field = inputs_to_field
        self.parameters = parameters
        self._lag = lag
        forward, reverse = lagged_coupling(network, parameters, lag)
        inside = network.internal_edges
        edges = network.free_index[network.edges[inside]]
        bonds = Bonds(len(network.free), edges)
        one_way = None if lag is None and not parameters.directed else reverse[inside]
        flow = PhaseFlow(bonds, forward[inside], one_way)
        self.force: Force = fast_force(flow)
        i, j = network.edges.T
        # Both ends of a bond move, unless one is clamped.
        weight = np.ones(network.n_edges)
        weight[inside] = 2.0
        total = np.abs(parameters.bias)
        total += np.bincount(i, weight * np.abs(forward), minlength=network.n_nodes)
        total += np.bincount(j, weight * np.abs(reverse), minlength=network.n_nodes)
        self.rate_bound = float(total[network.free].max())

    def field(self, inputs: FloatArray) -> ComplexArray:
        """Return the (batch, n_free) field of clamped inputs and biases."""
        clamped = self._inputs_to_field.field(self.parameters, inputs, self._lag)
        return clamped + self.parameters.bias[self._network.free]


def checked_step(
    asked: float | None, programmed: ProgrammedNetwork | None, nudge: ComplexArray | None
) -> float:
    """Return the integration step: ``asked``, or by default a seventh of what is stable.

    Raises
    ------
    SubstrateError
        Nothing is programmed.
    ConfigurationError
        ``asked`` is beyond what is stable with these couplings and this nudge.
    """
    if programmed is None:
        raise SubstrateError("no parameters yet: call write_parameters first")
    bound = programmed.rate_bound + (0.0 if nudge is None else float(np.abs(nudge).max()))
    if bound == 0.0:
        return np.inf if asked is None else asked
    if asked is None:
        return _SHARE_OF_STABLE * _STABLE / bound
    if asked >= _STABLE / bound:
        raise ConfigurationError(
            "the integration is unstable with so long a step",
            field="substrate.time_step",
            value=asked,
            allowed=f"below {_STABLE / bound:.3g} with these couplings, or left out",
        )
    return asked
