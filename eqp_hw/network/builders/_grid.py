"""Square grids: bonds by offset, neighbour shells, windows, coordinates.

Node (row, column) of a rows x columns grid has number row·columns + column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders._checks import is_list, is_whole, whole_number
from eqp_hw.network.graph import FloatArray, IntArray

__all__ = [
    "Intra",
    "fits",
    "grid_bonds",
    "grid_positions",
    "intra_offsets",
    "shell_offsets",
    "unique_offsets",
    "window_bonds",
    "windowed_shape",
]

Offset: TypeAlias = tuple[int, int]

Intra: TypeAlias = str | Sequence[Sequence[int]]
"""Bonds inside a layer: "none", "nearest", "k-shells" (all neighbours up to the k-th distance
that occurs on a square grid: 1, √2, 2, √5, √8 ...), or a list of [rows, columns] offsets."""

MAX_SHELLS = 50


def grid_bonds(shape: tuple[int, int], offset: Offset, *, periodic: bool = False) -> IntArray:
    """Return (n, 2) pairs (node, node + offset), each bond once."""
    rows, columns = shape
    dr, dc = offset
    if not fits(shape, offset, periodic=periodic):
        return np.empty((0, 2), dtype=np.int64)
    grid = np.arange(rows * columns).reshape(rows, columns)
    if periodic:
        partner = np.roll(grid, (-dr, -dc), axis=(0, 1))
        pairs = np.stack([grid.ravel(), partner.ravel()], axis=1)
        # A shift by half the circumference meets every bond from both ends.
        doubled = 2 * dr % rows == 0 and 2 * dc % columns == 0
        return pairs[pairs[:, 0] < pairs[:, 1]] if doubled else pairs
    start = grid[max(0, -dr) : rows - max(0, dr), max(0, -dc) : columns - max(0, dc)]
    return np.stack([start.ravel(), start.ravel() + dr * columns + dc], axis=1)


def fits(shape: tuple[int, int], offset: Offset, *, periodic: bool = False) -> bool:
    """Tell whether an offset stays on the grid; around a ring, half way is the farthest."""
    return all(
        abs(step) <= (size // 2 if periodic else size - 1)
        for step, size in zip(offset, shape, strict=True)
    )


def unique_offsets(
    shape: tuple[int, int], offsets: Iterable[Offset], *, periodic: bool
) -> list[Offset]:
    """Drop offsets that give the same bonds as an earlier one, seen from either end."""
    seen: dict[Offset, Offset] = {}
    for dr, dc in offsets:
        ends = [(dr, dc), (-dr, -dc)]
        if periodic:
            ends = [(a % shape[0], b % shape[1]) for a, b in ends]
        seen.setdefault(min(ends), (dr, dc))
    return list(seen.values())


def shell_offsets(shells: int) -> list[Offset]:
    """Return the offsets to all neighbours up to the given shell, one per bond, nearest first."""
    # Shell k lies no farther than k steps along an axis.
    offsets = [
        (dr, dc)
        for dr in range(shells + 1)
        for dc in range(-shells, shells + 1)
        if dr > 0 or dc > 0
    ]
    distances = sorted({dr * dr + dc * dc for dr, dc in offsets})[:shells]
    kept = [offset for offset in offsets if offset[0] ** 2 + offset[1] ** 2 <= distances[-1]]
    return sorted(kept, key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))


def intra_offsets(intra: object, shape: tuple[int, int], field: str) -> list[Offset]:
    """Read an `Intra` option for a layer of the given shape.

    Of a named neighbourhood, what does not fit into a small layer is left out; a listed
    offset must fit.
    """
    allowed = '"none", "nearest", "2-shells", "4-shells" ..., or a list of [rows, columns] offsets'
    if intra == "none":
        return []
    if isinstance(intra, str):
        match = re.fullmatch(r"(\d{1,6})-shells", intra, flags=re.ASCII)
        if intra != "nearest" and match is None:
            raise NetworkError("no such neighbourhood", field=field, value=intra, allowed=allowed)
        shells = 1 if match is None else int(match[1])
        whole_number(shells, field, maximum=MAX_SHELLS)
        return [offset for offset in shell_offsets(shells) if fits(shape, offset)]
    if is_list(intra):
        offsets = [_offset(item, field, allowed) for item in intra]
        if len(unique_offsets(shape, offsets, periodic=False)) < len(offsets):
            raise NetworkError(
                "the same offset is listed twice (an offset and its opposite are the same bonds)",
                field=field,
                value=intra,
                allowed="each offset once",
            )
        _check_fit(offsets, shape, field, intra)
        return offsets
    raise NetworkError("not a neighbourhood", field=field, value=intra, allowed=allowed)


def _check_fit(offsets: list[Offset], shape: tuple[int, int], field: str, intra: object) -> None:
    for offset in offsets:
        if not fits(shape, offset):
            raise NetworkError(
                f"the offset {list(offset)} does not fit into a layer of {shape[0]} x {shape[1]}",
                field=field,
                value=intra,
                allowed="offsets shorter than the layer",
            )


def _offset(item: object, field: str, allowed: str) -> Offset:
    pair = [int(v) for v in item if is_whole(v)] if is_list(item) else []
    if not is_list(item) or len(item) != 2 or len(pair) != 2 or pair == [0, 0]:
        raise NetworkError(
            "not a [rows, columns] offset to another node", field=field, value=item, allowed=allowed
        )
    return pair[0], pair[1]


def windowed_shape(shape: tuple[int, int], window: object, stride: object) -> tuple[int, int]:
    """Return the shape of a layer that sees ``shape`` through sliding windows.

    Raises
    ------
    NetworkError
        The window is larger than the grid, or the windows leave nodes of it uncovered.
    """
    size = whole_number(window, "network.window")
    if size > min(shape):
        raise NetworkError(
            f"the window is larger than the {shape[0]} x {shape[1]} input",
            field="network.window",
            value=size,
            allowed=f"1..{min(shape)}",
        )
    step = whole_number(stride, "network.stride")
    if step > size or any((length - size) % step for length in shape):
        fitting = [
            s for s in range(1, size + 1) if all((length - size) % s == 0 for length in shape)
        ]
        raise NetworkError(
            f"windows of {size} at this stride do not cover the {shape[0]} x {shape[1]} input",
            field="network.stride",
            value=step,
            allowed=" or ".join(map(str, fitting)),
        )
    return (shape[0] - size) // step + 1, (shape[1] - size) // step + 1


def window_bonds(
    shape: tuple[int, int], window: int, stride: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Return bonds of every window with its node: (below, above, place in the window)."""
    above_rows, above_columns = windowed_shape(shape, window, stride)
    row, column, u, v = np.meshgrid(
        np.arange(above_rows),
        np.arange(above_columns),
        np.arange(window),
        np.arange(window),
        indexing="ij",
    )
    below = (row * stride + u) * shape[1] + column * stride + v
    return below.ravel(), (row * above_columns + column).ravel(), (u * window + v).ravel()


def grid_positions(
    shape: tuple[int, int], layer: int = 0, *, step: float = 1.0, shift: Sequence[float] = (0, 0)
) -> FloatArray:
    """Return (rows·columns, 3) coordinates x = column, y = −row, layer.

    ``step`` is the spacing of nodes, ``shift`` the (column, row) of the first one.
    """
    row, column = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    x, y = shift[0] + step * column, -(shift[1] + step * row)
    return np.stack([x, y, np.full(len(row), float(layer))], axis=1)
