"""Where inputs and outputs sit: counts, node numbers, (row, column) pairs or named places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders._checks import is_list, is_whole, whole_number
from eqp_hw.network.graph import IntArray

__all__ = ["Edge", "GridPlacement", "ListPlacement", "place_in_list", "place_on_grid"]

ListPlacement: TypeAlias = int | Sequence[int]
"""How many nodes, or which."""

GridPlacement: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]
"""How many nodes along the default edge; or which, as node numbers or [row, column] pairs;
or a named place: "left-edge", "right-edge", "top-edge", "bottom-edge", "corners", "all".
"left-edge:3" takes three nodes, evenly spaced along that edge."""

Edge: TypeAlias = Literal["left-edge", "right-edge", "top-edge", "bottom-edge"]

_EDGES = ("left-edge", "right-edge", "top-edge", "bottom-edge")


def place_in_list(
    placement: object, n_nodes: int, field: str, side: Literal["first", "last"]
) -> IntArray:
    """Return node numbers among 0..n_nodes-1; a count takes the first or last nodes."""
    if is_whole(placement):
        count = whole_number(placement, field, maximum=n_nodes)
        start = 0 if side == "first" else n_nodes - count
        return np.arange(start, start + count)
    allowed = f"a count, or a list of node numbers in 0..{n_nodes - 1}"
    if not is_list(placement):
        raise NetworkError("not a placement", field=field, value=placement, allowed=allowed)
    return np.array([_node(item, n_nodes, field, allowed) for item in placement], dtype=np.int64)


def place_on_grid(
    placement: object, shape: tuple[int, int], field: str, default_edge: Edge
) -> IntArray:
    """Return node numbers row·columns + column; see `GridPlacement`."""
    rows, columns = shape
    allowed = (
        f"a count, node numbers in 0..{rows * columns - 1}, [row, column] pairs within "
        f"{rows} x {columns}, or one of {', '.join(_EDGES)} (with :count), corners, all"
    )
    if is_whole(placement):
        return _spread(_edge(default_edge, shape), int(placement), field, placement)
    if isinstance(placement, str):
        return _named(placement, shape, field, allowed)
    if not is_list(placement):
        raise NetworkError("not a placement", field=field, value=placement, allowed=allowed)
    nodes = []
    for item in placement:
        if is_list(item):
            nodes.append(_pair_node(item, shape, field, allowed))
        else:
            nodes.append(_node(item, rows * columns, field, allowed))
    return np.array(nodes, dtype=np.int64)


def _named(place: str, shape: tuple[int, int], field: str, allowed: str) -> IntArray:
    rows, columns = shape
    name, colon, count = place.partition(":")
    if name in _EDGES:
        nodes = _edge(name, shape)
        if not colon:
            return nodes
        if count.isascii() and count.isdigit():
            return _spread(nodes, int(count), field, place)
    if place == "all":
        return np.arange(rows * columns)
    if place == "corners":
        last = (rows - 1) * columns
        corners = dict.fromkeys([0, columns - 1, last, last + columns - 1])
        return np.array(list(corners), dtype=np.int64)
    raise NetworkError("no such place", field=field, value=place, allowed=allowed)


def _edge(name: str, shape: tuple[int, int]) -> IntArray:
    rows, columns = shape
    grid = np.arange(rows * columns).reshape(rows, columns)
    edges: dict[str, IntArray] = {
        "left-edge": grid[:, 0],
        "right-edge": grid[:, -1],
        "top-edge": grid[0],
        "bottom-edge": grid[-1],
    }
    return edges[name]


def _spread(nodes: IntArray, count: int, field: str, value: object) -> IntArray:
    if not 1 <= count <= len(nodes):
        raise NetworkError(
            f"{count} nodes do not fit on an edge of {len(nodes)}",
            field=field,
            value=value,
            allowed=f"1..{len(nodes)} nodes, or a list of nodes",
        )
    return nodes[(2 * np.arange(count) + 1) * len(nodes) // (2 * count)]


def _node(item: object, n_nodes: int, field: str, allowed: str) -> int:
    if not is_whole(item):
        raise NetworkError("not a node", field=field, value=item, allowed=allowed)
    if not 0 <= item < n_nodes:
        raise NetworkError(f"node {item} does not exist", field=field, value=item, allowed=allowed)
    return int(item)


def _pair_node(item: Sequence[object], shape: tuple[int, int], field: str, allowed: str) -> int:
    pair = [int(v) for v in item if is_whole(v)]
    if len(item) != 2 or len(pair) != 2:
        raise NetworkError("not a [row, column] pair", field=field, value=item, allowed=allowed)
    row, column = pair
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise NetworkError(
            f"there is no row {row}, column {column}", field=field, value=pair, allowed=allowed
        )
    return row * shape[1] + column
