"""Energy, force, Hessian and statistics against finite differences and symmetry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.network import all_to_all, convolutional, layered, square_lattice
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.energy import (
    bond_correlator,
    coupling_matrix,
    energy,
    force,
    jacobian,
    local_field,
    statistics,
)
from eqp_hw.physics.parameters import Parameters

NETWORKS = [
    all_to_all(8, 2, 2),
    layered([4, 5, 3]),
    square_lattice(4, 5, [[0, 0], [3, 0]], [[1, 4]], periodic=True, skips=[2]),
    convolutional([5, 5], 3, channels=2, n_outputs=2, intra="2-shells"),
]
NETWORK_IDS = [network.name for network in NETWORKS]
STEP = 1e-5


def sample(network, *, directed=False, batch=3, seed=0):
    """Random parameters, phases and nudge field."""
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(network, rng, coupling="normal", bias="normal")
    if directed:
        reverse = rng.standard_normal(network.n_couplings)
        parameters = Parameters(parameters.coupling, parameters.bias, reverse)
    phases = rng.uniform(-np.pi, np.pi, (batch, network.n_nodes))
    nudge = np.zeros((batch, network.n_nodes), complex)
    shape = (batch, len(network.outputs))
    nudge[:, network.outputs] = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return parameters, phases, nudge


def brute_energy(network, parameters, phases, field):
    """The definition, bond by bond."""
    total = -sum(
        parameters.coupling[network.coupling_group[k]] * np.cos(phases[i] - phases[j])
        for k, (i, j) in enumerate(network.edges)
    )
    amplitude, angle = np.abs(field), np.angle(field)
    return total - (amplitude * np.cos(phases - angle)).sum()


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
@pytest.mark.parametrize("nudged", [False, True])
def test_energy_is_its_definition(network, nudged):
    parameters, phases, nudge = sample(network)
    field = parameters.bias + nudge if nudged else None
    used = parameters.bias + nudge if nudged else np.tile(parameters.bias, (3, 1))
    expected = [brute_energy(network, parameters, *pair) for pair in zip(phases, used, strict=True)]
    np.testing.assert_allclose(energy(network, parameters, phases, field), expected, rtol=1e-12)


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
@pytest.mark.parametrize("nudged", [False, True])
def test_force_is_minus_the_slope_of_the_energy(network, nudged):
    parameters, phases, nudge = sample(network)
    field = parameters.bias + nudge if nudged else None
    slope = np.zeros_like(phases)
    for node in network.free:
        ahead, behind = phases.copy(), phases.copy()
        ahead[:, node] += STEP
        behind[:, node] -= STEP
        slope[:, node] = (
            energy(network, parameters, ahead, field) - energy(network, parameters, behind, field)
        ) / (2 * STEP)
    torque = force(network, parameters, phases, field)
    assert np.abs(torque + slope).max() <= 1e-7
    assert np.abs(torque).max() > 0.1
    assert not torque[:, network.inputs].any()


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
@pytest.mark.parametrize("nudged", [False, True])
@pytest.mark.parametrize("directed", [False, True])
def test_jacobian_is_minus_the_slope_of_the_force(network, nudged, directed):
    parameters, phases, nudge = sample(network, directed=directed)
    field = parameters.bias + nudge if nudged else None
    slope = np.empty((3, len(network.free), len(network.free)))
    for column, node in enumerate(network.free):
        ahead, behind = phases.copy(), phases.copy()
        ahead[:, node] += STEP
        behind[:, node] -= STEP
        difference = force(network, parameters, ahead, field) - force(
            network, parameters, behind, field
        )
        slope[:, :, column] = difference[:, network.free] / (2 * STEP)
    for k in range(3):
        own = None if field is None else field[k]
        matrix = jacobian(network, parameters, phases[k], own).toarray()
        assert np.abs(matrix + slope[k]).max() <= 1e-7
        assert np.allclose(matrix, matrix.T) is not directed


@pytest.mark.parametrize("network", NETWORKS, ids=NETWORK_IDS)
def test_statistics_are_the_slope_of_the_energy_in_every_parameter(network):
    parameters, phases, _ = sample(network)
    weights = np.array([0.7, -1.3, 0.4])

    def total(shifted):
        return weights @ energy(network, shifted, phases)

    def slope(coupling, bias):
        ahead = Parameters(parameters.coupling + coupling, parameters.bias + bias)
        behind = Parameters(parameters.coupling - coupling, parameters.bias - bias)
        return (total(ahead) - total(behind)) / (2 * STEP)

    no_coupling = np.zeros(network.n_couplings)
    no_bias = np.zeros(network.n_nodes, complex)
    found = statistics(network, phases, weights)
    for k, unit in enumerate(np.eye(network.n_couplings) * STEP):
        assert abs(found.coupling[k] - slope(unit, no_bias)) <= 1e-8
    for node in network.free:
        unit = (np.arange(network.n_nodes) == node) * STEP
        assert abs(found.bias[node].real - slope(no_coupling, unit)) <= 1e-8
        assert abs(found.bias[node].imag - slope(no_coupling, 1j * unit)) <= 1e-8
    assert not found.bias[network.inputs].any()


def test_energy_is_linear_in_its_statistics():
    network = NETWORKS[3]
    parameters, phases, _ = sample(network, batch=1)
    slope = statistics(network, phases, np.ones(1))
    bias = (np.conj(parameters.bias) * slope.bias).real.sum()
    np.testing.assert_allclose(
        energy(network, parameters, phases), parameters.coupling @ slope.coupling + bias
    )


@pytest.mark.parametrize(
    "network",
    [layered([6, 7]), all_to_all(9, 1, 1), square_lattice(20, 20), layered([4, 300, 4])],
    ids=["dense layers", "all-to-all", "lattice", "long layers"],
)
@pytest.mark.parametrize("complex_phases", [False, True])
def test_bond_correlator_by_matrix_product_and_by_gather_is_the_definition(network, complex_phases):
    rng = np.random.default_rng(5)
    phases = rng.uniform(-np.pi, np.pi, (4, network.n_nodes))
    if complex_phases:
        phases = phases + 1j * rng.uniform(-1, 1, phases.shape)
    weights = rng.standard_normal(4)
    i, j = network.edges.T
    expected = weights @ np.cos(phases[:, i] - phases[:, j])
    found = bond_correlator(network, np.cos(phases), np.sin(phases), weights)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("directed", [False, True])
def test_coupling_matrix_row_is_what_drives_the_node(directed):
    network = NETWORKS[2]
    parameters, phases, _ = sample(network, directed=directed)
    matrix = coupling_matrix(network, parameters).toarray()
    forward, reverse = parameters.bond_coupling(network)
    for (i, j), a, b in zip(network.edges, forward, reverse, strict=True):
        assert (matrix[i, j], matrix[j, i]) == (a, b)
    assert np.count_nonzero(matrix) == 2 * network.n_edges
    expected = np.exp(1j * phases) @ matrix.T + parameters.bias
    np.testing.assert_allclose(local_field(network, parameters, phases), expected, rtol=1e-12)


def test_a_directed_network_has_no_energy():
    parameters, phases, _ = sample(NETWORKS[0], directed=True)
    with pytest.raises(ValueError, match="no energy"):
        energy(NETWORKS[0], parameters, phases)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(NETWORKS),
    st.integers(0, 2**32 - 1),
    st.floats(-10, 10),
    st.booleans(),
)
def test_turning_all_phases_and_fields_together_changes_nothing(network, seed, angle, directed):
    parameters, phases, nudge = sample(network, seed=seed, directed=directed)
    field = parameters.bias + nudge
    turned = phases + angle, field * np.exp(1j * angle)
    assert (
        np.abs(
            force(network, parameters, *turned) - force(network, parameters, phases, field)
        ).max()
        < 1e-11
    )
    if not directed:
        np.testing.assert_allclose(
            energy(network, parameters, *turned),
            energy(network, parameters, phases, field),
            rtol=1e-11,
            atol=1e-11,
        )
        # Without fields the network is at rest against the joint rotation: zero net torque.
        torque = np.imag(
            np.exp(-1j * phases) * local_field(network, parameters, phases, np.zeros_like(field))
        )
        assert np.abs(torque.sum(axis=1)).max() < 1e-11


def test_a_positive_nudge_pulls_towards_the_target():
    network = layered([1, 1])
    parameters = Parameters(np.array([1e-3]), np.zeros(2, complex))
    nudge = np.array([[0, np.exp(0.5j)]])
    torque = force(network, parameters, np.zeros((1, 2)), parameters.bias + nudge)
    assert torque[0, 1] == pytest.approx(np.sin(0.5))
