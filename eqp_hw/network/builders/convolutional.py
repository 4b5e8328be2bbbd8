"""CNN-like networks: windows with shared couplings and several channels."""

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
from eqp_hw.network.builders.locally_connected import output_row
from eqp_hw.network.graph import Network

__all__ = ["convolutional"]


def convolutional(
    input_shape: Sequence[int],
    window: int,
    channels: int,
    n_outputs: int,
    stride: int = 1,
    intra: Intra = "none",
) -> Network:
    """Slide one kernel a channel over the input; hidden nodes are densely coupled to outputs.

    All windows of a channel share their window² couplings, whose gradient is the sum over
    the bonds that use them. Bias fields are not shared.

    Parameters
    ----------
    input_shape
        [rows, columns] of the input; features are taken row by row.
    window
        Side of the square kernel.
    channels
        Number of kernels; each has its own hidden grid.
    n_outputs
        Number of outputs.
    stride
        Shift from one window to the next; windows must cover the input exactly.
    intra
        Bonds inside each channel, as in `locally_connected`; all bonds of a channel with
        the same offset share one coupling.

    Returns
    -------
    Network with the kinds "layer0-layer1", "layer1-layer2" and "intra-layer1"; hidden nodes
    are numbered channel by channel.

    Raises
    ------
    NetworkError
        A window, stride or offset that does not fit the input.
    """
    shape = grid_shape(input_shape, "network.input_shape")
    check_size(shape[0] * shape[1], "network.input_shape", list(shape))
    hidden_shape = windowed_shape(shape, window, stride)
    n_channels = whole_number(channels, "network.channels")
    n_out = whole_number(n_outputs, "network.n_outputs")
    n_in, n_map = shape[0] * shape[1], hidden_shape[0] * hidden_shape[1]
    n_hidden = n_channels * n_map
    offsets = intra_offsets(intra, hidden_shape, "network.intra")
    n_bonds = n_hidden * (window**2 + n_out + len(offsets))
    check_size(n_bonds, "network.channels", n_channels)
    below, above, place = window_bonds(shape, window, stride)
    blocks = BondBlocks()
    for channel in range(n_channels):
        hidden_map = above + n_in + channel * n_map
        blocks.add(np.stack([below, hidden_map], axis=1), "layer0-layer1", place)
    hidden = np.arange(n_in, n_in + n_hidden)
    outputs = np.arange(n_in + n_hidden, n_in + n_hidden + n_out)
    blocks.add(dense_bonds(hidden, outputs), "layer1-layer2")
    for channel in range(n_channels):
        for offset in offsets:
            pairs = grid_bonds(hidden_shape, offset) + n_in + channel * n_map
            blocks.add(pairs, "intra-layer1", np.zeros(len(pairs), dtype=np.int64))
    middle = (window - 1) / 2
    # Maps stand side by side, one column apart, centred over the input.
    pitch = stride * hidden_shape[1] + 1.0
    maps = [
        grid_positions(
            hidden_shape,
            1,
            step=stride,
            shift=(middle + pitch * (channel - (n_channels - 1) / 2), middle),
        )
        for channel in range(n_channels)
    ]
    return blocks.network(
        n_in + n_hidden + n_out,
        np.arange(n_in),
        outputs,
        positions=np.concatenate([grid_positions(shape, 0), *maps, output_row(n_out, shape, 2)]),
        layer=np.repeat([0, 1, 2], [n_in, n_hidden, n_out]),
        name=f"convolutional {shape[0]} x {shape[1]}, window {window}, stride {stride}, "
        f"{n_channels} channels, {n_out} outputs, "
        f"intra {intra if isinstance(intra, str) else len(offsets)}",
    )
