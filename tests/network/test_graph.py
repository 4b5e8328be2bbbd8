"""The graph: every mistake is refused, derived sets partition the nodes and bonds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.errors import NetworkError
from eqp_hw.network import Network

PATH = [(0, 1), (1, 2), (2, 3)]


def refused(field, *args, **kwargs):
    with pytest.raises(NetworkError) as caught:
        Network.create(*args, **kwargs)
    assert caught.value.field == f"network.{field}"
    return str(caught.value)


def test_bonds_are_stored_once_and_ascending():
    network = Network.create(4, [(1, 0), (3, 2), (1, 2)], [0], [3])
    assert network.edges.tolist() == [[0, 1], [2, 3], [1, 2]]


def test_defaults_are_own_couplings_of_one_kind_on_a_circle():
    network = Network.create(4, PATH, [0], [3])
    assert network.coupling_group.tolist() == [0, 1, 2]
    assert network.n_couplings == 3
    assert network.kind_names == ("coupling",)
    assert network.layer.tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(np.hypot(*network.positions[:, :2].T), 1)


def test_arrays_are_read_only_and_apart_from_the_callers():
    inputs = np.array([0])
    network = Network.create(4, PATH, inputs, [3])
    inputs[0] = 3
    assert network.inputs.tolist() == [0]
    for array in (network.edges, network.inputs, network.free, network.positions):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("n", [0, 1, -3])
def test_too_few_nodes(n):
    assert str(n) in refused("n_nodes", n, PATH, [0], [3])


@pytest.mark.parametrize("role", ["inputs", "outputs"])
def test_roles_need_existing_distinct_nodes(role):
    def roles(nodes):
        return {"inputs": [0], "outputs": [3]} | {role: nodes}

    assert f"no {role[:-1]} node" in refused(role, 4, PATH, **roles([]))
    assert "node 4 does not exist" in refused(role, 4, PATH, **roles([4]))
    assert "node -1 does not exist" in refused(role, 4, PATH, **roles([-1]))
    assert "node 2 is listed twice" in refused(role, 4, PATH, **roles([2, 2]))
    assert "0..3" in refused(role, 4, PATH, **roles([9]))


@pytest.mark.parametrize("bad", [["a"], [0.5], [None], [[0], [1, 2]]])
def test_indices_must_be_whole_numbers(bad):
    assert "not whole numbers" in refused("inputs", 4, PATH, bad, [3])


def test_output_among_inputs():
    assert "node 3 is both input and output" in refused("outputs", 4, PATH, [0, 3], [3])


def test_bond_mistakes():
    assert "no bond" in refused("edges", 4, [], [0], [3])
    assert "(2, 4) leaves the network" in refused("edges", 4, [*PATH, (4, 2)], [0], [3])
    assert "(-1, 2) leaves the network" in refused("edges", 4, [*PATH, (2, -1)], [0], [3])
    assert "node 2 is coupled to itself" in refused("edges", 4, [*PATH, (2, 2)], [0], [3])
    assert "(1, 2) is listed twice" in refused("edges", 4, [*PATH, (2, 1)], [0], [3])
    assert "node pairs" in refused("edges", 4, [(0, 1, 2)], [0], [3])
    assert "node pairs" in refused("edges", 4, [0, 1, 2], [0], [3])
    assert "not whole numbers" in refused("edges", 4, [(0, 1), (2,)], [0], [3])


@pytest.mark.parametrize("group", [[0, 0], [0, 2, 2], [-1, 0, 1], [1, 2, 3]])
def test_groups_must_be_numbered_without_gaps(group):
    refused("coupling_group", 4, PATH, [0], [3], coupling_group=group)


def test_group_kinds_must_fit():
    refused("coupling_group", 4, PATH, [0], [3], group_kind=[0, 0])
    refused("group_kind", 4, PATH, [0], [3], group_kind=[0, 1, 0])
    refused("group_kind", 4, PATH, [0], [3], group_kind=[0, -1, 0])


def test_positions_and_layers_must_fit():
    refused("positions", 4, PATH, [0], [3], positions=np.zeros((4, 2)))
    refused("positions", 4, PATH, [0], [3], positions=np.full((4, 3), np.nan))
    refused("positions", 4, PATH, [0], [3], positions=[["x", 0, 0]] * 4)
    refused("layer", 4, PATH, [0], [3], layer=[0, 0, 0])


def test_free_rotation_is_refused():
    text = refused("edges", 5, [(0, 1), (1, 2), (3, 4)], [0], [2])
    assert "free node 3" in text
    assert "rotate" in text


def test_an_isolated_input_is_no_zero_mode():
    network = Network.create(4, [(0, 1), (1, 2)], [0, 3], [2])
    assert network.free.tolist() == [1, 2]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_derived_sets_partition_nodes_and_bonds(data):
    n = data.draw(st.integers(2, 12))
    order = data.draw(st.permutations(range(n)))
    n_in = data.draw(st.integers(1, n - 1))
    n_out = data.draw(st.integers(1, n - n_in))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    extra = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    star = [(max(order[0], k), min(order[0], k)) for k in range(n) if k != order[0]]
    edges = list(dict.fromkeys([*star, *extra]))
    network = Network.create(n, edges, order[:n_in], order[n_in : n_in + n_out])
    roles = np.concatenate([network.inputs, network.hidden, network.outputs])
    assert sorted(roles.tolist()) == list(range(n))
    assert network.free[network.free_index[network.outputs]].tolist() == network.outputs.tolist()
    free = set(network.free.tolist())
    ends = [len(free & {i, j}) for i, j in network.edges.tolist()]
    assert network.internal_edges.tolist() == [k for k, e in enumerate(ends) if e == 2]
    assert network.boundary_edges.tolist() == [k for k, e in enumerate(ends) if e == 1]


def test_multiplicity_counts_the_bonds_of_each_coupling():
    network = Network.create(4, PATH, [0], [3], coupling_group=[1, 0, 1])
    assert network.group_multiplicity().tolist() == [1, 2]
