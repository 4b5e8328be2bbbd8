"""The exact gradient against finite differences of C at equilibria solved anew."""

import functools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

from eqp_hw.errors import ParameterError
from eqp_hw.network import Network, all_to_all, convolutional, layered, square_lattice
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics import exact_gradient as module
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.exact_gradient import exact_gradient, response
from eqp_hw.physics.parameters import Parameters

CASES = {
    "all-to-all": all_to_all(7, 2, 2),
    "layered": layered([3, 4, 2]),
    "lattice": square_lattice(3, 4, [[0, 0], [2, 0]], [[1, 3], [2, 3]], skips=[2]),
    "shared": convolutional([4, 4], 3, channels=2, n_outputs=2, intra="nearest"),
}
WEIGHTS = np.array([0.75, -0.4])


def drive_matrix(network, parameters):
    """Dense J_ij, row i = what drives i, from the definition."""
    matrix = np.zeros((network.n_nodes, network.n_nodes))
    forward, reverse = parameters.bond_coupling(network)
    i, j = network.edges.T
    matrix[i, j], matrix[j, i] = forward, reverse
    return matrix


def torque_function(network, parameters, inputs):
    """Torque on the free nodes as a function of their phases, by its definition."""
    matrix, free = drive_matrix(network, parameters), network.free

    def torque(free_phases):
        phases = np.empty(network.n_nodes)
        phases[network.inputs], phases[free] = inputs, free_phases
        turn = phases[None, :] - phases[free, None]
        field = np.imag(np.exp(-1j * free_phases) * parameters.bias[free])
        return (matrix[free] * np.sin(turn)).sum(axis=1) + field

    return torque


def solve(network, parameters, inputs, start):
    """Newton from nearby: the equilibrium to rounding."""
    matrix, free = drive_matrix(network, parameters)[network.free], network.free
    torque = torque_function(network, parameters, inputs)
    phases = np.empty(network.n_nodes)
    phases[network.inputs], phases[free] = inputs, start
    for _ in range(8):
        residual = torque(phases[free])
        if np.abs(residual).max() < 1e-14:
            break
        cosine = matrix * np.cos(phases[None, :] - phases[free, None])
        slope = cosine[:, free] - np.diag(
            cosine.sum(axis=1) + np.real(np.exp(-1j * phases[free]) * parameters.bias[free])
        )
        phases[free] -= np.linalg.solve(slope, residual)
    return phases


@functools.cache
def equilibria(name, directed):
    """Parameters and two stable equilibria, found by following the flow in time."""
    network = CASES[name]
    rng = np.random.default_rng(11)
    parameters = initial_parameters(network, rng, coupling="normal", bias="normal")
    if directed:
        change = 0.3 * rng.standard_normal(network.n_couplings)
        parameters = Parameters(parameters.coupling, parameters.bias, parameters.coupling + change)
    inputs = rng.uniform(-1.5, 1.5, (2, len(network.inputs)))
    found = []
    for sample in inputs:
        torque = torque_function(network, parameters, sample)
        start = rng.uniform(-np.pi, np.pi, len(network.free))
        flow = solve_ivp(lambda _, y, f=torque: f(y), (0, 400), start, rtol=1e-8, atol=1e-10)
        phases = solve(network, parameters, sample, flow.y[:, -1])
        assert np.abs(phases[network.free] - flow.y[:, -1]).max() < 1e-4
        assert np.abs(force(network, parameters, phases[None])).max() < 1e-13
        eigenvalues = np.linalg.eigvals(jacobian(network, parameters, phases).toarray())
        assert eigenvalues.real.min() > 1e-3
        found.append(phases)
    phases = np.array(found)
    phases.flags.writeable = False
    return network, parameters, phases


def cost(network, phases):
    """A cost without symmetry, so that no term can hide."""
    out = phases[:, network.outputs]
    targets = np.linspace(0.3, 1.1, out.shape[1])
    return (1 - np.cos(out - targets) + 0.2 * np.sin(out) ** 2).sum(axis=1)


def cost_gradient(network, phases):
    slope = np.zeros_like(phases)
    out = phases[:, network.outputs]
    targets = np.linspace(0.3, 1.1, out.shape[1])
    slope[:, network.outputs] = np.sin(out - targets) + 0.2 * np.sin(2 * out)
    return slope


@functools.cache
def finite_differences(name, directed):
    """Weighted cost slopes by five-point differences, equilibria solved anew at each."""
    network, parameters, phases = equilibria(name, directed)

    def total(shifted):
        moved = [
            solve(network, shifted, sample[network.inputs], sample[network.free])
            for sample in phases
        ]
        return WEIGHTS @ cost(network, np.array(moved))

    def slope(shift, step=1e-3):
        def at(k):
            return total(parameters.map(lambda p, s: p + k * step * s, shift))

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)

    def unit(part, k, value=1.0):
        shift = Parameters.zeros(network, directed=parameters.directed)
        getattr(shift, part)[k] = value
        return shift

    result = Parameters.zeros(network, directed=parameters.directed)
    for k in range(network.n_couplings):
        result.coupling[k] = slope(unit("coupling", k))
        if parameters.directed:
            result.coupling_reverse[k] = slope(unit("coupling_reverse", k))
    for node in network.free:
        result.bias[node] = slope(unit("bias", node)) + 1j * slope(unit("bias", node, 1j))
    return result


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_gradient_is_the_slope_of_the_cost(name, directed, dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(module, "DENSE_BELOW", 0)
    network, parameters, phases = equilibria(name, directed)
    slope = finite_differences(name, directed)
    found = exact_gradient(network, parameters, phases, cost_gradient(network, phases), WEIGHTS)
    parts = ["coupling", "bias"] + ["coupling_reverse"] * directed
    for part in parts:
        exact, numeric = getattr(found, part), getattr(slope, part)
        scale = np.abs(numeric).max()
        assert scale > 1e-3
        assert np.abs(exact - numeric).max() <= 1e-6 * scale
    assert found.directed is directed
    assert not found.bias[network.inputs].any()


def test_reciprocal_gradient_is_the_sum_of_both_directions():
    network, parameters, phases = equilibria("lattice", directed=False)
    slope = cost_gradient(network, phases)
    apart = Parameters(parameters.coupling, parameters.bias, parameters.coupling)
    tied = exact_gradient(network, parameters, phases, slope, WEIGHTS)
    both = exact_gradient(network, apart, phases, slope, WEIGHTS)
    np.testing.assert_allclose(tied.coupling, both.coupling + both.coupling_reverse, atol=1e-13)
    np.testing.assert_allclose(tied.bias, both.bias, atol=1e-13)


def test_shared_coupling_has_the_summed_gradient_of_its_bonds():
    network, parameters, phases = equilibria("shared", directed=False)
    own = Network.create(network.n_nodes, network.edges, network.inputs, network.outputs)
    slope = cost_gradient(network, phases)
    apart = Parameters(parameters.coupling[network.coupling_group], parameters.bias)
    each = exact_gradient(own, apart, phases, slope, WEIGHTS).coupling
    tied = exact_gradient(network, parameters, phases, slope, WEIGHTS).coupling
    summed = [each[network.coupling_group == k].sum() for k in range(network.n_couplings)]
    np.testing.assert_allclose(tied, summed, atol=1e-13)


def test_cost_slope_at_inputs_has_no_effect():
    network, parameters, phases = equilibria("layered", directed=False)
    slope = cost_gradient(network, phases)
    plain = exact_gradient(network, parameters, phases, slope, WEIGHTS)
    slope[:, network.inputs] = 7.0
    again = exact_gradient(network, parameters, phases, slope, WEIGHTS)
    np.testing.assert_array_equal(plain.flatten(), again.flatten())


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_response_is_the_turn_for_a_small_torque(directed, dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(module, "DENSE_BELOW", 0)
    network, parameters, phases = equilibria("lattice", directed)
    nodes = [int(network.outputs[0]), int(network.hidden[3]), int(network.inputs[0])]
    found = response(network, parameters, phases, nodes)
    assert found.shape == (2, network.n_nodes, 3)
    for sample, chi in zip(phases, found, strict=True):
        inputs = sample[network.inputs]
        torque = torque_function(network, parameters, inputs)
        for column, node in enumerate(nodes[:2]):
            # A constant torque on one node: root of torque + push = 0, from the free state.
            turned = []
            for push in (1e-4, -1e-4):
                extra = push * (network.free == node)
                pushed = root(
                    lambda y, e=extra, f=torque: f(y) + e, sample[network.free], tol=1e-14
                )
                turned.append(pushed.x)
            slope = (turned[0] - turned[1]) / 2e-4
            np.testing.assert_allclose(chi[network.free, column], slope, atol=1e-6)
        assert not chi[network.inputs].any()
        assert not chi[:, 2].any()


def test_response_is_symmetric_exactly_when_couplings_are():
    for directed in (False, True):
        network, parameters, phases = equilibria("all-to-all", directed)
        chi = response(network, parameters, phases, network.free)[:, network.free]
        asymmetry = np.abs(chi - chi.transpose(0, 2, 1)).max()
        assert (asymmetry < 1e-12) is not directed


def test_response_to_the_outputs_by_default():
    network, parameters, phases = equilibria("layered", directed=False)
    np.testing.assert_array_equal(
        response(network, parameters, phases),
        response(network, parameters, phases, network.outputs),
    )


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_a_singular_jacobian_is_refused(dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(module, "DENSE_BELOW", 0)
    network = layered([1, 1])
    parameters = Parameters(np.array([1.0]), np.array([0, -1.0 + 0j]))  # E = 0 at every phase
    phases = np.zeros((2, 2))
    with pytest.raises(ParameterError, match=r"phases\[0\].*singular"):
        exact_gradient(network, parameters, phases, np.ones((2, 2)), np.ones(2))
    with pytest.raises(ParameterError, match="singular"):
        response(network, parameters, phases)
