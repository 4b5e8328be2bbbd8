"""Maps of how strongly each node answers a torque on the outputs, and how that decays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from eqp_hw.network.graph import FloatArray, IntArray, Network

from .canvas import FAINT, INK, PALETTE, RESPONSE_MAP, add_note, new_figure, styled, whole_ticks
from .layout import Layout, node_layout
from .nodes import add_role_legend, draw_nodes, frame, marker_diameter
from .panels import PanelGrid, draw_bonds, panel_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["distance_to_outputs", "response_map", "response_strength"]

_DECADES = 6.0  # what lies further below the largest response is drawn as if at that limit
_MOMENT_COLOURS = ("#9a9a9a", PALETTE["orange"], PALETTE["blue"])


def response_strength(network: Network, chi: FloatArray) -> FloatArray:
    """Return the largest |χ| of each node over the outputs, (N,).

    NaN at the inputs, which are clamped and cannot answer, and where nothing is known.

    Parameters
    ----------
    network
        The graph.
    chi
        (N, n_outputs) responses.
    """
    size = np.abs(np.asarray(chi, dtype=np.float64))
    strength = np.full(network.n_nodes, np.nan)
    known = np.isfinite(size).any(axis=1)
    strength[known] = np.nanmax(size[known], axis=1)
    strength[network.inputs] = np.nan
    return strength


def distance_to_outputs(network: Network) -> FloatArray:
    """Return the number of bonds from each node to the nearest output, (N,)."""
    n, (i, j) = network.n_nodes, network.edges.T
    graph = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return np.asarray(
        csgraph.dijkstra(
            graph, directed=False, indices=network.outputs, unweighted=True, min_only=True
        )
    )


def response_map(network: Network, moments: Sequence[tuple[str, FloatArray]]) -> Figure:
    """Draw the responses χ at several moments, and their decay with distance.

    Parameters
    ----------
    network
        The graph.
    moments
        At least one (title, χ), χ (N, n_outputs): phase shift of each node a unit torque on
        each output, rad. Drawn is the largest |χ| over the outputs, on one logarithmic
        colour scale.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    from_outputs = distance_to_outputs(network)
    far = len(np.unique(from_outputs[network.free])) > 2
    strengths = [response_strength(network, chi) for _, chi in moments]
    layout = node_layout(network, input_sheet=False)  # clamped: nothing to show
    with styled():
        from matplotlib.colors import LogNorm  # noqa: PLC0415
        from matplotlib.ticker import FuncFormatter, LogLocator  # noqa: PLC0415

        grid = panel_grid(layout, len(moments) + far, legend=layout.kind == "plane")
        figure = new_figure(*grid.size)
        panels = grid.axes(figure)
        low, high = _range(strengths)
        shown = None
        maps = panels[: len(moments)]
        for axes, (title, _), strength in zip(maps, moments, strengths, strict=True):
            shown = _map(axes, network, layout, strength, LogNorm(low, high), grid) or shown
            axes.set_title(title)
        if shown is not None:
            several = len(network.outputs) > 1
            bar = figure.colorbar(shown, ax=maps, **grid.bar(len(maps)))
            if high < 100 * low:
                # The default would label minor ticks too, which run into each other.
                bar.locator = LogLocator(subs=(1.0, 2.0, 5.0))
                bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
            bar.minorticks_off()
            bar.set_label(f"response |χ|{', largest over outputs' if several else ''} (rad)")
            bar.outline.set_visible(False)
        if far:
            titles = [title for title, _ in moments]
            _decay(panels[len(moments)], network, from_outputs, strengths, titles, low)
        add_role_legend(figure, network, layout)
    return figure


def _range(strengths: Sequence[FloatArray]) -> tuple[float, float]:
    values = np.concatenate(strengths)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 1.0
    high = float(values.max())
    low = max(float(values.min()), high * 10.0**-_DECADES)
    return (low, high) if low < high / 2 else (high / 2, high)


def _map(
    axes: Axes, network: Network, layout: Layout, strength: FloatArray, norm: Any, grid: PanelGrid
) -> Any:
    if not np.isfinite(strength).any():
        add_note(axes, "no probe sample\nsettled")
        axes.set_axis_off()
        return None
    diameter = marker_diameter(layout, grid.panel)
    # Zero has no logarithm, and is as dark as the scale goes.
    values = np.where(np.isfinite(strength), np.maximum(strength, norm.vmin), np.nan)
    lines = draw_bonds(axes, network, layout)
    shown = draw_nodes(axes, network, layout, values, RESPONSE_MAP, norm, diameter)
    frame(axes, network, layout, lines)
    return shown


def _decay(
    axes: Axes,
    network: Network,
    from_outputs: FloatArray,
    strengths: Sequence[FloatArray],
    titles: Sequence[str],
    low: float,
) -> None:
    free = network.free
    colours = _MOMENT_COLOURS[-len(strengths) :] if len(strengths) <= 3 else [INK] * len(strengths)
    lines = (":", "--", "-")[-len(strengths) :]
    highest = low
    for colour, line, strength, title in zip(colours, lines, strengths, titles, strict=False):
        distance, bottom, median, top = _by_distance(from_outputs[free], strength[free])
        if not len(distance):
            continue
        axes.fill_between(
            distance, np.maximum(bottom, low), np.maximum(top, low), color=colour, alpha=0.18, lw=0
        )
        axes.plot(
            distance,
            np.maximum(median, low),
            line,
            color=colour,
            marker="o",
            ms=3,
            label=title.split(" (")[0].lower(),
        )
        highest = max(highest, float(top.max()))
    axes.set(
        title="Decay", xlabel="bonds to the nearest output", ylabel="|χ| (rad), median, 10–90 %"
    )
    whole_ticks(axes.xaxis)
    axes.grid(visible=True, color="#dfe2e6")
    axes.tick_params(color=FAINT)
    if highest > low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.4, highest * 1.4)
        axes.legend(loc="best")


def _by_distance(
    distance: FloatArray, values: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    known = np.isfinite(values) & np.isfinite(distance)
    places: IntArray = np.unique(distance[known]).astype(np.int64)
    parts = [values[known & (distance == place)] for place in places]
    quantiles = np.array([np.quantile(part, (0.1, 0.5, 0.9)) for part in parts]).reshape(-1, 3)
    return places.astype(np.float64), quantiles[:, 0], quantiles[:, 1], quantiles[:, 2]
