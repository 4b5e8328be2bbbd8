"""Locally connected layer (LCL): windows without weight sharing."""

from __future__ import annotations

from collections.abc import Sequence

from eqp_hw.network.builders._grid import Intra
from eqp_hw.network.builders._windowed import windowed_network
from eqp_hw.network.graph import Network

__all__ = ["locally_connected"]


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
    return windowed_network(
        "locally connected",
        input_shape,
        window,
        n_outputs,
        stride,
        intra,
        channels=1,
        shared=False,
    )
