"""The one shape of windowed networks: input grid, hidden maps that see it by windows, outputs."""

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

__all__ = ["windowed_network"]


def windowed_network(
    kind: str,
    input_shape: Sequence[int],
    window: int,
    n_outputs: int,
    stride: int,
    intra: Intra,
    *,
    channels: int,
    shared: bool,
) -> Network:
    """Build a windowed network; the options are those of the public builders.

    Parameters
    ----------
    kind
        First words of the network's name.
    channels
        Number of hidden maps.
    shared
        Whether the windows of a map share their couplings, and its bonds of one offset
        another; else every bond has its own.
    """
    shape = grid_shape(input_shape, "network.input_shape")
    check_size(shape[0] * shape[1], "network.input_shape", list(shape))
    map_shape = windowed_shape(shape, window, stride)
    n_maps = whole_number(channels, "network.channels")
    n_out = whole_number(n_outputs, "network.n_outputs")
    n_in, n_map = shape[0] * shape[1], map_shape[0] * map_shape[1]
    n_hidden = n_maps * n_map
    offsets = intra_offsets(intra, map_shape, "network.intra")
    n_bonds = n_hidden * (window**2 + n_out + len(offsets))
    if shared:
        check_size(n_bonds, "network.channels", n_maps)
    else:
        check_size(n_bonds, "network.input_shape", list(shape))

    first_of_map = [n_in + number * n_map for number in range(n_maps)]
    below, above, place = window_bonds(shape, window, stride)
    blocks = BondBlocks()
    for first in first_of_map:
        pairs = np.stack([below, above + first], axis=1)
        blocks.add(pairs, "layer0-layer1", place if shared else None)
    hidden = np.arange(n_in, n_in + n_hidden)
    outputs = np.arange(n_in + n_hidden, n_in + n_hidden + n_out)
    blocks.add(dense_bonds(hidden, outputs), "layer1-layer2")
    for first in first_of_map:
        for offset in offsets:
            pairs = grid_bonds(map_shape, offset) + first
            one = np.zeros(len(pairs), dtype=np.int64)
            blocks.add(pairs, "intra-layer1", one if shared else None)

    counted = f"{n_maps} channels, " if shared else ""
    return blocks.network(
        n_in + n_hidden + n_out,
        np.arange(n_in),
        outputs,
        positions=np.concatenate(
            [
                grid_positions(shape, 0),
                *_map_positions(map_shape, window, stride, n_maps),
                _output_row(n_out, shape),
            ]
        ),
        layer=np.repeat([0, 1, 2], [n_in, n_hidden, n_out]),
        name=f"{kind} {shape[0]} x {shape[1]}, window {window}, stride {stride}, "
        f"{counted}{n_out} outputs, intra {intra if isinstance(intra, str) else len(offsets)}",
    )


def _map_positions(
    shape: tuple[int, int], window: int, stride: int, n_maps: int
) -> list[FloatArray]:
    """Return coordinates of each map: side by side, one column apart, centred over the input."""
    middle = (window - 1) / 2
    pitch = stride * shape[1] + 1.0
    return [
        grid_positions(
            shape, 1, step=stride, shift=(middle + pitch * (number - (n_maps - 1) / 2), middle)
        )
        for number in range(n_maps)
    ]


def _output_row(count: int, shape: tuple[int, int]) -> FloatArray:
    """Return (count, 3) coordinates of outputs, spread over the middle row of the input."""
    x = (np.arange(count) + 0.5) * shape[1] / count - 0.5
    return np.stack([x, np.full(count, -(shape[0] - 1) / 2), np.full(count, 2.0)], axis=1)
