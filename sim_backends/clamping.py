"""Clamped inputs folded into the field of the free nodes, once per batch."""

from __future__ import annotations

from typing import final

import numpy as np
from scipy import sparse

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.lag import lagged_coupling
from eqp_hw.physics.parameters import ComplexArray, Parameters

__all__ = ["InputCoupling"]


@final
class InputCoupling:
    """Field that clamped inputs exert on the free nodes: b_i = Σ_in J_i,in·exp(iφ_in)."""

    def __init__(self, network: Network) -> None:
        edges = network.edges[network.boundary_edges]
        first_free = network.free_index[edges[:, 0]] >= 0
        free = np.where(first_free, edges[:, 0], edges[:, 1])
        clamped = np.where(first_free, edges[:, 1], edges[:, 0])
        input_index = np.full(network.n_nodes, -1)
        input_index[network.inputs] = np.arange(len(network.inputs))
        self._rows = input_index[clamped]
        self._cols = network.free_index[free]
        self._first_free = first_free
        self._edges = network.boundary_edges
        self._shape = (len(network.inputs), len(network.free))
        self._network = network
        # Below one entry in ten a sparse product wins over a matrix product.
        self._dense = 10 * len(edges) >= self._shape[0] * self._shape[1]

    def field(
        self, parameters: Parameters, inputs: FloatArray, lag: FloatArray | None = None
    ) -> ComplexArray:
        """Return the (batch, n_free) field of (batch, n_inputs) input phases.

        ``lag`` is as in `Substrate.set_coupling_lag`.
        """
        forward, reverse = lagged_coupling(self._network, parameters, lag)
        # Bond (i, j): forward drives i by j. The free end is driven by the clamped one.
        values = np.where(self._first_free, forward[self._edges], reverse[self._edges])
        cosine, sine = np.cos(inputs), np.sin(inputs)
        if self._dense:
            matrix = np.zeros(self._shape, dtype=values.dtype)
            matrix[self._rows, self._cols] = values
            field: ComplexArray = cosine @ matrix + 1j * (sine @ matrix)
            return field
        coupling = sparse.csr_array((values, (self._rows, self._cols)), shape=self._shape)
        return np.asarray(cosine @ coupling + 1j * (sine @ coupling))
