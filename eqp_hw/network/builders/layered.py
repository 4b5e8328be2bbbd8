"""Dense layered networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders._assembly import BondBlocks, dense_bonds
from eqp_hw.network.builders._checks import check_size, is_list, whole_number
from eqp_hw.network.graph import FloatArray, Network

__all__ = ["layered"]


def layered(sizes: Sequence[int]) -> Network:
    """Couple every node of a layer to every node of the next.

    Parameters
    ----------
    sizes
        Nodes in each layer, e.g. ``[64, 200, 10]``. The first layer is the input, the last
        the output.

    Returns
    -------
    Network with the kinds "layer0-layer1", "layer1-layer2" ..., the layers drawn as columns.

    Raises
    ------
    NetworkError
        Fewer than two layers, or a layer without nodes.
    """
    if not is_list(sizes) or len(sizes) < 2:
        raise NetworkError(
            "a layered network needs at least two layers",
            field="network.sizes",
            value=sizes,
            allowed="a list of layer sizes, e.g. [64, 200, 10]",
        )
    counts = [whole_number(size, f"network.sizes[{k}]") for k, size in enumerate(sizes)]
    check_size(sum(a * b for a, b in pairwise(counts)), "network.sizes", counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    nodes = [np.arange(a, b) for a, b in pairwise(first)]
    blocks = BondBlocks()
    for k, (lower, upper) in enumerate(pairwise(nodes)):
        blocks.add(dense_bonds(lower, upper), f"layer{k}-layer{k + 1}")
    return blocks.network(
        int(first[-1]),
        nodes[0],
        nodes[-1],
        positions=np.concatenate([_column(count, k) for k, count in enumerate(counts)]),
        layer=np.repeat(np.arange(len(counts)), counts),
        name="layered " + "-".join(map(str, counts)),
    )


def _column(count: int, layer: int) -> FloatArray:
    y = (count - 1) / 2 - np.arange(count)
    return np.stack([np.full(count, float(layer)), y, np.full(count, float(layer))], axis=1)
