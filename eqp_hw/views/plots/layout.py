"""Where the nodes and bonds of a network are drawn.

Two pictures serve all networks. A *plane* draws nodes at their own positions and bonds as
lines: lattices, all-to-all networks, small layered ones. *Sheets* draw each layer as a
raster of cells, side by side: layered networks with many nodes, locally connected layers,
stacks. Their couplings are then shown as matrices or receptive fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from eqp_hw.network.graph import FloatArray, IntArray, Network

__all__ = ["Layout", "Sheet", "bond_lines", "node_layout"]

_TALLEST_COLUMN = 24  # nodes in a layer that are still drawn one above the other
_ON_BOND = 0.08  # a node nearer to a bond than this (in node distances) hides it
_CURVE_POINTS = 13


@final
@dataclass(frozen=True, eq=False)
class Sheet:
    """One layer drawn as a raster of cells.

    Attributes
    ----------
    layer
        Layer number.
    nodes
        (n,) its nodes.
    row, column
        (n,) cell of each node, row 0 on top.
    natural
        Whether the raster is the layer's own grid, rather than a column folded to save room.
    """

    layer: int
    nodes: IntArray
    row: IntArray
    column: IntArray
    natural: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the raster."""
        return int(self.row.max()) + 1, int(self.column.max()) + 1


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """Drawing positions of all nodes.

    Attributes
    ----------
    kind
        "plane" or "sheets".
    xy
        (N, 2); neighbouring nodes are about 1 apart, cells are unit squares. NaN for nodes
        that are not drawn.
    equal
        Whether both axes must have the same scale.
    sheets
        The layers, for "sheets".
    """

    kind: Literal["plane", "sheets"]
    xy: FloatArray
    equal: bool
    sheets: tuple[Sheet, ...] = ()

    @property
    def _span(self) -> FloatArray:
        return np.asarray(np.nanmax(self.xy, axis=0) - np.nanmin(self.xy, axis=0))

    @property
    def margin(self) -> float:
        """Room around the outermost nodes, in node distances."""
        return float(np.clip(0.12 * self._span.max(), 0.25, 0.55))

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height, with the margin on each side."""
        width, height = self._span + 2 * self.margin
        return float(width), float(height)


def node_layout(network: Network, *, input_sheet: bool = True) -> Layout:
    """Choose how to draw ``network``, from its layers, sizes and positions.

    Parameters
    ----------
    network
        The graph.
    input_sheet
        Whether a sheet of inputs only is drawn.
    """
    xy = network.positions[:, :2]
    layers = np.unique(network.layer)
    if len(layers) == 1:
        spacing = _spacing(xy)
        if spacing is not None:
            return Layout("plane", xy / spacing, equal=True)
        angle = np.pi / 2 - 2 * np.pi * np.arange(network.n_nodes) / network.n_nodes
        radius = 1 / (2 * np.sin(np.pi / network.n_nodes))
        ring = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return Layout("plane", ring, equal=True)
    members = [np.flatnonzero(network.layer == layer) for layer in layers]
    columns = all(np.ptp(xy[nodes, 0]) < 1e-9 for nodes in members)
    distinct = _spacing(xy) is not None
    if columns and distinct and max(map(len, members)) <= _TALLEST_COLUMN:
        tallest = max(map(len, members))
        spread = xy * np.array([max(1.0, tallest / (2 * len(members))), 1.0])
        for nodes in members:  # short columns get more room
            spread[nodes, 1] *= min(np.sqrt(tallest / len(nodes)), 2.0)
        return Layout("plane", spread, equal=False)
    kept = [
        (int(layer), nodes)
        for layer, nodes in zip(layers, members, strict=True)
        if input_sheet or not np.isin(nodes, network.inputs).all()
    ]
    return _sheet_layout(network, kept)


def _spacing(xy: FloatArray) -> float | None:
    """Return the usual distance to the nearest node, or None where nodes coincide."""
    nearest = np.asarray(cKDTree(xy).query(xy, k=2)[0])[:, 1]
    typical = float(np.median(nearest))
    return typical if nearest.min() > 1e-6 * max(typical, 1e-12) else None


def _sheet_layout(network: Network, members: list[tuple[int, IntArray]]) -> Layout:
    sheets = tuple(_sheet(layer, nodes, network.positions[nodes, :2]) for layer, nodes in members)
    tallest = max(sheet.shape[0] for sheet in sheets)
    gap = max(2.0, 0.2 * tallest)
    xy = np.full((network.n_nodes, 2), np.nan)
    left = 0.0
    for sheet in sheets:
        rows, columns = sheet.shape
        xy[sheet.nodes, 0] = left + sheet.column
        xy[sheet.nodes, 1] = (rows - 1) / 2 - sheet.row
        left += columns + gap
    return Layout("sheets", xy, equal=True, sheets=sheets)


def _sheet(layer: int, nodes: IntArray, xy: FloatArray) -> Sheet:
    n = len(nodes)
    column, row = _raster(xy[:, 0]), _raster(-xy[:, 1])
    if column is not None and row is not None and column.max() > 0 and row.max() > 0:
        cells = row * (column.max() + 1) + column
        if len(np.unique(cells)) == n and cells.max() < 3 * n + 50:
            return Sheet(layer, nodes, row, column, natural=True)
    order = np.arange(n)
    if n <= _TALLEST_COLUMN:
        return Sheet(layer, nodes, order, np.zeros(n, np.int64), natural=False)
    width = int(np.ceil(np.sqrt(n)))
    return Sheet(layer, nodes, order // width, order % width, natural=False)


def _raster(values: FloatArray) -> IntArray | None:
    """Return whole-numbered places of equally spaced values, or None if they are not."""
    distinct = np.unique(np.round(values, 9))
    if len(distinct) == 1:
        return np.zeros(len(values), np.int64)
    step = float(np.diff(distinct).min())
    places = (values - distinct[0]) / step
    whole = np.rint(places)
    return whole.astype(np.int64) if np.allclose(places, whole, atol=1e-3) else None


def bond_lines(network: Network, layout: Layout, bonds: IntArray | None = None) -> FloatArray:
    """Return the line of each bond, (n_bonds, points, 2).

    A bond that would run through other nodes bows aside, so that skip connections of a
    lattice do not hide its nearest-neighbour bonds. A bond around the edge of a periodic
    lattice becomes a stub at either end (with a gap of NaN between).

    Parameters
    ----------
    network
        The graph.
    layout
        From `node_layout`.
    bonds
        Bond numbers; all by default.
    """
    chosen = np.arange(network.n_edges) if bonds is None else bonds
    a = layout.xy[network.edges[chosen, 0]]
    b = layout.xy[network.edges[chosen, 1]]
    t = np.linspace(0, 1, _CURVE_POINTS)[None, :, None]
    straight = a[:, None] * (1 - t) + b[:, None] * t
    if len(chosen) > 20_000:  # too fine to see a bow
        return np.stack([a, b], axis=1)
    span = b - a
    normal = np.stack([-span[:, 1], span[:, 0]], axis=1)
    hidden = _runs_through_node(straight, layout.xy)
    # Bows of different length along the same row separate by themselves.
    bow = np.where(hidden, 0.16, 0.0)[:, None, None] * normal[:, None]
    lines: FloatArray = straight + bow * (4 * t * (1 - t))
    wraps = _wraps(network, layout)[chosen]
    if wraps.any():
        lines[wraps] = _stubs(a[wraps], b[wraps])
    return lines


def _runs_through_node(lines: FloatArray, xy: FloatArray) -> npt.NDArray[np.bool_]:
    tree = cKDTree(xy)
    n, points, _ = lines.shape
    length = np.linalg.norm(lines[:, -1] - lines[:, 0], axis=1)
    through = np.zeros(n, dtype=bool)
    # A sample every third of a node distance cannot step over a node within `reach`.
    samples = int(np.clip(3 * length.max(initial=1.0), points, 400))
    for s in np.linspace(0, 1, samples):
        at = lines[:, 0] * (1 - s) + lines[:, -1] * s
        inside = (np.minimum(s, 1 - s) * length) > 0.5
        if not inside.any():
            continue
        where = np.flatnonzero(inside & ~through)
        distance, node = (np.asarray(found) for found in tree.query(at[where]))
        near = distance < _ON_BOND + 0.5 * np.maximum(length[where] / samples, 1 / 3)
        candidates, nodes = where[near], node[near]
        through[candidates] = _off_line(lines[candidates], xy[nodes]) < _ON_BOND
    return through


def _off_line(lines: FloatArray, points: FloatArray) -> FloatArray:
    span = lines[:, -1] - lines[:, 0]
    offset = points - lines[:, 0]
    cross = span[:, 0] * offset[:, 1] - span[:, 1] * offset[:, 0]
    return np.asarray(np.abs(cross) / np.linalg.norm(span, axis=1))


def _wraps(network: Network, layout: Layout) -> npt.NDArray[np.bool_]:
    """Tell which bonds of a periodic lattice go around its edge."""
    kinds = np.array([k == "nearest" or k.startswith("skip-") for k in network.kind_names])
    lattice = kinds[network.group_kind[network.coupling_group]]
    if not lattice.any() or layout.kind != "plane":
        return np.zeros(network.n_edges, dtype=bool)
    kind = network.group_kind[network.coupling_group]
    length = np.linalg.norm(layout.xy[network.edges[:, 0]] - layout.xy[network.edges[:, 1]], axis=1)
    shortest = np.full(len(network.kind_names), np.inf)
    np.minimum.at(shortest, kind, length)
    return np.asarray(lattice & (length > 1.5 * shortest[kind]))


def _stubs(a: FloatArray, b: FloatArray) -> FloatArray:
    away = (a - b) / np.linalg.norm(a - b, axis=1, keepdims=True)
    lines = np.full((len(a), _CURVE_POINTS, 2), np.nan)
    reach = np.linspace(0, 0.55, _CURVE_POINTS // 2)[None, :, None]
    half = _CURVE_POINTS // 2
    lines[:, :half] = a[:, None] + away[:, None] * reach
    lines[:, half + 1 :] = b[:, None] - away[:, None] * reach
    return lines
