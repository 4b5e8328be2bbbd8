"""Any graph, from a list of bonds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders._checks import check_size, is_list, is_whole, whole_number
from eqp_hw.network.builders._placement import ListPlacement, place_in_list
from eqp_hw.network.graph import Network

__all__ = ["edge_list", "group_kinds", "read_positions"]


def edge_list(
    edges: Sequence[Sequence[int]],
    inputs: ListPlacement,
    outputs: ListPlacement,
    n_nodes: int | None = None,
    coupling_group: Sequence[int] | None = None,
    bond_kind: Sequence[str] | None = None,
    positions: Sequence[Sequence[float]] | None = None,
) -> Network:
    """Build the graph that a list of bonds describes.

    Parameters
    ----------
    edges
        Pairs of node numbers, each bond once, in any orientation.
    inputs
        Input nodes: how many (the first ones), or a list of node numbers.
    outputs
        Output nodes: how many (the last ones), or a list of node numbers.
    n_nodes
        Number of nodes; by default one more than the largest number in ``edges``.
    coupling_group
        For each bond the number, 0..n-1, of the coupling it uses; its own by default.
    bond_kind
        For each bond the name of its kind of coupling; "coupling" by default.
    positions
        For each node [x, y] or [x, y, layer]; on a circle by default.

    Raises
    ------
    NetworkError
        Anything that is not a list of bonds, or whatever `Network` refuses.
    """
    pairs = _pairs(edges)
    largest = max(max(pair) for pair in pairs)
    check_size(largest, "network.edges", f"node {largest}")
    n = largest + 1 if n_nodes is None else whole_number(n_nodes, "network.n_nodes")
    groups = list(range(len(pairs)))
    if coupling_group is not None:
        groups = [
            whole_number(group, f"network.coupling_group[{k}]", minimum=0)
            for k, group in enumerate(_bond_entries(coupling_group, len(pairs), "coupling_group"))
        ]
    kinds = ["coupling"] * len(pairs)
    if bond_kind is not None:
        kinds = [str(kind) for kind in _bond_entries(bond_kind, len(pairs), "bond_kind")]
    group_kind, kind_names = group_kinds(groups, kinds)
    return Network.create(
        n,
        pairs,
        place_in_list(inputs, n, "network.inputs", "first"),
        place_in_list(outputs, n, "network.outputs", "last"),
        coupling_group=groups,
        group_kind=group_kind,
        kind_names=kind_names,
        positions=None if positions is None else read_positions(positions),
        name=f"graph of {n} nodes and {len(pairs)} bonds",
    )


def group_kinds(
    groups: Sequence[int], kinds: Sequence[str], kind_names: Sequence[str] = ()
) -> tuple[list[int], tuple[str, ...]]:
    """Return the kind of each coupling group and the names of the kinds.

    Kinds are numbered as in ``kind_names``, then in the order in which they occur.

    Raises
    ------
    NetworkError
        Two bonds that share a coupling are of different kinds, or a number is left out.
    """
    names = dict.fromkeys([*kind_names, *kinds])
    number = {kind: k for k, kind in enumerate(names)}
    kind_of: dict[int, str] = {}
    for group, kind in zip(groups, kinds, strict=True):
        if kind_of.setdefault(group, kind) != kind:
            raise NetworkError(
                f"bonds that share coupling {group} are of two kinds, {kind_of[group]!r} and "
                f"{kind!r}",
                field="network.bond_kind",
                allowed="one kind a coupling",
            )
    for group in range(len(kind_of)):
        if group not in kind_of:
            raise NetworkError(
                f"no bond uses coupling {group}",
                field="network.coupling_group",
                allowed="numbers 0..n-1 without gaps",
            )
    return [number[kind_of[group]] for group in range(len(kind_of))], tuple(names)


def _pairs(edges: object) -> list[tuple[int, int]]:
    allowed = "a list of pairs of node numbers, 0 or more, e.g. [[0, 1], [1, 2]]"
    if not is_list(edges) or len(edges) == 0:
        raise NetworkError(
            "not a list of bonds", field="network.edges", value=edges, allowed=allowed
        )
    pairs = []
    for k, item in enumerate(edges):
        ends = [int(v) for v in item if is_whole(v)] if is_list(item) else []
        if not is_list(item) or len(item) != 2 or len(ends) != 2 or min(ends) < 0:
            raise NetworkError(
                "not a pair of node numbers",
                field=f"network.edges[{k}]",
                value=item,
                allowed=allowed,
            )
        pairs.append((ends[0], ends[1]))
    return pairs


def _bond_entries(values: object, n_bonds: int, option: str) -> list[object]:
    if not is_list(values) or len(values) != n_bonds:
        raise NetworkError(
            "wrong length",
            field=f"network.{option}",
            value=values,
            allowed=f"a list with one entry for each of the {n_bonds} bonds",
        )
    return list(values)


def read_positions(values: object) -> list[list[float]]:
    """Return rows x, y, layer from rows [x, y] or [x, y, layer]."""
    allowed = "for each node [x, y] or [x, y, layer]"
    rows = list(values) if is_list(values) else []
    if not rows:
        raise NetworkError(
            "not a list of positions", field="network.positions", value=values, allowed=allowed
        )
    result = []
    for k, row in enumerate(rows):
        numbers = (
            [float(v) for v in row if isinstance(v, int | float | np.number)]
            if is_list(row)
            else []
        )
        if not is_list(row) or len(row) not in {2, 3} or len(numbers) != len(row):
            raise NetworkError(
                "not a position", field=f"network.positions[{k}]", value=row, allowed=allowed
            )
        result.append([*numbers, 0.0][:3])
    return result
