"""Maps of the free phases of a few samples, on a cyclic colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray, Network

from .canvas import FAINT, INK, PHASE_MAP, new_figure, styled
from .layout import Layout, node_layout
from .nodes import add_role_legend, draw_nodes, frame, marker_diameter
from .panels import draw_bonds, panel_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

__all__ = ["phase_map", "pick_samples", "wrapped"]

_MOST_ARROWS = 150


def wrapped(phases: FloatArray) -> FloatArray:
    """Return phases in [−π, π), rad."""
    return np.asarray((phases + np.pi) % (2 * np.pi) - np.pi)


def pick_samples(labels: IntArray, count: int = 4) -> IntArray:
    """Return up to ``count`` samples: first one of each class, then others, in their order."""
    _, first = np.unique(labels, return_index=True)
    others = np.setdiff1d(np.arange(len(labels)), first)
    return np.sort(np.concatenate([np.sort(first), others])[:count]).astype(np.int64)


def phase_map(
    network: Network,
    moments: Sequence[tuple[str, FloatArray]],
    targets: FloatArray,
    sample_titles: Sequence[str],
) -> Figure:
    """Draw the phases of all nodes: one column a sample, one row a moment.

    Parameters
    ----------
    network
        The graph.
    moments
        At least one (title, phases), phases (k, N) rad.
    targets
        (k, n_outputs) target phases, rad, drawn as rings around the outputs.
    sample_titles
        k titles.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    layout = node_layout(network)
    k = len(sample_titles)
    with styled():
        from matplotlib.colors import Normalize  # noqa: PLC0415

        grid = panel_grid(
            layout, k * len(moments), legend=layout.kind == "plane", rows=len(moments)
        )
        figure = new_figure(*grid.size, gap=0.08 if layout.kind == "sheets" else 0.02)
        panels = np.array(grid.axes(figure), dtype=object).reshape(len(moments), k)
        norm = Normalize(-np.pi, np.pi)
        diameter = marker_diameter(layout, grid.panel)
        shown = None
        for k_row, (row, (moment, phases)) in enumerate(zip(panels, moments, strict=True)):
            for axes, angles, goal, title in zip(
                row, wrapped(phases), wrapped(targets), sample_titles, strict=True
            ):
                lines = draw_bonds(axes, network, layout)
                shown = draw_nodes(axes, network, layout, angles, PHASE_MAP, norm, diameter)
                _rings(axes, network, layout, goal, norm, diameter)
                _arrows(axes, network, layout, angles, diameter)
                frame(axes, network, layout, lines)
                if k_row == 0:
                    axes.set_title(title, parse_math=False)
            row[0].text(
                -0.04,
                0.5,
                moment,
                transform=row[0].transAxes,
                rotation=90,
                ha="right",
                va="center",
                color=FAINT,
            )
        if shown is not None:
            bar = figure.colorbar(
                shown,
                ax=list(panels.ravel()),
                location="right",
                aspect=32,
                pad=0.02,
                shrink=0.9 if len(moments) == 1 else 0.6,
            )
            bar.set_ticks(
                [-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], labels=["−π", "−π/2", "0", "π/2", "π"]
            )
            bar.set_label("phase φ (rad)")
            bar.outline.set_visible(False)
        add_role_legend(figure, network, layout)
    return figure


def _rings(
    axes: Axes,
    network: Network,
    layout: Layout,
    goal: FloatArray,
    norm: Normalize,
    diameter: float,
) -> None:
    """Draw each output's target as a ring: ring and node of one colour is a hit."""
    import matplotlib as mpl  # noqa: PLC0415

    if goal.shape != network.outputs.shape:  # targets that are not one an output
        return
    xy, colours = layout.xy[network.outputs], mpl.colormaps[PHASE_MAP](norm(goal))
    if layout.kind == "plane":
        axes.scatter(
            xy[:, 0],
            xy[:, 1],
            s=(1.75 * diameter) ** 2,
            facecolors="none",
            edgecolors=colours,
            linewidths=max(0.22 * diameter, 1.2),
            zorder=2.5,
        )
        return
    # Beside the column of outputs, a second column of what is asked for.
    axes.scatter(xy[:, 0] + 1.15, xy[:, 1], c=colours, marker="o", s=diameter**2, clip_on=False)


def _arrows(
    axes: Axes, network: Network, layout: Layout, angles: FloatArray, diameter: float
) -> None:
    if layout.kind != "plane" or network.n_nodes > _MOST_ARROWS or diameter < 5:
        return
    known = np.isfinite(angles)
    xy, angle = layout.xy[known], angles[known]
    length = 0.88 * diameter / 72  # inches: the same on the page whatever the scale of the axes
    axes.quiver(
        xy[:, 0],
        xy[:, 1],
        length * np.cos(angle),
        length * np.sin(angle),
        angles="uv",
        pivot="mid",
        units="inches",
        scale_units="inches",
        scale=1.0,
        width=0.11 * diameter / 72,
        headwidth=3.6,
        headlength=3.6,
        headaxislength=3.2,
        minlength=0,
        color=INK,
        # A white rim: readable on the dark and on the light end of the scale.
        edgecolors="white",
        linewidths=0.045 * diameter,
        zorder=4,
    )
