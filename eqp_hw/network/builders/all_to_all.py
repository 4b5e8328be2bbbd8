"""All-to-all networks."""

from __future__ import annotations

import numpy as np

from eqp_hw.network.builders._assembly import BondBlocks
from eqp_hw.network.builders._checks import check_size, whole_number
from eqp_hw.network.builders._placement import ListPlacement, place_in_list
from eqp_hw.network.graph import Network

__all__ = ["all_to_all"]


def all_to_all(n_nodes: int, inputs: ListPlacement, outputs: ListPlacement) -> Network:
    """Couple every pair of nodes.

    Parameters
    ----------
    n_nodes
        Number of nodes, inputs and outputs included.
    inputs
        Input nodes: how many (the first ones), or a list of node numbers.
    outputs
        Output nodes: how many (the last ones), or a list of node numbers.

    Returns
    -------
    Network of n_nodes·(n_nodes−1)/2 bonds of the kind "coupling", nodes on a circle. Bonds
    between two inputs are part of it; they have no effect while both ends are clamped.

    Raises
    ------
    NetworkError
        A count or node that does not fit, or a node that is both input and output.
    """
    n = whole_number(n_nodes, "network.n_nodes", minimum=2)
    check_size(n * (n - 1) // 2, "network.n_nodes", n)
    blocks = BondBlocks()
    blocks.add(np.stack(np.triu_indices(n, 1), axis=1), "coupling")
    return blocks.network(
        n,
        place_in_list(inputs, n, "network.inputs", "first"),
        place_in_list(outputs, n, "network.outputs", "last"),
        name=f"all-to-all, {n} nodes",
    )
