"""Stacked lattices: several square lattices, joined by local windows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders._assembly import BondBlocks
from eqp_hw.network.builders._checks import check_size, grid_shape, is_list, whole_number
from eqp_hw.network.builders._grid import Intra, grid_bonds, grid_positions, intra_offsets
from eqp_hw.network.builders._placement import GridPlacement, place_on_grid
from eqp_hw.network.graph import IntArray, Network

__all__ = ["stacked_lattices"]


def stacked_lattices(
    shapes: Sequence[Sequence[int]],
    window: int = 3,
    inputs: GridPlacement = "all",
    outputs: GridPlacement = "all",
    intra: Intra = "nearest",
) -> Network:
    """Stack square lattices; each node sees a window of the layer below.

    The window of a node lies around the point of the layer below that is at the same
    relative place, moved inwards at the edges so that all windows are whole.

    Parameters
    ----------
    shapes
        [rows, columns] of each layer, e.g. ``[[8, 8], [6, 6], [3, 3]]``.
    window
        Side of the window, in nodes of the layer below.
    inputs
        Nodes of the first layer; see `square_lattice`.
    outputs
        Nodes of the last layer, likewise, counted within that layer.
    intra
        Bonds inside each layer: "none", "nearest", "4-shells" (neighbours up to the fourth
        distance), or a list of [rows, columns] offsets. A layer of inputs only has none.

    Returns
    -------
    Network with the kinds "layer0-layer1", "intra-layer1" ..., the layers drawn as planes.

    Raises
    ------
    NetworkError
        A shape, window, offset or node that does not fit.
    """
    if not is_list(shapes) or len(shapes) < 2:
        raise NetworkError(
            "a stack needs at least two layers",
            field="network.shapes",
            value=shapes,
            allowed="a list of [rows, columns], e.g. [[8, 8], [6, 6], [3, 3]]",
        )
    layers = [grid_shape(shape, f"network.shapes[{k}]") for k, shape in enumerate(shapes)]
    check_size(sum(rows * columns for rows, columns in layers), "network.shapes", shapes)
    size = whole_number(window, "network.window", maximum=min(min(shape) for shape in layers[:-1]))
    counts = [rows * columns for rows, columns in layers]
    check_size(size**2 * sum(counts[1:]), "network.shapes", shapes)
    first = np.concatenate([[0], np.cumsum(counts)])
    clamped = place_on_grid(inputs, layers[0], "network.inputs", "left-edge")
    read = place_on_grid(outputs, layers[-1], "network.outputs", "right-edge")
    blocks = BondBlocks()
    for k, (lower, upper) in enumerate(pairwise(layers)):
        below, above = _window_pairs(lower, upper, size)
        pairs = np.stack([below + first[k], above + first[k + 1]], axis=1)
        blocks.add(pairs, f"layer{k}-layer{k + 1}")
    for k, shape in enumerate(layers):
        if k == 0 and len(np.unique(clamped)) == counts[0]:
            continue
        for offset in intra_offsets(intra, shape, "network.intra"):
            blocks.add(grid_bonds(shape, offset) + first[k], f"intra-layer{k}")
    scale = [max(layers[0]) / max(shape) for shape in layers]
    return blocks.network(
        int(first[-1]),
        clamped,
        read + first[-2],
        positions=np.concatenate(
            [
                grid_positions(shape, k, step=step, shift=((step - 1) / 2, (step - 1) / 2))
                for k, (shape, step) in enumerate(zip(layers, scale, strict=True))
            ]
        ),
        layer=np.repeat(np.arange(len(layers)), counts),
        name="stacked lattices "
        + ", ".join(f"{rows} x {columns}" for rows, columns in layers)
        + f", window {size}",
    )


def _window_pairs(
    lower: tuple[int, int], upper: tuple[int, int], window: int
) -> tuple[IntArray, IntArray]:
    starts = [
        _window_start(below, above, window) for below, above in zip(lower, upper, strict=True)
    ]
    span = np.arange(window)
    row = (starts[0][:, None] + span)[:, None, :, None]
    column = (starts[1][:, None] + span)[None, :, None, :]
    below_nodes = row * lower[1] + column
    above_nodes = np.repeat(np.arange(upper[0] * upper[1]), window**2)
    return below_nodes.ravel(), above_nodes


def _window_start(below: int, above: int, window: int) -> IntArray:
    centre = (np.arange(above) + 0.5) * below / above
    start = np.floor(centre - window / 2 + 0.5).astype(np.int64)
    return np.clip(start, 0, below - window)
