"""Maps of the couplings at several moments on one colour scale, and of their change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from eqp_hw.network.graph import FloatArray, Network

from .canvas import CHANGE_MAP, SIGNED_MAP, new_figure, styled
from .coupling_blocks import Block, coupling_blocks
from .layout import node_layout
from .nodes import add_role_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

__all__ = ["coupling_map"]

_PANEL = 3.1  # inches
_QUANTILE = 0.995  # of |J|, when there are many: one wild coupling must not pale all others
_MANY = 500
_FINE = 110  # cells along the longer side of an image


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
    count = len(moments) + (len(moments) > 1)
    # Fine images get panels twice as large, two by two.
    columns = [2 if block.detail > _FINE and count > 2 else count for block in blocks]
    width = max(_PANEL * max(count, 2), 4.0)
    panels = [
        (width / n * 0.94, width / n / block.aspect)
        for n, block in zip(columns, blocks, strict=True)
    ]
    heights = [
        -(-count // n) * (panel[1] + 0.3) + 0.85 + (0.35 if n < count else 0)
        for n, panel in zip(columns, panels, strict=True)
    ]
    with styled():
        figure = new_figure(width, sum(heights) + 0.3)
        parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, block, n, panel in zip(parts, blocks, columns, panels, strict=True):
            axes = list(part.subplots(-(-count // n), n, squeeze=False).ravel())
            for unused in axes[count:]:
                unused.set_axis_off()
            _draw_block(block, axes[:count], moments, panel, one_row=n == count)
            if len(blocks) > 1:
                part.suptitle(block.title, fontsize=10, x=0.01, ha="left", fontweight="bold")
        if len(blocks) == 1:
            add_role_legend(parts[0], network, node_layout(network))
    return figure


def _draw_block(
    block: Block,
    axes: list[Axes],
    moments: Sequence[tuple[str, FloatArray]],
    panel: tuple[float, float],
    *,
    one_row: bool,
) -> None:
    from matplotlib.colors import Normalize  # noqa: PLC0415

    values = [couplings[block.bonds] for _, couplings in moments]
    limit, clipped = _limit(values)
    maps = axes[: len(moments)]
    shown = [
        block.draw(ax, j, SIGNED_MAP, Normalize(-limit, limit), panel)
        for ax, j in zip(maps, values, strict=True)
    ]
    for ax, (title, _) in zip(maps, moments, strict=True):
        ax.set_title(title)
    extend: Literal["both", "neither"] = "both" if clipped else "neither"
    _bar(shown[-1], maps if one_row else maps[-1:], _label("coupling J", block), extend)
    if len(moments) < 2:
        return
    change = np.abs(values[-1] - values[0])
    largest, clipped = _limit([change])
    changed = block.draw(axes[-1], change, CHANGE_MAP, Normalize(0, largest), panel)
    axes[-1].set_title("Change, end − start")
    _bar(changed, axes[-1:], _label("|ΔJ|", block), "max" if clipped else "neither")


def _bar(
    shown: ScalarMappable,
    axes: list[Axes],
    label: str,
    extend: Literal["both", "max", "neither"],
) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    bar = axes[0].figure.colorbar(
        shown,
        ax=axes,
        location="bottom",
        shrink=0.62 / len(axes) + 0.12,
        aspect=32,
        pad=0.03,
        extend=extend,
    )
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    bar.update_ticks()
    bar.set_label(label)
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
