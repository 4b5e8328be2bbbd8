"""Architectures by name, as an experiment file asks for them."""

import tomllib

import pytest

from eqp_hw.errors import NetworkError
from eqp_hw.network import NETWORKS, build_network, layered

EXAMPLES = {
    "all-to-all": ("n_nodes = 5\ninputs = 2\noutputs = 1", 5, 10),
    "layered": ("sizes = [4, 10, 3]", 17, 70),
    "lattice": (
        "rows = 5\ncolumns = 5\ninputs = [[0, 0], [0, 1]]\noutputs = [[4, 4]]\nskips = [2, 3]",
        25,
        90,
    ),
    "stacked-lattices": ("shapes = [[4, 4], [2, 2]]\nwindow = 2", 20, 4 * 4 + 4),
    "locally-connected": ("input_shape = [4, 4]\nwindow = 3\nn_outputs = 2", 22, 4 * 9 + 8),
    "convolutional": (
        "input_shape = [4, 4]\nwindow = 3\nchannels = 2\nn_outputs = 2\nintra = 'nearest'",
        26,
        2 * (4 * 9 + 8 + 4),
    ),
    "edge-list": ("edges = [[0, 1], [1, 2]]\ninputs = [0]\noutputs = [2]", 3, 2),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_architecture_is_built_from_toml(kind):
    text, n_nodes, n_edges = EXAMPLES[kind]
    network = build_network(kind, tomllib.loads(text))
    assert (network.n_nodes, network.n_edges) == (n_nodes, n_edges)
    entry = NETWORKS[kind]
    assert entry.name == kind
    assert entry.description
    assert "\n" not in entry.description
    assert entry.unavailable_because is None


def test_options_and_defaults_are_the_builders():
    lattice = NETWORKS["lattice"]
    assert lattice.required == ["rows", "columns"]
    assert lattice.options["periodic"] is False
    assert NETWORKS["layered"].builder is layered


@pytest.mark.parametrize(
    ("kind", "options", "field", "told"),
    [
        ("latice", {}, "kind", "did you mean 'lattice'?"),
        ("layered", {}, "sizes", "needs this option"),
        ("layered", {"sizes": [2, 1], "size": 3}, "size", "did you mean 'sizes'?"),
        ("lattice", {"rows": 3}, "columns", "allowed: options rows, columns, inputs"),
        ("lattice", {"rows": 3, "columns": 3, "colour": 1}, "colour", "rows, columns, inputs"),
        ("lattice", {"rows": 3, "columns": "3"}, "columns", "not a whole number"),
        ("edge-list", {"edges": "absent.csv", "inputs": 1, "outputs": 1}, "edges", "absent.csv"),
        ("edge-list", {"edges": 7, "inputs": 1, "outputs": 1}, "edges", "not a list of bonds"),
    ],
)
def test_mistakes_name_the_option_and_what_is_allowed(kind, options, field, told):
    with pytest.raises(NetworkError) as caught:
        build_network(kind, options)
    assert caught.value.field == f"network.{field}"
    assert told in str(caught.value)
    assert "allowed: " in str(caught.value)
