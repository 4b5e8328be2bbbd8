"""Locally connected layer (LCL): windows without weight sharing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eqp_hw.network.builders._assembly import BondBlocks, dense_bonds
from eqp_hw.network.builders._checks import check_size, grid_shape, whole_number
from eqp_hw.network.builders._grid import (
    Intra,
    grid_bonds,
    grid_positions,
    intra_offsets,
    window_bonds,
    windowed_shape,
)
from eqp_hw.network.graph import FloatArray, Network

__all__ = ["locally_connected", "output_row"]


def locally_connected(
    input_shape: Sequence[int],
    window: int,
    n_outputs: int,
    stride: int = 1,
    intra: Intra = "none",
) -> Network:
    """Couple each hidden node to its own window of the input, and all hidden nodes to outputs.

    Every bond has its own coupling. With 28 x 28 inputs, window 6 and stride 1 the hidden
    layer has 23 x 23 nodes and 19 044 input couplings (arXiv 2601.21945, MNIST).

    Parameters
    ----------
    input_shape
        [rows, columns] of the input; features are taken row by row.
    window
        Side of the square window.
    n_outputs
        Number of outputs, densely coupled to the hidden layer.
    stride
        Shift from one window to the next; windows must cover the input exactly.
    intra
        Bonds inside the hidden layer: "none", "nearest" (the paper's '+SQ'), "4-shells"
        (neighbours up to the fourth distance, our reading of '+4NSQ'), or a list of
        [rows, columns] offsets.

    Returns
    -------
    Network with the kinds "layer0-layer1", "layer1-layer2" and "intra-layer1".

    Raises
    ------
    NetworkError
        A window, stride or offset that does not fit the input.
    """
    shape = grid_shape(input_shape, "network.input_shape")
    check_size(shape[0] * shape[1], "network.input_shape", list(shape))
    hidden_shape = windowed_shape(shape, window, stride)
    n_out = whole_number(n_outputs, "network.n_outputs")
    n_in, n_hidden = shape[0] * shape[1], hidden_shape[0] * hidden_shape[1]
    offsets = intra_offsets(intra, hidden_shape, "network.intra")
    n_bonds = n_hidden * (window**2 + n_out + len(offsets))
    check_size(n_bonds, "network.input_shape", list(shape))
    below, above, _ = window_bonds(shape, window, stride)
    blocks = BondBlocks()
    blocks.add(np.stack([below, above + n_in], axis=1), "layer0-layer1")
    hidden = np.arange(n_in, n_in + n_hidden)
    outputs = np.arange(n_in + n_hidden, n_in + n_hidden + n_out)
    blocks.add(dense_bonds(hidden, outputs), "layer1-layer2")
    for offset in offsets:
        blocks.add(grid_bonds(hidden_shape, offset) + n_in, "intra-layer1")
    middle = (window - 1) / 2
    return blocks.network(
        n_in + n_hidden + n_out,
        np.arange(n_in),
        outputs,
        positions=np.concatenate(
            [
                grid_positions(shape, 0),
                grid_positions(hidden_shape, 1, step=stride, shift=(middle, middle)),
                output_row(n_out, shape, 2),
            ]
        ),
        layer=np.repeat([0, 1, 2], [n_in, n_hidden, n_out]),
        name=f"locally connected {shape[0]} x {shape[1]}, window {window}, stride {stride}, "
        f"{n_out} outputs, intra {intra if isinstance(intra, str) else len(offsets)}",
    )


def output_row(count: int, shape: tuple[int, int], layer: int) -> FloatArray:
    """Return (count, 3) coordinates of outputs, spread over the middle row of a grid."""
    x = (np.arange(count) + 0.5) * shape[1] / count - 0.5
    return np.stack([x, np.full(count, -(shape[0] - 1) / 2), np.full(count, float(layer))], axis=1)
