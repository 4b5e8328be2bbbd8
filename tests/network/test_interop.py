"""Exchange with networkx and edge-list files: exact round trips, mistakes named."""

import sys

import networkx as nx
import numpy as np
import pytest

from eqp_hw.errors import NetworkError, UnavailableError
from eqp_hw.network import (
    Network,
    all_to_all,
    convolutional,
    from_edge_list,
    from_networkx,
    layered,
    square_lattice,
    to_networkx,
)

ARRAYS = ("edges", "inputs", "outputs", "coupling_group", "group_kind", "positions", "layer")


def assert_same(first, second):
    assert first.n_nodes == second.n_nodes
    assert first.kind_names == second.kind_names
    assert first.name == second.name
    for attribute in ARRAYS:
        np.testing.assert_array_equal(getattr(first, attribute), getattr(second, attribute))


@pytest.mark.parametrize(
    "network",
    [
        all_to_all(5, inputs=[4, 1], outputs=[2]),
        layered([3, 4, 2]),
        square_lattice(4, 5, [[3, 0], [0, 0]], [[1, 4], [0, 4]], periodic=True, skips=[2]),
        convolutional([5, 5], 3, channels=2, n_outputs=2, intra="nearest"),
        Network.create(
            4,
            [(2, 3), (0, 1), (1, 2)],
            [0],
            [3],
            coupling_group=[1, 0, 1],
            group_kind=[2, 0],
            kind_names=("a", "unused", "b"),
            name="shuffled",
        ),
    ],
    ids=lambda network: network.name,
)
def test_round_trip_through_networkx_is_exact(network):
    assert_same(from_networkx(to_networkx(network)), network)


def test_round_trip_survives_a_graph_file(tmp_path):
    network = layered([2, 3, 1])
    path = tmp_path / "net.json"
    import json

    path.write_text(json.dumps(nx.node_link_data(to_networkx(network), edges="edges")))
    graph = nx.node_link_graph(json.loads(path.read_text()), edges="edges")
    assert_same(from_networkx(graph), network)


def test_networkx_graph_carries_roles_groups_and_kinds():
    graph = to_networkx(convolutional([4, 4], 3, channels=1, n_outputs=1))
    assert graph.nodes[0] == {"role": "input", "order": 0, "position": (0, 0, 0), "layer": 0}
    assert graph.nodes[16]["role"] == "hidden"
    assert graph.nodes[20]["role"] == "output"
    assert graph.edges[0, 16]["group"] == graph.edges[1, 17]["group"]
    assert graph.edges[16, 20]["kind"] == "layer1-layer2"


def test_any_labelled_graph_is_taken():
    graph = nx.karate_club_graph()
    network = from_networkx(graph, inputs=[33, 0], outputs=[16])
    assert network.n_edges == graph.number_of_edges()
    assert network.inputs.tolist() == [33, 0]
    named = nx.Graph([("in", "h"), ("h", "out")])
    nx.set_node_attributes(named, {"in": (0, 0), "h": (1, 2), "out": (2, 0)}, "pos")
    network = from_networkx(named, inputs=["in"], outputs=["out"])
    assert network.positions.tolist() == [[0, 0, 0], [1, 2, 0], [2, 0, 0]]
    assert network.outputs.tolist() == [2]


def labelled():
    return to_networkx(layered([2, 2, 1]))


def test_networkx_mistakes():
    with pytest.raises(NetworkError, match="directed"):
        from_networkx(labelled().to_directed())
    with pytest.raises(NetworkError, match="parallel"):
        from_networkx(nx.MultiGraph(labelled()))
    with pytest.raises(NetworkError, match=r"network\.inputs = 'x': the graph has no such node"):
        from_networkx(labelled(), inputs=["x"])
    graph = labelled()
    graph.nodes[1]["role"] = "inptu"
    with pytest.raises(NetworkError, match=r"role = 'inptu'.*input, hidden, output"):
        from_networkx(graph)
    graph = labelled()
    del graph.edges[0, 2]["group"]
    with pytest.raises(NetworkError, match="only 5 of 6 have 'group'"):
        from_networkx(graph)
    graph = labelled()
    graph.edges[0, 2]["group"] = "first"
    with pytest.raises(NetworkError, match="group = 'first': not a whole number"):
        from_networkx(graph)
    graph = labelled()
    graph.nodes[0]["position"] = "left"
    with pytest.raises(NetworkError, match="position"):
        from_networkx(graph)
    with pytest.raises(NetworkError, match="no input node"):
        from_networkx(nx.path_graph(3))


def test_without_networkx_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(UnavailableError, match=r"pip install 'eqp_hw\[graphs\]'"):
        to_networkx(layered([2, 1]))


@pytest.mark.parametrize(
    "text",
    [
        "0 1\n1 2\n2 3\n",
        "# a path\n0,1\n\n1, 2   # middle\n2 ,3",
        "source;target\n0;1\n1;2\n2;3\n",
        "i j\n0\t1\n1\t2\n2\t3\n",
    ],
)
def test_edge_list_file(tmp_path, text):
    path = tmp_path / "path.txt"
    path.write_text(text)
    network = from_edge_list(path, inputs=1, outputs=1)
    assert network.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert network.n_couplings == 3
    assert_same(network, from_edge_list([[0, 1], [1, 2], [2, 3]], inputs=[0], outputs=[3]))


def test_edge_list_file_with_groups_and_kinds(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("i,j,group,kind\n0,1,0,near\n1,2,0,near\n0,2,1,far\n")
    network = from_edge_list(str(path), inputs=[0], outputs=[2])
    assert network.coupling_group.tolist() == [0, 0, 1]
    assert network.kind_names == ("near", "far")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no bond"),
        ("i,j\n", "holds no bond"),
        ("0 1\n1\n", "line 2 = '1': not a bond"),
        ("0 1\n1 x\n", "line 2 = '1 x': not a bond"),
        ("0 1\n1 -2\n", "line 2"),
        ("0 1.5\n", "line 1"),
        ("O 1\n1 2\n", "line 1 = 'O 1'"),
        ("0 1\n1 2 0\n", "line 2 = '1 2 0'"),
        ("0 1 0 near more\n", "line 1"),
        ("0 1\n1 0\n", "listed twice"),
        ("0 1\n1 1\n", "coupled to itself"),
        ("0 1\n2 3\n", "rotate"),
        (f"0 1\n1 {'9' * 17}\n", "bonds or more"),
        ("0 1 " + "9" * 40 + "\n", "line 1"),
    ],
)
def test_edge_list_file_mistakes(tmp_path, text, told):
    path = tmp_path / "net.txt"
    path.write_text(text)
    with pytest.raises(NetworkError) as caught:
        from_edge_list(path, inputs=[0], outputs=[1])
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_unreadable_edge_list_file(tmp_path):
    with pytest.raises(NetworkError, match="No such file"):
        from_edge_list(tmp_path / "absent.csv", inputs=1, outputs=1)
    with pytest.raises(NetworkError, match="cannot be read"):
        from_edge_list(tmp_path, inputs=1, outputs=1)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetworkError, match="not a text file"):
        from_edge_list(binary, inputs=1, outputs=1)
