"""Maps of how far the gradient of each bond stands out of its read-out noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.network.graph import FloatArray, Network

from .canvas import RESPONSE_MAP, new_figure, styled
from .coupling_blocks import coupling_blocks
from .layout import node_layout
from .nodes import add_role_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["signal_map", "signal_to_noise"]

_PANEL = 3.4  # inches
_DECADES = (0.1, 1.0, 10.0, 100.0)


def signal_to_noise(gradient: FloatArray, standard_error: FloatArray) -> FloatArray:
    """Return |g|/s of each bond; inf where a gradient has no noise, 0 where there is neither."""
    signal = np.abs(gradient)
    lone = np.where(signal > 0, np.inf, 0.0)
    return np.divide(signal, standard_error, out=lone, where=standard_error > 0)


def signal_map(
    network: Network,
    moments: Sequence[tuple[str, FloatArray]],
    *,
    image_shape: tuple[int, int] | None = None,
) -> Figure:
    """Draw the signal-to-noise ratio of every bond at several moments.

    Parameters
    ----------
    network
        The graph.
    moments
        At least one (title, |g|/s of each bond, (n_edges,)); drawn from .1 to 100, and as
        these where below or above.
    image_shape
        As in `coupling_map`.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    blocks = coupling_blocks(network, image_shape)
    count = len(moments)
    width = max(_PANEL * count, 4.6)
    panels = [(width / count * 0.94, width / count / block.aspect) for block in blocks]
    heights = [panel[1] + 1.1 for panel in panels]
    with styled():
        from matplotlib.colors import Normalize  # noqa: PLC0415

        figure = new_figure(width, sum(heights) + 0.3)
        parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
        norm = Normalize(0, len(_DECADES) - 1)
        for part, block, panel in zip(parts, blocks, panels, strict=True):
            axes = list(part.subplots(1, count, squeeze=False).ravel())
            for ax, (title, ratio) in zip(axes, moments, strict=True):
                ax.set_title(title)
                shown = block.draw(ax, _decades(ratio[block.bonds]), RESPONSE_MAP, norm, panel)
            bar = part.colorbar(
                shown, ax=axes, location="bottom", shrink=0.62 / count + 0.12, aspect=32, pad=0.03
            )
            bar.set_ticks(range(len(_DECADES)), labels=[f"{value:g}" for value in _DECADES])
            bar.set_label("|gradient| / standard error, over the epoch")
            bar.outline.set_visible(False)
            if len(blocks) > 1:
                part.suptitle(block.title, fontsize=10, x=0.01, ha="left", fontweight="bold")
        if len(blocks) == 1:
            add_role_legend(parts[0], network, node_layout(network))
    return figure


def _decades(ratio: FloatArray) -> FloatArray:
    """Return decades above the lowest of the scale; linear in the logarithm."""
    low, high = _DECADES[0], _DECADES[-1]
    return np.log10(np.clip(np.nan_to_num(ratio, posinf=high), low, high) / low)
