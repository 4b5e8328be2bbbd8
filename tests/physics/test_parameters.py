"""Parameters: shapes, values, and free rotations refused."""

import numpy as np
import pytest

from eqp_hw.errors import ParameterError, ZeroModeError
from eqp_hw.network import Network, convolutional, layered, square_lattice
from eqp_hw.physics.parameters import Parameters

CHAIN = Network.create(4, [(0, 1), (1, 2), (2, 3)], [0], [3])


def ones(network=CHAIN, directed=False):
    return Parameters.zeros(network, directed=directed).map(
        lambda part: part + 1.0 * (part.dtype == float)
    )


def test_zeros_have_the_shape_of_the_network():
    network = convolutional([4, 4], 3, channels=2, n_outputs=1)
    zeros = Parameters.zeros(network, directed=True)
    assert zeros.coupling.shape == zeros.coupling_reverse.shape == (network.n_couplings,)
    assert zeros.bias.shape == (network.n_nodes,)
    assert zeros.bias.dtype == complex
    assert zeros.directed
    assert not Parameters.zeros(network).directed


def test_bonds_of_a_group_have_the_same_coupling_in_each_direction():
    network = Network.create(4, CHAIN.edges, [0], [3], coupling_group=[1, 0, 1])
    forward, reverse = Parameters(
        np.array([2.0, 3.0]), np.zeros(4, complex), np.array([5.0, 7.0])
    ).bond_coupling(network)
    assert forward.tolist() == [3, 2, 3]
    assert reverse.tolist() == [7, 5, 7]
    forward, reverse = Parameters(np.array([2.0, 3.0]), np.zeros(4, complex)).bond_coupling(network)
    assert forward.tolist() == reverse.tolist() == [3, 2, 3]


@pytest.mark.parametrize("directed", [False, True])
def test_map_acts_on_every_part(directed):
    first, second = ones(directed=directed), ones(directed=directed)
    total = first.map(lambda a, b: 2 * a + b, second)
    assert total.directed is directed
    np.testing.assert_array_equal(total.flatten(), 3 * first.flatten())


def test_flatten_orders_couplings_then_real_and_imaginary_bias():
    parameters = Parameters(np.array([1.0, 2, 3]), np.array([0, 4 + 7j, 5 + 8j, 6 + 9j]))
    assert parameters.flatten().tolist() == [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9]
    directed = Parameters(parameters.coupling, parameters.bias, -parameters.coupling)
    assert directed.flatten().tolist() == [1, 2, 3, -1, -2, -3, 0, 4, 5, 6, 0, 7, 8, 9]


@pytest.mark.parametrize("part", ["coupling", "bias", "coupling_reverse"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(part, value):
    parameters = ones(directed=True)
    getattr(parameters, part)[1] = value
    with pytest.raises(ParameterError) as caught:
        parameters.validate(CHAIN)
    assert caught.value.field == f"{part}[1]"
    assert "finite" in str(caught.value)


def test_wrong_shapes_are_named():
    with pytest.raises(ParameterError, match=r"coupling = \(2,\): wrong shape \(allowed: \(3,\)\)"):
        Parameters(np.ones(2), np.zeros(4, complex)).validate(CHAIN)
    with pytest.raises(ParameterError, match="bias"):
        Parameters(np.ones(3), np.zeros(3, complex)).validate(CHAIN)
    with pytest.raises(ParameterError, match="coupling_reverse"):
        Parameters(np.ones(3), np.zeros(4, complex), np.ones(4)).validate(CHAIN)


def test_a_bias_at_an_input_is_refused():
    with pytest.raises(ParameterError, match=r"bias\[0\].*input is clamped"):
        Parameters(np.ones(3), np.array([1j, 0, 0, 0])).validate(CHAIN)


@pytest.mark.parametrize("network", [CHAIN, layered([3, 4, 2]), square_lattice(3, 3)])
def test_connected_couplings_are_accepted(network):
    ones(network).validate(network)
    ones(network, directed=True).validate(network)


def test_zero_mode_of_a_cut_chain():
    cut = Parameters(np.array([1.0, 0, 1]), np.zeros(4, complex))
    with pytest.raises(ZeroModeError, match="free node 2"):
        cut.validate(CHAIN)
    Parameters(cut.coupling, np.array([0, 0, 0, 0.1j])).validate(CHAIN)
    with pytest.raises(ZeroModeError, match="free node 2"):
        Parameters(cut.coupling, np.array([0, 0.1, 0, 0])).validate(CHAIN)


def test_zero_mode_of_a_directed_chain_looks_at_what_drives_a_node():
    # Bond (1, 2): node 2 is driven by J_ji (reverse), node 1 by J_ij.
    backwards = Parameters(np.ones(3), np.zeros(4, complex), np.array([1.0, 0, 1]))
    with pytest.raises(ZeroModeError, match="free node 2"):
        backwards.validate(CHAIN)
    onwards = Parameters(np.array([1.0, 0, 1]), np.zeros(4, complex), np.ones(3))
    onwards.validate(CHAIN)
    held = Parameters(backwards.coupling, np.array([0, 0, 0, 1.0]), backwards.coupling_reverse)
    held.validate(CHAIN)
