"""Couplings that heat their neighbours."""

from __future__ import annotations

from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.spatial import cKDTree
from typing_extensions import override

from eqp_hw.network.graph import FloatArray, Network

from .interface import Draws, Imperfection, ImperfectionOptions, Setup, Signal, option

__all__ = ["CouplingCrosstalkOptions"]

_CUT_OFF = 10.0
"""Neighbours beyond so many ranges get nothing: less than 5e-5 of the strength."""
_LARGEST = 50_000_000


@final
class CouplingCrosstalkOptions(ImperfectionOptions):
    """``kind = "coupling-crosstalk"``: J' = J + K·|J|, K_kl = strength·exp(−distance/range).

    A heater's power, and so what leaks to its neighbours, is taken to be proportional to |J|.
    """

    description = "thermal crosstalk between couplings: J' = J + K·|J|, hidden"

    strength: float = option(
        0.0, "share of a neighbour's |J| that leaks in at distance 0; negative lowers J"
    )
    range: Annotated[float, Field(gt=0)] = option(
        1.0, "distance over which it falls by e, in units of node positions or of channels"
    )
    distance: Literal["auto", "positions", "channels"] = option(
        "auto",
        "between midpoints of bonds, or between bond numbers; auto: by positions unless all "
        "bonds are at one place",
    )

    @property
    @override
    def per_bond(self) -> bool:
        return self.strength != 0

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _CouplingCrosstalk(setup, self)


@final
class _CouplingCrosstalk(Imperfection):
    def __init__(self, setup: Setup, options: CouplingCrosstalkOptions) -> None:
        super().__init__(setup)
        places = _places(setup.network, options.distance)
        tree = cKDTree(places)
        reach = _CUT_OFF * options.range
        if int(tree.count_neighbors(tree, reach)) > _LARGEST:
            raise setup.refuse(
                "every bond of this network would be within reach of too many others",
                "range",
                options.range,
                "a shorter range",
            )
        near = tree.query_pairs(reach, output_type="ndarray")
        gap = np.linalg.norm(places[near[:, 0]] - places[near[:, 1]], axis=1)
        leak = options.strength * np.exp(-gap / options.range)
        rows, cols = np.concatenate([near, near[:, ::-1]]).T
        n = len(places)
        self._leak = sparse.csr_array((np.concatenate([leak, leak]), (rows, cols)), shape=(n, n))

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        heat = 0.5 * (np.abs(signal.forward) + np.abs(signal.reverse))
        leaked = np.asarray(self._leak @ heat)
        return signal.with_couplings(signal.forward + leaked, signal.reverse + leaked)

    @override
    def truth(self) -> Draws:
        return {"matrix": self._leak.toarray()}


def _places(network: Network, distance: str) -> FloatArray:
    """Return (n_edges, d) where each bond is."""
    middles: FloatArray = network.positions[network.edges].mean(axis=1)
    together = bool(np.ptp(middles, axis=0).max() == 0)
    if distance == "channels" or (distance == "auto" and together):
        return np.arange(network.n_edges, dtype=np.float64)[:, None]
    return middles
