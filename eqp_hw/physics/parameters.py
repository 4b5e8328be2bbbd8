"""The trainable numbers of a network: couplings and complex bias fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from eqp_hw.errors import ParameterError, ZeroModeError
from eqp_hw.network.graph import FloatArray, Network

__all__ = ["ComplexArray", "Parameters"]

ComplexArray = npt.NDArray[np.complex128]


@final
@dataclass(frozen=True, eq=False)
class Parameters:
    """Couplings and bias fields of a network; also the shape of a gradient with respect to them.

    As a gradient, ``bias`` holds d/d(Re b) + i·d/d(Im b): the Cartesian form, which unlike
    amplitude and phase does not degenerate at b = 0 (ep_methods §0).

    Attributes
    ----------
    coupling
        (n_couplings,) real J. For bond (i, j) of a directed network this is J_ij, the
        coupling with which i is driven by j.
    bias
        (N,) complex field b_i = h_i·exp(iψ_i); zero at inputs, where it has no effect.
    coupling_reverse
        (n_couplings,) J_ji of each bond, or None for a reciprocal network (J_ji = J_ij).
    """

    coupling: FloatArray
    bias: ComplexArray
    coupling_reverse: FloatArray | None = None

    @classmethod
    def zeros(cls, network: Network, *, directed: bool = False) -> Parameters:
        """Return all-zero parameters of the right shape."""
        j = np.zeros(network.n_couplings)
        return cls(j, np.zeros(network.n_nodes, complex), j.copy() if directed else None)

    @property
    def directed(self) -> bool:
        """Whether J_ij and J_ji are held apart."""
        return self.coupling_reverse is not None

    def map(self, function: Callable[..., Any], *others: Parameters) -> Parameters:
        """Apply an elementwise function to each part (and the same parts of ``others``)."""
        reverse = None
        if self.coupling_reverse is not None:
            reverse = function(self.coupling_reverse, *(o.coupling_reverse for o in others))
        return Parameters(
            function(self.coupling, *(o.coupling for o in others)),
            function(self.bias, *(o.bias for o in others)),
            reverse,
        )

    def bond_coupling(self, network: Network) -> tuple[FloatArray, FloatArray]:
        """Return (J_ij, J_ji) of each bond, both (n_edges,)."""
        forward = self.coupling[network.coupling_group]
        if self.coupling_reverse is None:
            return forward, forward
        return forward, self.coupling_reverse[network.coupling_group]

    def flatten(self) -> FloatArray:
        """Return all parts as one real vector: J, (J reverse), Re b, Im b."""
        parts = [self.coupling, self.bias.real, self.bias.imag]
        if self.coupling_reverse is not None:
            parts.insert(1, self.coupling_reverse)
        return np.concatenate(parts)

    def validate(self, network: Network) -> None:
        """Check shapes and values against ``network``.

        Raises
        ------
        ParameterError
            A wrong shape, a value that is not finite, or a bias field at an input.
        ZeroModeError
            Some free nodes hang on no clamped node and no field through non-zero couplings.
        """
        expected = {
            "coupling": (self.coupling, network.n_couplings),
            "coupling_reverse": (self.coupling_reverse, network.n_couplings),
            "bias": (self.bias, network.n_nodes),
        }
        for name, (array, length) in expected.items():
            if array is None:
                continue
            if array.shape != (length,):
                raise ParameterError(
                    "wrong shape", field=name, value=array.shape, allowed=f"({length},)"
                )
            bad = np.flatnonzero(~np.isfinite(array))
            if len(bad):
                raise ParameterError(
                    "not finite",
                    field=f"{name}[{bad[0]}]",
                    value=array[bad[0]],
                    allowed="finite numbers",
                )
        at_input = network.inputs[self.bias[network.inputs] != 0]
        if len(at_input):
            raise ParameterError(
                "an input is clamped: a bias field there has no effect",
                field=f"bias[{at_input[0]}]",
                value=self.bias[at_input[0]],
                allowed="0",
            )
        self._refuse_zero_mode(network)

    def _refuse_zero_mode(self, network: Network) -> None:
        forward, reverse = self.bond_coupling(network)
        if self.coupling.all() and (self.coupling_reverse is None or self.coupling_reverse.all()):
            return  # the graph itself was found connected when the network was made
        held = np.concatenate([network.inputs, np.flatnonzero(self.bias)])
        # Follow what drives what, from a source that stands for all clamped nodes and fields.
        i, j = network.edges.T
        source = network.n_nodes
        drives = np.concatenate([j[forward != 0], i[reverse != 0], np.full(len(held), source)])
        driven = np.concatenate([i[forward != 0], j[reverse != 0], held])
        graph = sparse.coo_array(
            (np.ones(len(drives)), (drives, driven)), shape=(source + 1, source + 1)
        ).tocsr()
        reached = csgraph.breadth_first_order(graph, source, return_predecessors=False)
        loose = np.setdiff1d(network.free, reached)
        if len(loose):
            raise ZeroModeError(
                f"free node {loose[0]} hangs on no input and no bias field through non-zero "
                "couplings: its phases may rotate freely, so no equilibrium is singled out",
                field="coupling",
                allowed="non-zero couplings towards an input, or a non-zero bias field",
            )
