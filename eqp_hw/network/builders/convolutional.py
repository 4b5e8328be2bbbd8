"""CNN-like networks: windows with shared couplings and several channels."""

from __future__ import annotations

from collections.abc import Sequence

from eqp_hw.network.builders._grid import Intra
from eqp_hw.network.builders._windowed import windowed_network
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
    return windowed_network(
        "convolutional",
        input_shape,
        window,
        n_outputs,
        stride,
        intra,
        channels=channels,
        shared=True,
    )
