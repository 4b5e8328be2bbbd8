"""Maps of the couplings at several moments on one colour scale, and of their change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.network.graph import FloatArray, Network

from .canvas import CHANGE_MAP, SIGNED_MAP, new_figure, styled
from .coupling_blocks import Block, coupling_blocks
from .layout import node_layout
from .nodes import add_role_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["coupling_map"]

_PANEL = 3.1  # inches
_QUANTILE = 0.995  # of |J|, when there are many: one wild coupling must not pale all others
_MANY = 500


def coupling_map(
    network: Network,
    moments: Sequence[tuple[str, FloatArray]],
    *,
    image_shape: tuple[int, int] | None = None,
) -> Figure:
    """Draw the couplings at several moments, and |ΔJ| between the first and the last.

    Parameters
    ----------
    network
        The graph.
    moments
        At least one (title, J) with J of each bond, (n_edges,).
    image_shape
        (rows, columns) of the image that the inputs are, if they are one; the couplings of
        the first layer then show as receptive fields.

    Returns
    -------
    One row of panels for each block of couplings; all moments of a row share one colour
    scale, symmetric about 0.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    blocks = coupling_blocks(network, image_shape)
    n_columns = len(moments) + (len(moments) > 1)
    heights = [_PANEL / block.aspect for block in blocks]
    with styled():
        figure = new_figure(max(_PANEL * n_columns, 4.0), sum(heights) + 0.85 * len(blocks) + 0.4)
        rows = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
        for k, (row, block) in enumerate(zip(rows, blocks, strict=True)):
            panels = list(row.subplots(1, n_columns, squeeze=False)[0])
            _draw_row(block, panels, moments, first=k == 0)
            if len(blocks) > 1:
                row.suptitle(block.title, fontsize=10, x=0.01, ha="left", fontweight="bold")
        if len(blocks) == 1:
            add_role_legend(rows[0], network, node_layout(network))
    return figure


def _draw_row(
    block: Block, panels: list[Axes], moments: Sequence[tuple[str, FloatArray]], *, first: bool
) -> None:
    from matplotlib.colors import Normalize  # noqa: PLC0415

    size = (_PANEL * 0.92, _PANEL / block.aspect)
    values = [couplings[block.bonds] for _, couplings in moments]
    limit, clipped = _limit(values)
    shown = None
    for axes, (title, _), j in zip(panels, moments, values, strict=False):
        shown = block.draw(axes, j, SIGNED_MAP, Normalize(-limit, limit), size)
        axes.set_title(title)
    if shown is None:
        return
    figure = panels[0].figure
    signed = panels[: len(moments)]
    extend = "both" if clipped else "neither"
    bar = figure.colorbar(
        shown,
        ax=signed,
        location="bottom",
        shrink=0.62 / len(signed) + 0.12,
        aspect=32,
        pad=0.03,
        extend=extend,
    )
    bar.set_label(_label("coupling J", block))
    bar.outline.set_visible(False)
    if len(moments) < 2:
        return
    change = np.abs(values[-1] - values[0])
    largest, clipped = _limit([change])
    shown = block.draw(panels[-1], change, CHANGE_MAP, Normalize(0, largest), size)
    panels[-1].set_title("Change, end − start")
    bar = figure.colorbar(
        shown,
        ax=[panels[-1]],
        location="bottom",
        shrink=0.74,
        aspect=32,
        pad=0.03,
        extend="max" if clipped else "neither",
    )
    bar.set_label(_label("|ΔJ|", block))
    bar.outline.set_visible(False)


def _label(quantity: str, block: Block) -> str:
    return f"{quantity}, {block.title}" if block.title.startswith("mean") else quantity


def _limit(values: Sequence[FloatArray]) -> tuple[float, bool]:
    """Return the common limit of |values|, and whether some lie beyond it."""
    every = np.abs(np.concatenate(values))
    every = every[np.isfinite(every)]
    if not len(every) or every.max() == 0:
        return 1.0, False
    if len(every) < _MANY:
        return float(every.max()), False
    limit = float(np.quantile(every, _QUANTILE))
    return (limit, True) if limit > 0 else (float(every.max()), False)
