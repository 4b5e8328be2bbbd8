"""How the couplings of a network are drawn: lines, matrices, receptive fields, node means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import combinations
from typing import TYPE_CHECKING, final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray, IntArray, Network

from .canvas import FAINT, whole_ticks
from .layout import Layout, Sheet, bond_lines, node_layout
from .nodes import draw_node_numbers, draw_nodes, frame, marker_diameter, sheet_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

__all__ = ["Block", "coupling_blocks"]

_MOST_LINES = 8000
_MOST_SKELETON = 700
_MOST_DENSE_NODES = 32  # an all-to-all network of more nodes is a ball of wool
_LARGEST_MATRIX = 3000
_LARGEST_MOSAIC = 4_000_000  # cells
_GAP = "#c9cdd3"


class Block(ABC):
    """Some bonds of a network, drawn together in one panel.

    Attributes
    ----------
    title
        What is shown.
    bonds
        Numbers of the bonds.
    aspect
        Width over height of the panel.
    detail
        Cells along the longer side, if it is an image of squares.
    """

    title: str
    bonds: IntArray
    aspect: float
    detail: int = 0

    @abstractmethod
    def draw(
        self, axes: Axes, values: FloatArray, cmap: str, norm: Normalize, panel: tuple[float, float]
    ) -> ScalarMappable:
        """Draw one value a bond, (len(bonds),), into a panel of the given size in inches."""


@final
class LineBlock(Block):
    """Bonds as lines between the nodes of a plane, coloured and as wide as they are strong."""

    def __init__(self, network: Network, layout: Layout, bonds: IntArray, title: str) -> None:
        self.title = title
        self.bonds = bonds
        self._network = network
        self._layout = layout
        self._lines = bond_lines(network, layout, bonds)
        width, height = layout.extent
        self.aspect = width / height if layout.equal else 1.1

    @override
    def draw(
        self, axes: Axes, values: FloatArray, cmap: str, norm: Normalize, panel: tuple[float, float]
    ) -> ScalarMappable:
        from matplotlib.collections import LineCollection  # noqa: PLC0415

        network, layout = self._network, self._layout
        diameter = marker_diameter(layout, panel)
        largest = max(abs(norm.vmin or 0.0), abs(norm.vmax or 0.0)) or 1.0
        strength = np.clip(np.abs(values) / largest, 0, 1)
        order = np.argsort(strength, kind="stable")  # strong ones on top
        widest = float(np.clip(0.32 * diameter, 0.9, 4.5))
        crowd = float(np.clip(400 / max(len(values), 1), 0.35, 1.0))
        lines = LineCollection(
            list(self._lines[order]),
            array=values[order],
            cmap=cmap,
            norm=norm,
            linewidths=0.25 + widest * crowd * strength[order],
            capstyle="butt",
            zorder=2,
        )
        axes.add_collection(lines)
        if len(values) <= _MOST_SKELETON:  # a bond of J = 0 is white, but it is there
            skeleton = LineCollection(list(self._lines), colors=_GAP, linewidths=0.5, zorder=1)
            axes.add_collection(skeleton)
        if layout.kind == "plane":
            draw_nodes(axes, network, layout, None, cmap, None, diameter)
            draw_node_numbers(axes, network, layout, diameter)
        frame(axes, network, layout, self._lines)
        return lines


@final
class ImageBlock(Block):
    """Bonds as the cells of an image; cells without a bond stay grey."""

    def __init__(
        self,
        title: str,
        bonds: IntArray,
        cells: tuple[IntArray, IntArray],
        shape: tuple[int, int],
        labels: tuple[str, str] | None,
    ) -> None:
        """Take the (row, column) of each bond, and the labels of x and y axis if they count."""
        self.title = title
        self.bonds = bonds
        self._cells = cells
        self._shape = shape
        self._labels = labels
        self.aspect = float(np.clip(shape[1] / shape[0], 0.4, 3.0))
        self.detail = max(shape) if labels is None else 0

    def image(self, values: FloatArray) -> FloatArray:
        """Return the image of one value a bond, NaN where there is no bond."""
        picture = np.full(self._shape, np.nan)
        picture[self._cells] = values
        return picture

    @override
    def draw(
        self, axes: Axes, values: FloatArray, cmap: str, norm: Normalize, panel: tuple[float, float]
    ) -> ScalarMappable:
        import matplotlib as mpl  # noqa: PLC0415

        shown = axes.imshow(
            self.image(values),
            cmap=mpl.colormaps[cmap].with_extremes(bad=_GAP),
            norm=norm,
            aspect="equal" if self._labels is None else "auto",
        )
        axes.spines[:].set_visible(False)
        if self._labels is None:
            axes.set_xticks([])
            axes.set_yticks([])
        else:
            axes.set(xlabel=self._labels[0], ylabel=self._labels[1])
            whole_ticks(axes.xaxis, 5)
            whole_ticks(axes.yaxis, 5)
            axes.tick_params(length=2, color=FAINT)
        return shown


@final
class MeanBlock(Block):
    """Mean over the bonds of each node: for lattices with too many bonds for lines."""

    def __init__(self, network: Network, layout: Layout) -> None:
        self.title = "mean over the bonds of each node"
        self.bonds = np.arange(network.n_edges)
        self._network = network
        self._layout = layout
        width, height = layout.extent
        self.aspect = float(np.clip(width / height, 0.4, 3.0))

    @override
    def draw(
        self, axes: Axes, values: FloatArray, cmap: str, norm: Normalize, panel: tuple[float, float]
    ) -> ScalarMappable:
        network, layout = self._network, self._layout
        total, count = np.zeros(network.n_nodes), np.zeros(network.n_nodes)
        for end in range(2):
            np.add.at(total, network.edges[:, end], values)
            np.add.at(count, network.edges[:, end], 1.0)
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        diameter = marker_diameter(layout, panel)
        shown = draw_nodes(axes, network, layout, mean, cmap, norm, diameter)
        frame(axes, network, layout)
        if shown is None:
            raise RuntimeError("node values are always drawn")
        return shown


def coupling_blocks(network: Network, image_shape: tuple[int, int] | None = None) -> list[Block]:
    """Choose how to draw all couplings of ``network``.

    Parameters
    ----------
    network
        The graph.
    image_shape
        (rows, columns) of the image that the inputs are, if they are one.

    Returns
    -------
    One block where a plane suffices, else one for each pair of layers that are coupled.
    """
    layout = node_layout(network)
    everything = np.arange(network.n_edges)
    if layout.kind == "plane":
        n = network.n_nodes
        dense = network.n_edges > 0.3 * n * (n - 1) / 2
        if dense and _MOST_DENSE_NODES < n <= _LARGEST_MATRIX and layout.equal:
            return [_square_matrix(network)]
        if network.n_edges <= _MOST_LINES:
            return [LineBlock(network, layout, everything, "couplings")]
        return [MeanBlock(network, layout)]
    pair = np.sort(network.layer[network.edges], axis=1)
    blocks: list[Block] = []
    sheets = layout.sheets
    for lower, upper in combinations(sheets, 2):
        bonds = np.flatnonzero((pair == (lower.layer, upper.layer)).all(axis=1))
        if len(bonds):
            blocks.append(_between(network, lower, upper, bonds, image_shape))
    for sheet in sheets:
        bonds = np.flatnonzero((pair == sheet.layer).all(axis=1))
        if len(bonds):
            blocks.append(_within(network, sheet, bonds))
    return blocks


def _square_matrix(network: Network) -> Block:
    n = network.n_nodes
    place = np.empty(n, np.int64)
    place[np.concatenate([network.inputs, network.hidden, network.outputs])] = np.arange(n)
    i, j = place[network.edges].T
    rows, columns = np.concatenate([i, j]), np.concatenate([j, i])
    label = "node: inputs, hidden, outputs"
    both = np.tile(np.arange(network.n_edges), 2)
    return ImageBlock("coupling matrix", both, (rows, columns), (n, n), (label, label))


def _between(
    network: Network,
    lower: Sheet,
    upper: Sheet,
    bonds: IntArray,
    image_shape: tuple[int, int] | None,
) -> Block:
    edges = network.edges[bonds]
    swapped = network.layer[edges[:, 0]] != lower.layer
    below = np.where(swapped, edges[:, 1], edges[:, 0])
    above = np.where(swapped, edges[:, 0], edges[:, 1])
    names = sheet_title(network, lower), sheet_title(network, upper)
    raster = _rasters(network, lower, image_shape)
    if raster is not None:
        mosaic = _mosaic(network, raster, upper, bonds, (below, above), names)
        if mosaic is not None:
            return mosaic
    index = np.zeros(network.n_nodes, np.int64)
    index[lower.nodes] = np.arange(len(lower.nodes))
    index[upper.nodes] = np.arange(len(upper.nodes))
    title = f"{names[0]} – {names[1]}"
    sides = [(index[below], len(lower.nodes), names[0]), (index[above], len(upper.nodes), names[1])]
    sides.sort(key=lambda side: side[1])  # the longer side lies down
    (row, n_rows, y_name), (column, n_columns, x_name) = sides
    labels = (_axis_name(x_name), _axis_name(y_name))
    return ImageBlock(title, bonds, (row, column), (n_rows, n_columns), labels)


def _axis_name(name: str) -> str:
    return f"node of {name}" if name.startswith("layer") else name.removesuffix("s") + " number"


def _rasters(
    network: Network, lower: Sheet, image_shape: tuple[int, int] | None
) -> tuple[IntArray, IntArray] | None:
    """Return row and column of each node (N,) of a layer that is an image, else None."""
    row, column = np.zeros((2, network.n_nodes), np.int64)
    if lower.natural:
        row[lower.nodes], column[lower.nodes] = lower.row, lower.column
        return row, column
    is_input = np.array_equal(lower.nodes, np.sort(network.inputs))
    if not is_input or image_shape is None or np.prod(image_shape) != len(lower.nodes):
        return None
    row[network.inputs], column[network.inputs] = np.divmod(
        np.arange(len(lower.nodes)), image_shape[1]
    )
    return row, column


def _mosaic(
    network: Network,
    raster: tuple[IntArray, IntArray],
    upper: Sheet,
    bonds: IntArray,
    ends: tuple[IntArray, IntArray],
    names: tuple[str, str],
) -> Block | None:
    """Return one tile for each upper node: its couplings, laid out as it sees the layer below."""
    below, above = ends
    row, column = raster[0][below], raster[1][below]
    index = np.full(network.n_nodes, -1, np.int64)
    index[upper.nodes] = np.arange(len(upper.nodes))
    tile = index[above]
    corner = np.full((2, len(upper.nodes)), np.iinfo(np.int64).max)
    np.minimum.at(corner[0], tile, row)
    np.minimum.at(corner[1], tile, column)
    row, column = row - corner[0][tile], column - corner[1][tile]
    height, width = int(row.max()) + 1, int(column.max()) + 1
    keep, tiles = _distinct_tiles(network.coupling_group[bonds], tile, row * width + column)
    title = f"{names[0]} → {names[1]}: one tile a node"
    if len(tiles) < len(upper.nodes):
        place = np.zeros(len(upper.nodes), np.int64)
        place[tiles] = np.arange(len(tiles))
        tile_row, tile_column = _fold(len(tiles), width, height)
        title = f"{names[0]} → {names[1]}: the {len(tiles)} shared kernels"
    else:
        place = np.arange(len(upper.nodes))
        tile_row, tile_column = upper.row, upper.column
        if not upper.natural:
            tile_row, tile_column = _fold(len(upper.nodes), width, height)
    shape = (
        int(tile_row.max() + 1) * (height + 1) - 1,
        int(tile_column.max() + 1) * (width + 1) - 1,
    )
    if shape[0] * shape[1] > _LARGEST_MOSAIC:
        return None
    at = place[tile[keep]]
    cells = (
        tile_row[at] * (height + 1) + row[keep],
        tile_column[at] * (width + 1) + column[keep],
    )
    return ImageBlock(title, bonds[keep], cells, shape, None)


def _distinct_tiles(group: IntArray, tile: IntArray, cell: IntArray) -> tuple[IntArray, IntArray]:
    """Return the bonds and tiles that remain when tiles that share all couplings are one."""
    everything, tiles = np.arange(len(group)), np.unique(tile)
    if len(np.unique(group)) == len(group) or len(group) % len(tiles):
        return everything, tiles
    order = np.lexsort((cell, tile)).reshape(len(tiles), -1)
    if (tile[order] != tiles[:, None]).any():
        return everything, tiles
    _, first = np.unique(group[order], axis=0, return_index=True)
    first = np.sort(first)
    return order[first].ravel(), tiles[first]


def _fold(count: int, width: int, height: int) -> tuple[IntArray, IntArray]:
    """Lay ``count`` tiles out in rows, about twice as wide as high."""
    wanted = np.sqrt(1.6 * count * height / width)
    whole = [k for k in range(1, count + 1) if count % k == 0 and 0.6 < k / wanted < 1.7]
    across = int(np.clip(np.ceil(wanted), 1, count))
    if whole:  # all rows full
        across = min(whole, key=lambda k: float(abs(np.log(k / wanted))))
    place = np.arange(count)
    return place // across, place % across


def _within(network: Network, sheet: Sheet, bonds: IntArray) -> Block:
    title = f"inside {sheet_title(network, sheet)}"
    n = len(sheet.nodes)
    index = np.zeros(network.n_nodes, np.int64)
    index[sheet.nodes] = np.arange(n)
    if (not sheet.natural or len(bonds) > _MOST_LINES) and n <= _LARGEST_MATRIX:
        i, j = index[network.edges[bonds]].T
        label = f"node of {sheet_title(network, sheet)}"
        cells = (np.concatenate([i, j]), np.concatenate([j, i]))
        return ImageBlock(title, np.tile(bonds, 2), cells, (n, n), (label, label))
    xy = np.zeros((network.n_nodes, 2))
    xy[sheet.nodes] = np.stack([sheet.column, -sheet.row], axis=1)
    others = np.setdiff1d(np.arange(network.n_nodes), sheet.nodes)
    xy[others] = xy[sheet.nodes[0]]  # out of the way of limits and bows
    return LineBlock(network, Layout("sheets", xy, equal=True), bonds, title)
