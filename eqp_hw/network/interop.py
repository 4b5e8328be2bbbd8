"""To and from networkx, and from edge-list files."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from eqp_hw.errors import NetworkError, UnavailableError
from eqp_hw.network.builders._checks import whole_number
from eqp_hw.network.builders._placement import ListPlacement
from eqp_hw.network.builders.custom import edge_list, group_kinds, read_positions
from eqp_hw.network.graph import Network

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["from_edge_list", "from_networkx", "to_networkx"]

ROLES = ("input", "hidden", "output")


def to_networkx(network: Network) -> nx.Graph[int]:
    """Return the network as a networkx graph.

    Nodes are numbered 0..N-1 and carry ``role`` ("input", "hidden", "output"), ``order``
    (place among the inputs or outputs; absent on hidden nodes), ``position`` (x, y, layer)
    and ``layer``. Bonds carry ``bond`` (their number), ``group`` (number of their coupling)
    and ``kind``. The graph carries ``name`` and ``kind_names``. `from_networkx` gives the
    same network back.

    Raises
    ------
    UnavailableError
        networkx is not installed.
    """
    graph = _networkx().Graph(name=network.name, kind_names=network.kind_names)
    order = {
        int(node): k for nodes in (network.inputs, network.outputs) for k, node in enumerate(nodes)
    }
    role = dict.fromkeys(range(network.n_nodes), "hidden")
    role |= dict.fromkeys(network.inputs.tolist(), "input")
    role |= dict.fromkeys(network.outputs.tolist(), "output")
    positions, layers = network.positions.tolist(), network.layer.tolist()
    for node in range(network.n_nodes):
        graph.add_node(node, role=role[node], position=tuple(positions[node]), layer=layers[node])
        if node in order:
            graph.nodes[node]["order"] = order[node]
    kind = network.group_kind[network.coupling_group].tolist()
    group = network.coupling_group.tolist()
    for bond, (i, j) in enumerate(network.edges.tolist()):
        kind_name = network.kind_names[kind[bond]]
        graph.add_edge(i, j, bond=bond, group=group[bond], kind=kind_name)
    result: nx.Graph[int] = graph
    return result


def from_networkx(
    graph: nx.Graph[Any],
    inputs: Sequence[Hashable] | None = None,
    outputs: Sequence[Hashable] | None = None,
) -> Network:
    """Return the network that a networkx graph describes.

    Parameters
    ----------
    graph
        Undirected, without parallel edges. Nodes may have any labels and are numbered in
        the order of the graph. The attributes of `to_networkx` are used where present:
        bonds without ``group`` each have their own coupling, bonds without ``kind`` are
        of the kind "coupling", and nodes without ``position`` sit at ``pos`` or on a circle.
    inputs, outputs
        Labels of the input and output nodes; by default those whose ``role`` says so, by
        ``order`` where present.

    Raises
    ------
    NetworkError
        A directed or parallel graph, an unknown label or role, an attribute that only some
        bonds or nodes have, or whatever `Network` refuses.
    """
    if graph.is_directed() or graph.is_multigraph():
        raise NetworkError(
            "directed graphs and parallel edges are not taken",
            field="graph",
            value=type(graph).__name__,
            allowed="networkx.Graph; non-reciprocal couplings are set in the parameters",
        )
    number = {label: k for k, label in enumerate(graph.nodes)}
    attributes = [data for _, data in graph.nodes(data=True)]
    for label, data in graph.nodes(data=True):
        if data.get("role", "hidden") not in ROLES:
            raise NetworkError(
                "no such role",
                field=f"graph.nodes[{label!r}].role",
                value=data["role"],
                allowed=", ".join(ROLES),
            )
    bonds = [(number[a], number[b], data) for a, b, data in graph.edges(data=True)]
    order = _whole([data for *_, data in bonds], "bond", "graph.edges")
    if order is not None:
        bonds = [bonds[k] for k in np.argsort(order, kind="stable")]
    groups = _whole([data for *_, data in bonds], "group", "graph.edges")
    if groups is None:
        groups = list(range(len(bonds)))
    kinds = [str(data.get("kind", "coupling")) for *_, data in bonds]
    kind_names = [str(kind) for kind in graph.graph.get("kind_names", ())]
    group_kind, names = group_kinds(groups, kinds, kind_names)
    return Network.create(
        len(number),
        [(a, b) for a, b, _ in bonds],
        _role_nodes(attributes, "input") if inputs is None else _numbers(inputs, number, "inputs"),
        _role_nodes(attributes, "output")
        if outputs is None
        else _numbers(outputs, number, "outputs"),
        coupling_group=groups,
        group_kind=group_kind,
        kind_names=names,
        positions=_positions(attributes),
        layer=_whole(attributes, "layer", "graph.nodes"),
        name=str(graph.graph.get("name") or f"graph of {len(number)} nodes and {len(bonds)} bonds"),
    )


def from_edge_list(
    edges: str | Path | Sequence[Sequence[int]],
    inputs: ListPlacement,
    outputs: ListPlacement,
    n_nodes: int | None = None,
    positions: Sequence[Sequence[float]] | None = None,
) -> Network:
    """Build a network from an edge-list file, or from a list of node pairs.

    A file has one bond a line: two node numbers, then, where wanted, the number of the
    coupling it uses (bonds with the same number share one), then the kind of coupling.
    Fields are separated by blanks, commas or semicolons; ``#`` starts a comment; the first
    line may hold column names.

    Parameters
    ----------
    edges
        Path of the file, or pairs of node numbers.
    inputs, outputs
        How many (the first, the last nodes), or a list of node numbers.
    n_nodes
        Number of nodes; by default one more than the largest node number.
    positions
        For each node [x, y] or [x, y, layer]; on a circle by default.

    Raises
    ------
    NetworkError
        The file cannot be read, a line is not a bond, or whatever `Network` refuses.
    """
    if not isinstance(edges, str | Path):
        return edge_list(edges, inputs, outputs, n_nodes, positions=positions)
    path = Path(edges)
    pairs, groups, kinds = _read_edges(path)
    try:
        return edge_list(
            pairs, inputs, outputs, n_nodes, groups or None, kinds or None, positions=positions
        )
    except NetworkError as error:
        if error.field is not None and error.field.startswith("network.edges"):
            error.with_source(path)
        raise


def _networkx() -> ModuleType:
    try:
        import networkx  # noqa: PLC0415  (an extra: loaded only when it is used)
    except ImportError as error:
        raise UnavailableError(
            "exchange with networkx needs networkx: pip install 'eqp_hw[graphs]'"
        ) from error
    return networkx


def _everywhere(items: Sequence[dict[str, Any]], attribute: str, field: str) -> bool:
    """Tell whether all items have an attribute; some with and some without is an error."""
    count = sum(attribute in data for data in items)
    if 0 < count < len(items):
        raise NetworkError(
            f"only {count} of {len(items)} have {attribute!r}",
            field=field,
            allowed="the attribute on all of them, or on none",
        )
    return count > 0


def _whole(items: Sequence[dict[str, Any]], attribute: str, field: str) -> list[int] | None:
    """Return an attribute that is a whole number on all items, None if it is on none."""
    if not _everywhere(items, attribute, field):
        return None
    return [whole_number(data[attribute], f"{field}.{attribute}", minimum=0) for data in items]


def _role_nodes(attributes: Sequence[dict[str, Any]], role: str) -> list[int]:
    nodes = [k for k, data in enumerate(attributes) if data.get("role") == role]
    order = _whole([attributes[k] for k in nodes], "order", f"graph.nodes ({role}s)")
    return nodes if order is None else [nodes[k] for k in np.argsort(order, kind="stable")]


def _numbers(labels: Sequence[Hashable], number: dict[Hashable, int], field: str) -> list[int]:
    for label in labels:
        if not isinstance(label, Hashable) or label not in number:
            raise NetworkError(
                "the graph has no such node",
                field=f"network.{field}",
                value=label,
                allowed="labels of its nodes",
            )
    return [number[label] for label in labels]


def _positions(attributes: Sequence[dict[str, Any]]) -> list[list[float]] | None:
    for attribute in ("position", "pos"):
        if _everywhere(attributes, attribute, "graph.nodes"):
            return read_positions([data[attribute] for data in attributes])
    return None


def _read_edges(path: Path) -> tuple[list[tuple[int, int]], list[int], list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise NetworkError(
            f"cannot be read: {reason}",
            field="network.edges",
            value=str(path),
            allowed="a text file with one bond a line",
        ) from error
    rows: list[tuple[int, list[str]]] = []
    for line_number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if content:
            rows.append((line_number, re.split(r"\s*[,;]\s*|\s+", content)))
    if rows and all(name.isidentifier() for name in rows[0][1][:2]):
        del rows[0]
    if not rows:
        raise NetworkError("the file holds no bond", source=path, field="network.edges")
    width = len(rows[0][1])
    pairs: list[tuple[int, int]] = []
    groups: list[int] = []
    kinds: list[str] = []
    for line_number, fields in rows:
        if len(fields) != width or not 2 <= width <= 4 or not all(map(_is_number, fields[:3])):
            raise NetworkError(
                "not a bond",
                source=path,
                field=f"line {line_number}",
                value=" ".join(fields),
                allowed="two node numbers, then the number of the coupling and its kind on all "
                "lines or on none",
            )
        pairs.append((int(fields[0]), int(fields[1])))
        groups.extend(int(group) for group in fields[2:3])
        kinds.extend(fields[3:4])
    return pairs, groups, kinds


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
