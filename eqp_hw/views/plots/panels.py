"""Arrange panels that all show the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network

from .layout import Layout, bond_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PanelGrid", "draw_bonds", "panel_grid"]

_WIDE = 1.5  # width over height from which panels stand two by two
_VERY_WIDE = 2.6  # from which three panels stand one below the other
_MOST_BONDS = 3000


@final
@dataclass(frozen=True)
class PanelGrid:
    """Rows and columns of panels, and their sizes in inches.

    Attributes
    ----------
    rows, columns, count
        Of the grid; the last cells may stay empty.
    panel
        Width and height of one panel.
    size
        Of the figure.
    """

    rows: int
    columns: int
    count: int
    panel: tuple[float, float]
    size: tuple[float, float]

    def axes(self, figure: Figure) -> list[Axes]:
        """Return the panels, row by row."""
        every = list(figure.subplots(self.rows, self.columns, squeeze=False).ravel())
        for unused in every[self.count :]:
            unused.set_axis_off()
        return every[: self.count]

    def bar(self, n_maps: int) -> dict[str, Any]:
        """Return the place of the colour bar shared by the first ``n_maps`` panels."""
        if self.rows > 1:
            return {"location": "right", "shrink": 0.6, "aspect": 32, "pad": 0.02}
        shrink = 0.62 / n_maps + 0.12
        return {"location": "bottom", "shrink": shrink, "aspect": 32, "pad": 0.03}


def panel_grid(layout: Layout, count: int, *, legend: bool, rows: int | None = None) -> PanelGrid:
    """Choose the arrangement of ``count`` panels.

    Parameters
    ----------
    layout
        Of the network.
    count
        Number of panels.
    legend
        Whether room for a legend is needed.
    rows
        Number of rows, if it is given.
    """
    width, height = layout.extent
    aspect = float(np.clip(width / height, 0.5, 3.2)) if layout.equal else 1.1
    n_rows = rows or 1
    if rows is None and aspect > _WIDE and count > 2:
        n_rows = 2 if count % 2 == 0 else count if aspect > _VERY_WIDE else 1
    n_columns = -(-count // n_rows)
    across = 3.1 if n_columns > 2 or n_rows == 1 else 5.4
    panel = (across * 0.92, max(across / aspect, 1.6))
    bar = (0.9, 0.0) if n_rows > 1 else (0.0, 0.75)
    size = (
        max(across * n_columns + bar[0], 4.0),
        (panel[1] + 0.45) * n_rows + bar[1] + (0.3 if legend else 0.0),
    )
    return PanelGrid(n_rows, n_columns, count, panel, size)


def draw_bonds(axes: Axes, network: Network, layout: Layout) -> FloatArray | None:
    """Draw all bonds as faint lines, where nodes stand on a plane and bonds are few.

    Returns the lines, or None where there are none.
    """
    from matplotlib.collections import LineCollection  # noqa: PLC0415

    if layout.kind != "plane" or network.n_edges > _MOST_BONDS:
        return None
    lines = bond_lines(network, layout)
    faint = float(np.clip(250 / network.n_edges, 0.25, 0.7))
    axes.add_collection(LineCollection(list(lines), colors="#c9cdd3", linewidths=faint, zorder=1))
    return lines
