"""The network graph: nodes, bonds, roles, positions, and which bonds share a coupling.

A `Network` is topology only. The numbers on it (couplings, bias fields) are `Parameters`
(`eqp_hw.physics.parameters`); builders of common architectures are in
`eqp_hw.network.builders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from eqp_hw.errors import NetworkError

__all__ = ["FloatArray", "IntArray", "Network"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Network:
    """A graph of coupled phases with roles; immutable and validated.

    Input nodes are hard-clamped phases. All others (hidden and output) are free.

    Attributes
    ----------
    n_nodes
        Number of nodes N.
    edges
        (n_edges, 2) node pairs, each bond once, ``i < j``.
    inputs
        (n_inputs,) clamped nodes, in the order of the encoded features.
    outputs
        (n_outputs,) nudged and read nodes, in the order of the targets.
    coupling_group
        (n_edges,) index of the coupling parameter of each bond. Bonds with the same index
        share one coupling, whose gradient is the sum over its bonds.
    group_kind
        (n_couplings,) index into `kind_names` of each coupling parameter; kinds let
        optimiser rates and initial scales differ, e.g. between layers.
    kind_names
        Names of the kinds of coupling, e.g. ``("layer0-layer1", "layer1-layer2")``.
    positions
        (N, 3) coordinates x, y, layer; for pictures and for spatial statistics only.
    layer
        (N,) layer number of each node (0 for graphs without layers).
    name
        One line that describes the architecture.

    Raises
    ------
    NetworkError
        No input or output, input and output overlap, a bond doubled or looped, an index out
        of range, groups not numbered 0..n-1, or a free node that no path connects to an
        input (its component would keep a free global rotation).
    """

    n_nodes: int
    edges: IntArray
    inputs: IntArray
    outputs: IntArray
    coupling_group: IntArray
    group_kind: IntArray
    kind_names: tuple[str, ...]
    positions: FloatArray
    layer: IntArray
    name: str

    @classmethod
    def create(
        cls,
        n_nodes: int,
        edges: Sequence[Sequence[int]] | IntArray,
        inputs: Sequence[int] | IntArray,
        outputs: Sequence[int] | IntArray,
        *,
        coupling_group: Sequence[int] | IntArray | None = None,
        group_kind: Sequence[int] | IntArray | None = None,
        kind_names: Sequence[str] = ("coupling",),
        positions: Sequence[Sequence[float]] | FloatArray | None = None,
        layer: Sequence[int] | IntArray | None = None,
        name: str = "graph",
    ) -> Network:
        """Build a network, filling in what is left out.

        By default every bond has its own coupling, all of one kind, the nodes sit on a unit
        circle and belong to layer 0. Bonds may be given in any orientation. The other
        arguments are the attributes of the class.
        """
        n = int(n_nodes)
        if n < 2:
            raise NetworkError(
                "too few nodes", field="network.n_nodes", value=n, allowed="2 or more"
            )
        pairs = _index_array(edges, "edges")
        if pairs.size == 0:
            pairs = pairs.reshape(0, 2)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise NetworkError(
                "not a list of node pairs",
                field="network.edges",
                value=pairs.shape,
                allowed="shape (n_edges, 2)",
            )
        group = np.arange(len(pairs)) if coupling_group is None else coupling_group
        group = _index_array(group, "coupling_group")
        n_groups = int(group.max()) + 1 if group.size else 0
        kind = np.zeros(max(n_groups, 0), np.int64) if group_kind is None else group_kind
        if positions is None:
            angle = 2 * np.pi * np.arange(n) / n
            positions = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1)
        return cls(
            n,
            _index_array(np.sort(pairs, axis=1), "edges"),
            _index_array(inputs, "inputs"),
            _index_array(outputs, "outputs"),
            group,
            _index_array(kind, "group_kind"),
            tuple(kind_names),
            _coordinates(positions),
            _index_array(np.zeros(n, np.int64) if layer is None else layer, "layer"),
            name,
        )

    def __post_init__(self) -> None:
        self._validate()

    def _validate(self) -> None:
        n = self.n_nodes
        for role, nodes in (("inputs", self.inputs), ("outputs", self.outputs)):
            if nodes.ndim != 1 or len(nodes) == 0:
                raise NetworkError(
                    f"the network has no {role[:-1]} node",
                    field=f"network.{role}",
                    value=nodes.tolist(),
                    allowed=f"at least one node index in 0..{n - 1}",
                )
            _check_nodes(nodes, n, role)
        both = np.intersect1d(self.inputs, self.outputs)
        if len(both):
            raise NetworkError(
                f"node {both[0]} is both input and output; a clamped phase cannot be nudged",
                field="network.outputs",
                value=self.outputs.tolist(),
                allowed="nodes that are not inputs",
            )
        if len(self.edges) == 0:
            raise NetworkError("the network has no bond", field="network.edges", value=[])
        _check_edges(self.edges, n)
        if self.coupling_group.shape != (len(self.edges),) or not _numbered(
            self.coupling_group, self.group_kind
        ):
            raise NetworkError(
                "coupling groups must be numbered 0..n-1 without gaps, one entry a bond, "
                "and group_kind must have one entry a group",
                field="network.coupling_group",
            )
        if len(self.group_kind) and not (
            self.group_kind.min() >= 0 and self.group_kind.max() < len(self.kind_names)
        ):
            raise NetworkError("group_kind points outside kind_names", field="network.group_kind")
        if self.positions.shape != (n, 3) or not np.isfinite(self.positions).all():
            raise NetworkError(
                "positions must be finite, one row x, y, layer a node",
                field="network.positions",
                value=self.positions.shape,
                allowed=f"shape ({n}, 3)",
            )
        if self.layer.shape != (n,):
            raise NetworkError("layer must have one entry a node", field="network.layer")
        self._check_reachable()

    def _check_reachable(self) -> None:
        labels = self.components(np.ones(len(self.edges), dtype=bool))
        anchored = np.isin(labels, labels[self.inputs])
        if not anchored.all():
            node = int(np.flatnonzero(~anchored)[0])
            raise NetworkError(
                f"free node {node} is not connected to any input, so its phases could rotate "
                "freely together",
                field="network.edges",
                allowed="a graph in which a path leads from every node to an input node",
            )

    def components(self, bond_mask: npt.NDArray[np.bool_]) -> IntArray:
        """Label the connected components that remain with the bonds in ``bond_mask``.

        Parameters
        ----------
        bond_mask
            (n_edges,) bonds to keep.

        Returns
        -------
        (N,) component number of each node.
        """
        kept = self.edges[bond_mask]
        graph = sparse.coo_array(
            (np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(self.n_nodes, self.n_nodes)
        )
        return np.asarray(csgraph.connected_components(graph, directed=False)[1], dtype=np.int64)

    @property
    def n_edges(self) -> int:
        """Number of bonds."""
        return len(self.edges)

    @property
    def n_couplings(self) -> int:
        """Number of coupling parameters (bonds that share one count once)."""
        return len(self.group_kind)

    @cached_property
    def free(self) -> IntArray:
        """(n_free,) hidden and output nodes, ascending."""
        return _frozen(np.setdiff1d(np.arange(self.n_nodes), self.inputs))

    @cached_property
    def hidden(self) -> IntArray:
        """(n_hidden,) nodes that are neither input nor output, ascending."""
        return _frozen(np.setdiff1d(self.free, self.outputs))

    @cached_property
    def free_index(self) -> IntArray:
        """(N,) position of each node within `free`; -1 for inputs."""
        index = np.full(self.n_nodes, -1, dtype=np.int64)
        index[self.free] = np.arange(len(self.free))
        return _frozen(index)

    @cached_property
    def internal_edges(self) -> IntArray:
        """Bond numbers (into `edges`) whose two ends are both free."""
        inside = (self.free_index[self.edges] >= 0).all(axis=1)
        return _frozen(np.flatnonzero(inside))

    @cached_property
    def boundary_edges(self) -> IntArray:
        """Bond numbers (into `edges`) with exactly one clamped end."""
        ends = (self.free_index[self.edges] >= 0).sum(axis=1)
        return _frozen(np.flatnonzero(ends == 1))

    @cached_property
    def edge_block(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """First ends, second ends (both unique), and where each bond lies in their block."""
        rows, row_of = np.unique(self.edges[:, 0], return_inverse=True)
        cols, col_of = np.unique(self.edges[:, 1], return_inverse=True)
        return rows, cols, row_of, col_of

    def group_multiplicity(self) -> IntArray:
        """(n_couplings,) number of bonds that share each coupling."""
        return np.bincount(self.coupling_group, minlength=self.n_couplings).astype(np.int64)


_Array = TypeVar("_Array", IntArray, FloatArray)


def _frozen(array: _Array) -> _Array:
    array.flags.writeable = False
    return array


def _index_array(values: object, name: str) -> IntArray:
    """Copy whole numbers into a read-only array; anything else is the user's mistake."""
    try:
        array = np.array(values)
    except ValueError:  # a ragged list
        array = np.array(None)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise NetworkError(
            "not whole numbers", field=f"network.{name}", value=values, allowed="node numbers"
        )
    return _frozen(array.astype(np.int64))


def _coordinates(values: object) -> FloatArray:
    try:
        return _frozen(np.array(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise NetworkError(
            "not coordinates",
            field="network.positions",
            value=values,
            allowed="one row x, y, layer a node",
        ) from None


def _check_nodes(nodes: IntArray, n: int, role: str) -> None:
    outside = nodes[(nodes < 0) | (nodes >= n)]
    if len(outside):
        raise NetworkError(
            f"node {outside[0]} does not exist",
            field=f"network.{role}",
            value=nodes.tolist(),
            allowed=f"0..{n - 1}",
        )
    values, counts = np.unique(nodes, return_counts=True)
    if (counts > 1).any():
        raise NetworkError(
            f"node {values[counts > 1][0]} is listed twice",
            field=f"network.{role}",
            value=nodes.tolist(),
            allowed="each node once",
        )


def _check_edges(edges: IntArray, n: int) -> None:
    bad = edges[(edges < 0).any(axis=1) | (edges >= n).any(axis=1)]
    if len(bad):
        raise NetworkError(
            f"bond {_pair(bad[0])} leaves the network",
            field="network.edges",
            value=_pair(bad[0]),
            allowed=f"node indices 0..{n - 1}",
        )
    loops = edges[edges[:, 0] == edges[:, 1]]
    if len(loops):
        raise NetworkError(
            f"node {loops[0, 0]} is coupled to itself",
            field="network.edges",
            value=_pair(loops[0]),
            allowed="two different nodes",
        )
    # One key a bond: far faster than comparing rows, which counts at millions of bonds.
    keys = np.sort(edges[:, 0] * n + edges[:, 1])
    doubled = keys[1:][keys[1:] == keys[:-1]]
    if len(doubled):
        pair = (int(doubled[0]) // n, int(doubled[0]) % n)
        raise NetworkError(
            f"bond {pair} is listed twice",
            field="network.edges",
            value=pair,
            allowed="each bond once",
        )


def _numbered(group: IntArray, group_kind: IntArray) -> bool:
    """Tell whether every group of ``group_kind`` occurs, and no other."""
    if group_kind.ndim != 1 or group.min() < 0 or group.max() >= len(group_kind):
        return False
    return bool(np.bincount(group, minlength=len(group_kind)).all())


def _pair(edge: IntArray) -> tuple[int, int]:
    first, second = (int(node) for node in edge)
    return first, second
