"""Architectures: counts, neighbourhoods and places against independent constructions."""

import itertools

import networkx as nx
import numpy as np
import pytest

from eqp_hw.errors import NetworkError
from eqp_hw.network import (
    all_to_all,
    convolutional,
    edge_list,
    layered,
    locally_connected,
    square_lattice,
    stacked_lattices,
)


def bonds(network, kind=None):
    """Bonds as a set of frozensets, of one kind or all."""
    kinds = np.array(network.kind_names)[network.group_kind[network.coupling_group]]
    return {
        frozenset(edge)
        for edge, name in zip(network.edges.tolist(), kinds, strict=True)
        if kind in {None, name}
    }


def grid_graph_bonds(rows, columns, periodic):
    graph = nx.grid_2d_graph(rows, columns, periodic=periodic)
    return {frozenset(r * columns + c for r, c in edge) for edge in graph.edges}


def test_all_to_all_couples_every_pair():
    network = all_to_all(5, inputs=2, outputs=1)
    assert bonds(network) == {frozenset(pair) for pair in itertools.combinations(range(5), 2)}
    assert network.inputs.tolist() == [0, 1]
    assert network.outputs.tolist() == [4]
    chosen = all_to_all(5, inputs=[3, 1], outputs=[0])
    assert chosen.inputs.tolist() == [3, 1]
    assert chosen.outputs.tolist() == [0]


def test_layered_is_complete_multipartite_between_neighbours():
    network = layered([3, 4, 2])
    assert network.n_nodes == 9
    assert bonds(network, "layer0-layer1") == {
        frozenset(p) for p in itertools.product(range(3), range(3, 7))
    }
    assert bonds(network, "layer1-layer2") == {
        frozenset(p) for p in itertools.product(range(3, 7), range(7, 9))
    }
    assert network.n_edges == 12 + 8
    assert network.inputs.tolist() == [0, 1, 2]
    assert network.outputs.tolist() == [7, 8]
    assert network.layer.tolist() == [0] * 3 + [1] * 4 + [2] * 2
    assert network.positions[:, 0].tolist() == network.layer.tolist()


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (1, 6), (5, 1), (3, 3), (2, 2), (4, 7)])
@pytest.mark.parametrize("periodic", [False, True])
def test_square_lattice_is_networkx_grid(rows, columns, periodic):
    network = square_lattice(rows, columns, [0], [rows * columns - 1], periodic=periodic)
    expected = grid_graph_bonds(rows, columns, periodic)
    assert bonds(network) == {bond for bond in expected if len(bond) == 2}


@pytest.mark.parametrize(
    ("rows", "columns", "skips"),
    [(7, 6, [2, 3]), (4, 8, [2, 4]), (6, 6, [3]), (1, 9, [2]), (4, 4, [2])],
)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_skips_join_exactly_the_pairs_at_that_distance(rows, columns, skips, periodic, diagonal):
    network = square_lattice(
        rows, columns, [0], [1], periodic=periodic, skips=skips, diagonal_skips=diagonal
    )

    def apart(a, b, size):
        step = abs(a - b)
        return min(step, size - step) if periodic else step

    cells = list(itertools.product(range(rows), range(columns)))
    for length in skips:
        straight, oblique = set(), set()
        for (r, c), (r2, c2) in itertools.combinations(cells, 2):
            steps = apart(r, r2, rows), apart(c, c2, columns)
            bond = frozenset((r * columns + c, r2 * columns + c2))
            if steps in {(0, length), (length, 0)}:
                straight.add(bond)
            if steps == (length, length):
                oblique.add(bond)
        assert bonds(network, f"skip-{length}") == straight
        assert bonds(network, f"skip-{length}-diagonal") == (oblique if diagonal else set())
    assert bonds(network, "nearest") == {
        b for b in grid_graph_bonds(rows, columns, periodic) if len(b) == 2
    }


def test_lattice_of_the_xor_study():
    network = square_lattice(5, 5, inputs=[[0, 0], [0, 1]], outputs=[[4, 4]], skips=[2, 3])
    assert network.inputs.tolist() == [0, 1]
    assert network.outputs.tolist() == [24]
    assert [len(bonds(network, k)) for k in network.kind_names] == [40, 30, 20]
    assert network.positions[7].tolist() == [2, -1, 0]


@pytest.mark.parametrize(
    ("place", "nodes"),
    [
        ("left-edge", [0, 4, 8]),
        ("right-edge", [3, 7, 11]),
        ("top-edge", [0, 1, 2, 3]),
        ("bottom-edge", [8, 9, 10, 11]),
        ("corners", [0, 3, 8, 11]),
        ("top-edge:2", [1, 3]),
        ("left-edge:1", [4]),
        ("left-edge:3", [0, 4, 8]),
        (2, [0, 8]),
        ([1, [1, 1], [2, 0]], [1, 5, 8]),
        (np.array([[0, 1], [2, 2]]), [1, 10]),
    ],
)
def test_places_on_a_lattice(place, nodes):
    outputs = [node for node in range(12) if node not in nodes][:1]
    network = square_lattice(3, 4, inputs=place, outputs=outputs)
    assert sorted(network.inputs.tolist()) == sorted(set(nodes))
    if not isinstance(place, int):
        assert network.inputs.tolist() == nodes


def test_corners_of_a_single_row():
    network = square_lattice(1, 5, inputs="corners", outputs=[2])
    assert network.inputs.tolist() == [0, 4]


def test_stacked_lattices_have_whole_windows_and_planes():
    network = stacked_lattices([[6, 6], [6, 6], [3, 2]], window=3)
    assert network.kind_names == (
        "layer0-layer1",
        "layer1-layer2",
        "intra-layer1",
        "intra-layer2",
    )
    degree = np.zeros((network.n_nodes, network.n_nodes), dtype=int)
    i, j = network.edges.T
    degree[i, j] = degree[j, i] = 1
    layer = network.layer
    assert (degree[np.ix_(layer == 1, layer == 0)].sum(axis=1) == 9).all()
    assert (degree[np.ix_(layer == 2, layer == 1)].sum(axis=1) == 9).all()
    assert not degree[np.ix_(layer == 2, layer == 0)].any()
    assert not degree[np.ix_(layer == 0, layer == 0)].any()
    # An inner node sees the window around its own place.
    node = 36 + 2 * 6 + 3
    expected = {r * 6 + c for r in (1, 2, 3) for c in (2, 3, 4)}
    assert set(np.flatnonzero(degree[node] * (layer == 0))) == expected
    assert {frozenset(v - 36 for v in b) for b in bonds(network, "intra-layer1")} == (
        grid_graph_bonds(6, 6, False)
    )
    assert network.inputs.tolist() == list(range(36))
    assert network.outputs.tolist() == list(range(72, 78))
    assert network.positions[:, 2].tolist() == layer.tolist()


def test_stacked_first_layer_keeps_its_bonds_if_some_of_it_is_free():
    network = stacked_lattices([[4, 4], [2, 2]], window=2, inputs="corners", outputs=[0])
    assert len(bonds(network, "intra-layer0")) == 24
    assert network.outputs.tolist() == [16]


def test_mnist_locally_connected_layer_has_the_figures_of_the_paper():
    network = locally_connected([28, 28], window=6, n_outputs=10)
    assert len(network.hidden) == 23 * 23 == 529
    assert len(bonds(network, "layer0-layer1")) == 19_044
    assert len(bonds(network, "layer1-layer2")) == 5_290
    assert network.n_couplings == network.n_edges == 19_044 + 5_290
    assert len(network.inputs) == 784
    assert len(network.outputs) == 10


@pytest.mark.parametrize("stride", [1, 2])
def test_locally_connected_windows(stride):
    network = locally_connected([5, 7], window=3, n_outputs=2, stride=stride)
    rows, columns = (5 - 3) // stride + 1, (7 - 3) // stride + 1
    expected = set()
    for r, c in itertools.product(range(rows), range(columns)):
        for u, v in itertools.product(range(3), range(3)):
            below = (r * stride + u) * 7 + c * stride + v
            expected.add(frozenset((below, 35 + r * columns + c)))
    assert bonds(network, "layer0-layer1") == expected
    # A hidden node is drawn above the middle of its window.
    x, y, layer = network.positions[35 + columns + 1]
    assert (x, y, layer) == (stride + 1, -(stride + 1), 1)


@pytest.mark.parametrize(
    ("intra", "squared_distances"),
    [
        ("none", set()),
        ("nearest", {1}),
        ("1-shells", {1}),
        ("2-shells", {1, 2}),
        ("4-shells", {1, 2, 4, 5}),
        ("7-shells", {1, 2, 4, 5, 8, 9, 10}),
        ([[0, 1], [0, 2], [1, 0], [2, 0]], {1, 4}),
        ([[1, 2], [1, -2], [2, 1], [-2, 1]], {5}),
    ],
)
def test_couplings_inside_a_layer_by_distance(intra, squared_distances):
    network = locally_connected([8, 9], window=3, n_outputs=1, intra=intra)
    expected = set()
    cells = list(itertools.product(range(6), range(7)))
    for (r, c), (r2, c2) in itertools.combinations(cells, 2):
        if (r - r2) ** 2 + (c - c2) ** 2 in squared_distances:
            expected.add(frozenset((72 + r * 7 + c, 72 + r2 * 7 + c2)))
    assert bonds(network, "intra-layer1") == expected


def test_named_neighbourhoods_stop_at_the_edge_of_small_layers():
    network = locally_connected([4, 3], window=3, n_outputs=1, intra="4-shells")
    assert bonds(network, "intra-layer1") == {frozenset((12, 13))}


def test_convolution_ties_the_bonds_of_a_kernel():
    network = convolutional([6, 5], window=3, channels=2, n_outputs=4, intra="nearest")
    n_map = 4 * 3
    multiplicity = network.group_multiplicity()
    kinds = np.array(network.kind_names)[network.group_kind]
    assert multiplicity[kinds == "layer0-layer1"].tolist() == [n_map] * (2 * 9)
    assert multiplicity[kinds == "layer1-layer2"].tolist() == [1] * (2 * n_map * 4)
    # Along rows 4·2 bonds, along columns 3·3, one coupling for each of them and channel.
    assert sorted(multiplicity[kinds == "intra-layer1"].tolist()) == [8, 8, 9, 9]
    # All bonds of a coupling point from hidden node to input by the same shift, in one channel.
    for group in np.flatnonzero(kinds == "layer0-layer1"):
        below, above = network.edges[network.coupling_group == group].T
        channel, place = np.divmod(above - 30, n_map)
        assert len(set(channel)) == 1
        shift = (below // 5 - place // 3) * 10 + (below % 5 - place % 3)
        assert len(set(shift)) == 1


def test_convolution_with_one_channel_has_the_bonds_of_the_local_layer():
    tied = convolutional([7, 7], window=3, channels=1, n_outputs=3, stride=2, intra="2-shells")
    free = locally_connected([7, 7], window=3, n_outputs=3, stride=2, intra="2-shells")
    assert bonds(tied) == bonds(free)
    assert tied.n_couplings < free.n_couplings


def test_edge_list():
    network = edge_list(
        [[0, 1], [2, 1], [2, 3]],
        inputs=1,
        outputs=[3],
        coupling_group=[0, 1, 0],
        bond_kind=["outer", "inner", "outer"],
        positions=[[0, 0], [1, 0], [2, 0.5], [3, 0]],
    )
    assert network.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert network.n_couplings == 2
    assert network.kind_names == ("outer", "inner")
    assert network.group_kind.tolist() == [0, 1]
    assert network.positions[2].tolist() == [2, 0.5, 0]


@pytest.mark.parametrize(
    "network",
    [
        all_to_all(6, 2, 1),
        layered([4, 5, 3]),
        square_lattice(4, 4, skips=[2]),
        stacked_lattices([[4, 4], [3, 3], [2, 2]], window=2),
        locally_connected([6, 6], 3, 4),
        convolutional([6, 6], 3, 3, 4, intra="4-shells"),
    ],
    ids=lambda network: network.name,
)
def test_no_two_nodes_are_drawn_at_one_place(network):
    assert len(np.unique(network.positions, axis=0)) == network.n_nodes


LATTICE = {"rows": 4, "columns": 5}
WINDOWED = {"input_shape": [6, 6], "window": 3, "n_outputs": 2}
EDGES = {"edges": [[0, 1], [1, 2]], "inputs": [0], "outputs": [2]}


@pytest.mark.parametrize(
    ("builder", "options", "field"),
    [
        (all_to_all, {"n_nodes": -1, "inputs": 1, "outputs": 1}, "n_nodes"),
        (all_to_all, {"n_nodes": "5", "inputs": 1, "outputs": 1}, "n_nodes"),
        (all_to_all, {"n_nodes": True, "inputs": 1, "outputs": 1}, "n_nodes"),
        (all_to_all, {"n_nodes": 10**9, "inputs": 1, "outputs": 1}, "n_nodes"),
        (all_to_all, {"n_nodes": 3, "inputs": 2, "outputs": 2}, "outputs"),
        (all_to_all, {"n_nodes": 3, "inputs": 0, "outputs": 1}, "inputs"),
        (all_to_all, {"n_nodes": 3, "inputs": 4, "outputs": 1}, "inputs"),
        (all_to_all, {"n_nodes": 3, "inputs": [3], "outputs": 1}, "inputs"),
        (all_to_all, {"n_nodes": 3, "inputs": [0, 0], "outputs": 1}, "inputs"),
        (all_to_all, {"n_nodes": 3, "inputs": "all", "outputs": 1}, "inputs"),
        (all_to_all, {"n_nodes": 3, "inputs": [[0]], "outputs": 1}, "inputs"),
        (layered, {"sizes": [4]}, "sizes"),
        (layered, {"sizes": 4}, "sizes"),
        (layered, {"sizes": [4, 0, 2]}, "sizes[1]"),
        (layered, {"sizes": [4, 1.5, 2]}, "sizes[1]"),
        (layered, {"sizes": [10**30, 10**30]}, "sizes"),
        (square_lattice, {"rows": 0, "columns": 5}, "rows"),
        (square_lattice, {"rows": 4, "columns": -5}, "columns"),
        (square_lattice, {"rows": 10**9, "columns": 10**9}, "rows"),
        (square_lattice, {**LATTICE, "periodic": "yes"}, "periodic"),
        (square_lattice, {**LATTICE, "skips": [5]}, "skips"),
        (square_lattice, {**LATTICE, "skips": [3], "periodic": True}, "skips"),
        (square_lattice, {**LATTICE, "skips": [2, 2]}, "skips"),
        (square_lattice, {**LATTICE, "skips": [1]}, "skips[0]"),
        (square_lattice, {**LATTICE, "skips": 2}, "skips"),
        (square_lattice, {**LATTICE, "diagonal_skips": True}, "diagonal_skips"),
        (square_lattice, {**LATTICE, "inputs": [[4, 0]]}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": [[0, -1]]}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": [[0, 0, 0]]}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": [20]}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": [0, [0, 0]]}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": "middle"}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": "left-edge:5"}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": "left-edge:0"}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": "left-edge:x"}, "inputs"),
        (square_lattice, {**LATTICE, "inputs": 1.0}, "inputs"),
        (square_lattice, {**LATTICE, "outputs": 5}, "outputs"),
        (square_lattice, {**LATTICE, "outputs": "left-edge"}, "outputs"),
        (square_lattice, {"rows": 1, "columns": 1}, "n_nodes"),
        (stacked_lattices, {"shapes": [[4, 4]]}, "shapes"),
        (stacked_lattices, {"shapes": [[4, 4], [4]]}, "shapes[1]"),
        (stacked_lattices, {"shapes": [[4, 4], [0, 4]]}, "shapes[1]"),
        (stacked_lattices, {"shapes": [[4, 2], [2, 2]]}, "window"),
        (stacked_lattices, {"shapes": [[4, 4], [3, 3]], "intra": [[3, 0]]}, "intra"),
        (stacked_lattices, {"shapes": [[4, 4], [3, 3]], "outputs": [9]}, "outputs"),
        (locally_connected, {**WINDOWED, "window": 7}, "window"),
        (locally_connected, {**WINDOWED, "window": 0}, "window"),
        (locally_connected, {**WINDOWED, "stride": 2}, "stride"),
        (locally_connected, {**WINDOWED, "window": 2, "stride": 4}, "stride"),
        (locally_connected, {**WINDOWED, "n_outputs": 0}, "n_outputs"),
        (locally_connected, {**WINDOWED, "input_shape": [6]}, "input_shape"),
        (locally_connected, {**WINDOWED, "input_shape": [6.0, 6]}, "input_shape"),
        (locally_connected, {**WINDOWED, "input_shape": [10**6, 10**6]}, "input_shape"),
        (locally_connected, {**WINDOWED, "intra": "far"}, "intra"),
        (locally_connected, {**WINDOWED, "intra": "0-shells"}, "intra"),
        (locally_connected, {**WINDOWED, "intra": "99-shells"}, "intra"),
        (locally_connected, {**WINDOWED, "intra": 4}, "intra"),
        (locally_connected, {**WINDOWED, "intra": [[0, 0]]}, "intra"),
        (locally_connected, {**WINDOWED, "intra": [[0, 1], [0, -1]]}, "intra"),
        (locally_connected, {**WINDOWED, "intra": [[0, 4]]}, "intra"),
        (convolutional, {**WINDOWED, "channels": 0}, "channels"),
        (convolutional, {**WINDOWED, "channels": 10**9}, "channels"),
        (convolutional, {**WINDOWED, "channels": 1, "window": 9}, "window"),
        (edge_list, {**EDGES, "edges": []}, "edges"),
        (edge_list, {**EDGES, "edges": [[0, 1], [1]]}, "edges[1]"),
        (edge_list, {**EDGES, "edges": [[0, -1]]}, "edges[0]"),
        (edge_list, {**EDGES, "edges": [[0, 10**12]]}, "edges"),
        (edge_list, {**EDGES, "n_nodes": 2, "outputs": [1]}, "edges"),
        (edge_list, {**EDGES, "coupling_group": [0]}, "coupling_group"),
        (edge_list, {**EDGES, "coupling_group": [0, 2]}, "coupling_group"),
        (edge_list, {**EDGES, "coupling_group": [0, -1]}, "coupling_group[1]"),
        (edge_list, {**EDGES, "bond_kind": ["a"]}, "bond_kind"),
        (edge_list, {**EDGES, "coupling_group": [0, 0], "bond_kind": ["a", "b"]}, "bond_kind"),
        (edge_list, {**EDGES, "positions": [[0, 0]]}, "positions"),
        (edge_list, {**EDGES, "positions": [[0], [0], [0]]}, "positions[0]"),
        (edge_list, {**EDGES, "positions": 3}, "positions"),
    ],
)
def test_every_mistake_is_named(builder, options, field):
    with pytest.raises(NetworkError) as caught:
        builder(**options)
    assert caught.value.field == f"network.{field}"
    assert "allowed: " in str(caught.value)


def test_refused_stride_lists_the_ones_that_fit():
    with pytest.raises(NetworkError, match=r"allowed: 1 or 3 or 5\)"):
        locally_connected([20, 20], window=5, n_outputs=1, stride=2)
