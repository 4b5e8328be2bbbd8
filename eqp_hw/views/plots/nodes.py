"""Draw one value a node: markers on a plane, or cells on sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray, Network

from .canvas import FAINT, INK
from .layout import Layout, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

__all__ = [
    "MOST_MARKERS",
    "add_role_legend",
    "draw_node_numbers",
    "draw_nodes",
    "frame",
    "marker_diameter",
    "sheet_title",
]

MOST_MARKERS = 1500
"""Nodes up to which each gets a marker of its own on a plane; beyond, cells are drawn."""

_MOST_POLYGONS = 6000  # beyond, cells are drawn as one image
_MOST_APART = 500  # cells up to which they stand apart
_MOST_NUMBERS = 30
_MISSING = "#e9ebee"
_MARKERS = {"inputs": "s", "hidden": "o", "outputs": "^"}
_SIZE = {"inputs": 0.95, "hidden": 1.0, "outputs": 1.2}


def marker_diameter(layout: Layout, panel: tuple[float, float]) -> float:
    """Return the diameter of a node, in points, that fits a panel (inches)."""
    width, height = layout.extent
    room = 72 * min(panel[0] / width, panel[1] / height)
    return float(np.clip(0.5 * room, 2.2, 17.0))


def draw_nodes(
    axes: Axes,
    network: Network,
    layout: Layout,
    values: FloatArray | None,
    cmap: str,
    norm: Normalize | None,
    diameter: float,
) -> ScalarMappable | None:
    """Draw all nodes, coloured by ``values`` (N,), or white where there are none.

    Returns what a colour bar needs; None without values.
    """
    if layout.kind == "plane" and network.n_nodes <= MOST_MARKERS:
        return _markers(axes, network, layout, values, cmap, norm, diameter)
    if values is None:
        return None
    return _cells(axes, network, layout, values, cmap, norm)


def _colours(cmap: str) -> Any:
    import matplotlib as mpl  # noqa: PLC0415

    return mpl.colormaps[cmap].with_extremes(bad=_MISSING)


def _markers(
    axes: Axes,
    network: Network,
    layout: Layout,
    values: FloatArray | None,
    cmap: str,
    norm: Normalize | None,
    diameter: float,
) -> ScalarMappable | None:
    mappable = None
    for role, marker in _MARKERS.items():
        nodes: IntArray = getattr(network, role)
        if not len(nodes):
            continue
        xy = layout.xy[nodes]
        size = (diameter * _SIZE[role]) ** 2
        edge: dict[str, Any] = {
            "marker": marker,
            "s": size,
            "edgecolors": INK,
            "linewidths": 0.25 + diameter / 24,
        }
        if values is None:
            axes.scatter(xy[:, 0], xy[:, 1], color="white", zorder=3, **edge)
        else:
            mappable = axes.scatter(
                xy[:, 0],
                xy[:, 1],
                c=values[nodes],
                cmap=_colours(cmap),
                norm=norm,
                plotnonfinite=True,
                zorder=3,
                **edge,
            )
    return mappable


def _cells(
    axes: Axes,
    network: Network,
    layout: Layout,
    values: FloatArray,
    cmap: str,
    norm: Normalize | None,
) -> ScalarMappable:
    from matplotlib.collections import PolyCollection  # noqa: PLC0415

    if network.n_nodes > _MOST_POLYGONS:
        return _raster_image(axes, layout, values, cmap, norm)
    shown = np.flatnonzero(np.isfinite(layout.xy).all(axis=1))
    apart = network.n_nodes <= _MOST_APART
    half = 0.46 if apart else 0.5
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    cells = PolyCollection(
        list(layout.xy[shown][:, None] + corners),
        array=values[shown],
        linewidths=0,
        antialiaseds=apart,  # gaps narrower than a pixel would come and go
    )
    cells.set(cmap=_colours(cmap), norm=norm)
    axes.add_collection(cells)
    return cells


def _raster_image(
    axes: Axes, layout: Layout, values: FloatArray, cmap: str, norm: Normalize | None
) -> ScalarMappable:
    shown = np.flatnonzero(np.isfinite(layout.xy).all(axis=1))
    low = layout.xy[shown].min(axis=0)
    cell = np.rint(layout.xy[shown] - low).astype(np.int64)
    columns, rows = cell.max(axis=0) + 1
    image = np.full((rows, columns), np.nan)
    image[cell[:, 1], cell[:, 0]] = values[shown]
    extent = (low[0] - 0.5, low[0] + columns - 0.5, low[1] - 0.5, low[1] + rows - 0.5)
    return axes.imshow(
        image,
        origin="lower",
        extent=extent,
        cmap=_colours(cmap),
        norm=norm,
        aspect="auto",
    )


def frame(axes: Axes, network: Network, layout: Layout, lines: FloatArray | None = None) -> None:
    """Set limits (around ``lines`` too) and scale, hide the axes, and name the sheets."""
    low = np.nanmin(layout.xy, axis=0) - layout.margin
    high = np.nanmax(layout.xy, axis=0) + layout.margin
    if lines is not None:
        low = np.minimum(low, np.nanmin(lines, axis=(0, 1)) - 0.1)
        high = np.maximum(high, np.nanmax(lines, axis=(0, 1)) + 0.1)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_aspect("equal" if layout.equal else "auto")
    axes.set_axis_off()
    for sheet in layout.sheets:
        middle = (layout.xy[sheet.nodes, 0].min() + layout.xy[sheet.nodes, 0].max()) / 2
        axes.annotate(
            sheet_title(network, sheet),
            (middle, layout.xy[sheet.nodes, 1].min() - 0.5),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7.5,
            color=INK,
            annotation_clip=False,
        )


def sheet_title(network: Network, sheet: Sheet) -> str:
    """Return "inputs", "outputs" or "layer k"."""
    for role in ("inputs", "outputs"):
        if np.isin(sheet.nodes, getattr(network, role)).all():
            return role
    return f"layer {sheet.layer}"


def draw_node_numbers(axes: Axes, network: Network, layout: Layout, diameter: float) -> None:
    """Write the node numbers into the markers of a small network."""
    if layout.kind != "plane" or network.n_nodes > _MOST_NUMBERS or diameter < 10:
        return
    outputs = set(network.outputs.tolist())
    for node, (x, y) in enumerate(layout.xy):
        axes.annotate(
            str(node),
            (x, y),
            # The centre of a triangle lies lower than the middle of its height.
            xytext=(0, -0.09 * diameter if node in outputs else 0),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=min(0.52 * diameter, 8),
            zorder=4,
        )


def add_role_legend(figure: Figure, network: Network, layout: Layout) -> None:
    """Explain the markers above the panels."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    if layout.kind != "plane" or network.n_nodes > MOST_MARKERS:
        return
    names = {"inputs": "input (clamped)", "hidden": "hidden", "outputs": "output"}
    handles = [
        Line2D([], [], ls="", marker=marker, mfc="white", mec=INK, ms=6, label=names[role])
        for role, marker in _MARKERS.items()
        if len(getattr(network, role))
    ]
    figure.legend(
        handles=handles, loc="outside upper right", ncols=3, labelcolor=FAINT, handletextpad=0.1
    )
