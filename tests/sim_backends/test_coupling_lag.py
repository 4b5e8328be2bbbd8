"""Couplings with a phase lag: the flow, its Jacobian, its certificate, its gradient."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.learning.costs import Cosine
from eqp_hw.network.builders import layered, square_lattice
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.lag import lagged_force, lagged_gradient, lagged_jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.relaxation.directed import (
    _Directed,
    _lagged_change,
    follow_directed,
    relax_directed,
)
from eqp_hw.sim_backends.relaxation.interface import Bonds, RelaxationOptions, RelaxationStatus
from eqp_hw.sim_backends.relaxation.phase_flow import PhaseFlow
from eqp_hw.sim_backends.relaxation.reference.linear_algebra import to_dense

NETWORKS = {
    "lattice": square_lattice(4, 4, inputs=2, outputs=[15]),
    "layered": layered([4, 6, 3]),
}


def _problem(
    network: Network, seed: int, size: float = 0.3
) -> tuple[Parameters, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(network, rng, coupling="normal", bias="normal")
    lag = rng.uniform(-size, size, (network.n_edges, 2))
    return parameters, rng.uniform(-1.5, 1.5, (4, len(network.inputs))), lag


def _torque(network: Network, p: Parameters, lag: FloatArray, x: FloatArray) -> FloatArray:
    """Bond by bond, as the interface says it: J·sin(φ_j − φ_i + α), both ways."""
    forward, reverse = p.bond_coupling(network)
    total = (p.bias.imag * np.cos(x)) - (p.bias.real * np.sin(x))
    for bond, (i, j) in enumerate(network.edges):
        total[i] += forward[bond] * np.sin(x[j] - x[i] + lag[bond, 0])
        total[j] += reverse[bond] * np.sin(x[i] - x[j] + lag[bond, 1])
    return np.asarray(total)


def _settled(
    network: Network, p: Parameters, inputs: FloatArray, lag: FloatArray | None
) -> tuple[XYEmulator, FloatArray, FloatArray]:
    emulator = XYEmulator(network)
    emulator.write_parameters(p)
    emulator.set_coupling_lag(lag)
    emulator.set_inputs(inputs)
    emulator.reset(5)
    start = emulator.read_phases().phases
    assert emulator.settle().settled.all()
    return emulator, start, emulator.read_phases().phases


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_fixed_point_is_where_the_lagged_flow_ends(kind: str) -> None:
    network = NETWORKS[kind]
    parameters, inputs, lag = _problem(network, 3)
    _, start, end = _settled(network, parameters, inputs, lag)
    for sample in range(4):
        assert np.abs(_torque(network, parameters, lag, end[sample])[network.free]).max() < 1e-10

        def rate(_: float, free: FloatArray, sample: int = sample) -> FloatArray:
            x = start[sample].copy()
            x[network.free] = free
            return _torque(network, parameters, lag, x)[network.free]

        path = solve_ivp(
            rate, (0, 200), start[sample, network.free], "DOP853", rtol=1e-8, atol=1e-9
        )
        turn = np.angle(np.exp(1j * (path.y[:, -1] - end[sample, network.free])))
        assert np.abs(turn).max() < 1e-3
    assert np.abs(force(network, parameters, end)).max() > 1e-2


def test_no_lag_changes_nothing_bit_for_bit() -> None:
    network = NETWORKS["lattice"]
    parameters, inputs, lag = _problem(network, 4)
    directed = Parameters(parameters.coupling, parameters.bias, 0.8 * parameters.coupling)
    for asked in (parameters, directed):
        plain = _settled(network, asked, inputs, None)[2]
        np.testing.assert_array_equal(plain, _settled(network, asked, inputs, 0.0 * lag)[2])
        emulator, _, turned = _settled(network, asked, inputs, lag)
        assert np.abs(turned - plain).max() > 1e-2
        emulator.set_coupling_lag(None)
        emulator.reset(5)
        emulator.settle()
        np.testing.assert_array_equal(emulator.read_phases().phases, plain)


def test_antisymmetric_lags_are_a_gauge_of_the_bare_network() -> None:
    """α_ij = θ_i − θ_j turns every phase by θ, if inputs and biases turn along."""
    network = NETWORKS["lattice"]
    parameters, inputs, _ = _problem(network, 6)
    theta = np.random.default_rng(1).uniform(-np.pi, np.pi, network.n_nodes)
    i, j = network.edges.T
    lag = np.stack([theta[i] - theta[j], theta[j] - theta[i]], axis=1)
    bare, start, end = _settled(network, parameters, inputs, None)
    turned = Parameters(parameters.coupling, parameters.bias * np.exp(1j * theta))
    emulator = XYEmulator(network)
    emulator.set_coupling_lag(lag)
    emulator.write_parameters(turned)
    emulator.set_inputs(inputs + theta[network.inputs])
    emulator.reset(5)
    emulator.settle()
    phases = emulator.read_phases().phases
    assert np.abs(lagged_force(network, turned, phases, lag)).max() < 1e-10
    # The turned end is a fixed point too: its force is the bare one.
    np.testing.assert_allclose(
        lagged_force(network, turned, start + theta, lag),
        force(network, parameters, start),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        lagged_jacobian(network, turned, end[0] + theta, lag).toarray(),
        jacobian(network, parameters, end[0]).toarray(),
        atol=1e-12,
    )
    assert bare.capabilities.coupling_lag


def test_force_and_jacobian_against_finite_differences() -> None:
    network = NETWORKS["layered"]
    parameters, inputs, lag = _problem(network, 7, size=2.0)
    x = np.random.default_rng(2).uniform(-np.pi, np.pi, network.n_nodes)
    x[network.inputs] = inputs[0]
    direct = _torque(network, parameters, lag, x)
    ours = lagged_force(network, parameters, x[None], lag)[0]
    np.testing.assert_allclose(ours[network.free], direct[network.free], atol=1e-13)
    slope = np.empty((len(network.free), len(network.free)))
    for column, node in enumerate(network.free):
        step = 1e-5 * (np.arange(network.n_nodes) == node)
        ahead = _torque(network, parameters, lag, x + step)
        back = _torque(network, parameters, lag, x - step)
        slope[:, column] = -(ahead - back)[network.free] / 2e-5
    a = lagged_jacobian(network, parameters, x, lag).toarray()
    np.testing.assert_allclose(a, slope, atol=1e-9)
    # The same through the batched kernel of the emulator.
    inside = network.internal_edges
    forward, reverse = parameters.bond_coupling(network)
    bonds = Bonds(len(network.free), network.free_index[network.edges[inside]])
    flow = PhaseFlow(
        bonds,
        (forward * np.exp(1j * lag[:, 0]))[inside],
        (reverse * np.exp(1j * lag[:, 1]))[inside],
    )
    field = np.zeros(network.n_nodes, complex) + parameters.bias
    for bond in network.boundary_edges:
        i, j = network.edges[bond]
        clamped, free, side = (i, j, 1) if network.free_index[i] < 0 else (j, i, 0)
        field[free] += forward[bond] * np.exp(1j * (x[clamped] + lag[bond, side]))
    value, matrix = flow.force_and_jacobian(x[None, network.free], field[None, network.free])
    np.testing.assert_allclose(value[0], direct[network.free], atol=1e-13)
    np.testing.assert_allclose(to_dense(bonds, matrix)[0], a, atol=1e-13)
    with pytest.raises(ValueError, match="both directions"):
        PhaseFlow(bonds, forward[inside] + 0.1j)


def test_the_contraction_certificate_speaks_the_truth_with_lag() -> None:
    """From wherever it holds, the flow ends in the certified point; and it does hold often."""
    rng = np.random.default_rng(8)
    bonds = Bonds(6, np.array(np.triu_indices(6, 1)).T)
    m = len(bonds.edges)
    forward = rng.normal(size=m) * np.exp(1j * rng.uniform(-0.6, 0.6, m))
    reverse = rng.normal(size=m) * np.exp(1j * rng.uniform(-0.6, 0.6, m))
    field = 3.0 * (rng.normal(size=(40, 6)) + 1j * rng.normal(size=(40, 6)))
    start = rng.uniform(-np.pi, np.pi, (40, 6))
    certified = relax_directed(bonds, forward, reverse, field, start)
    plain = relax_directed(
        bonds, forward, reverse, field, start, RelaxationOptions(certificate=False, tolerance=1e-6)
    )
    assert certified.certified.sum() >= 20
    assert not plain.certified.any()
    settled = certified.status == RelaxationStatus.EQUILIBRIUM
    assert (settled == (plain.status == RelaxationStatus.EQUILIBRIUM)).all()
    np.testing.assert_allclose(certified.phases[settled], plain.phases[settled], atol=1e-7)


def _largest_change(coupling: complex, turn: float, width: float) -> float:
    """Bound of |J cos(turn + δ + α) − J cos(turn + α)| for |δ| ≤ width: slope, then curvature."""
    size, angle = abs(coupling), np.angle(coupling)
    return float(min(2 * size, size * (abs(np.sin(turn + angle)) * width + width**2 / 2)))


def test_the_bound_of_a_lagged_cosine() -> None:
    """It holds for every δ, and is reached to first order."""
    rng = np.random.default_rng(13)
    for width in (1e-4, 0.1, 1.0, 3.0):
        coupling = rng.normal(size=300) + 1j * rng.normal(size=300)
        turn = rng.uniform(-np.pi, np.pi, 300)
        bound = _lagged_change(coupling.real, coupling.imag, turn, np.full(300, width))
        delta = width * np.linspace(-1, 1, 41)[:, None]
        cosine = (coupling * np.exp(1j * (turn + delta))).real
        change = np.abs(cosine - (coupling * np.exp(1j * turn)).real).max(axis=0)
        assert (change <= bound * (1 + 1e-9)).all()
        if width == 1e-4:
            steep = np.abs((coupling * np.exp(1j * turn)).imag) > 0.1
            np.testing.assert_allclose(change[steep], bound[steep], rtol=2e-2)


def test_the_contraction_certificate_against_a_dense_proof() -> None:
    """S less all that may change in its rows, element by element, decides the same way."""
    rng = np.random.default_rng(9)
    n = 5
    bonds = Bonds(n, np.array(np.triu_indices(n, 1)).T)
    m = len(bonds.edges)
    decisions = []
    for number in range(150):
        forward, reverse = (
            rng.normal(size=m) * np.exp(1j * rng.uniform(-1, 1, m)) for _ in range(2)
        )
        field = 4.0 * np.exp(1j * rng.uniform(-np.pi, np.pi, (1, n)))
        brief, start = RelaxationOptions(max_steps=60), rng.uniform(-3, 3, (1, n))
        end = relax_directed(bonds, forward, reverse, field, start, brief)
        task = _Directed(PhaseFlow(bonds, forward, reverse))
        here = end.phases + 10.0 ** rng.uniform(-3, -1) * rng.normal(size=(1, n))
        value, a = task.flow.force_and_jacobian(here, field)
        holds, radius, _ = task.contraction(field, here, value, a)
        dense = to_dense(bonds, a)[0]
        part = (dense + dense.T) / 2
        mu = np.linalg.eigvalsh(part)[0]
        if mu <= 0:
            assert not holds[0]
            continue
        r = 2 * np.linalg.norm(value) / mu
        assert radius[0] == pytest.approx(r, rel=1e-6)
        change = np.zeros((n, n))
        x = here[0]
        for (i, j), there, back in zip(bonds.edges.tolist(), forward, reverse, strict=True):
            change[i, j] = _largest_change(there, x[j] - x[i], np.sqrt(2) * r)
            change[j, i] = _largest_change(back, x[i] - x[j], np.sqrt(2) * r)
        own = [_largest_change(f, -p, r) for f, p in zip(field[0], x, strict=True)]
        rows = change.sum(axis=1) + ((change + change.T) / 2).sum(axis=1) + own
        decision = np.linalg.eigvalsh(part - np.diag(rows))[0] > mu / 2
        assert holds[0] == decision, number
        decisions.append(decision)
    assert 20 <= sum(decisions) <= len(decisions) - 20


def test_a_nudged_state_follows_with_lag() -> None:
    rng = np.random.default_rng(10)
    bonds = Bonds(6, np.array(np.triu_indices(6, 1)).T)
    m = len(bonds.edges)
    forward, reverse = (rng.normal(size=m) * np.exp(1j * rng.uniform(-1, 1, m)) for _ in range(2))
    field = 4.0 * np.exp(1j * rng.uniform(-np.pi, np.pi, (5, 6)))
    options = RelaxationOptions()
    free = relax_directed(bonds, forward, reverse, field, rng.uniform(-3, 3, (5, 6)))
    moved = follow_directed(bonds, forward, reverse, field + 0.02, free.phases, options, field)
    assert (moved.status == RelaxationStatus.EQUILIBRIUM).all()
    assert not moved.hop.any()
    assert 0 < np.abs(moved.phases - free.phases).max() < 0.1


@pytest.mark.parametrize("directed", [False, True])
def test_the_exact_gradient_of_a_lagged_network(directed: bool) -> None:
    network = NETWORKS["layered"]
    parameters, inputs, lag = _problem(network, 11)
    if directed:
        parameters = Parameters(parameters.coupling, parameters.bias, 0.9 * parameters.coupling)
    emulator, _, free = _settled(network, parameters, inputs, lag)
    token = emulator.store_state()
    targets = np.full((4, len(network.outputs)), 0.7)
    cost, weights = Cosine(), np.array([0.5, 1.0, 2.0, 1.0])
    slope = np.zeros_like(free)
    slope[:, network.outputs] = cost.gradient(free[:, network.outputs], targets)
    gradient = lagged_gradient(network, parameters, free, slope, weights, lag).flatten()
    sizes = [network.n_couplings] * (1 + directed) + [network.n_nodes] * 2

    def unflatten(vector: FloatArray) -> Parameters:
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return Parameters(parts[0], parts[-2] + 1j * parts[-1], parts[1] if directed else None)

    def value(vector: FloatArray) -> float:
        emulator.write_parameters(unflatten(vector))
        emulator.restore_state(token)
        assert emulator.settle().settled.all()
        end = emulator.read_phases().phases[:, network.outputs]
        return float(weights @ cost.value(end, targets))

    base, h = parameters.flatten(), 1e-5
    entries = np.flatnonzero(gradient)
    for entry in np.random.default_rng(1).choice(entries, 12, replace=False):
        step = h * (np.arange(len(base)) == entry)
        slope_here = (value(base + step) - value(base - step)) / (2 * h)
        assert abs(slope_here - gradient[entry]) < 1e-7 * max(1.0, abs(gradient).max())
    plain = exact_gradient(network, parameters, free, slope, weights).flatten()
    none = lagged_gradient(network, parameters, free, slope, weights, 0 * lag).flatten()
    np.testing.assert_allclose(none, plain, atol=1e-12)


def test_lag_and_what_it_does_not_go_with() -> None:
    network = NETWORKS["layered"]
    parameters, inputs, lag = _problem(network, 12)
    emulator, _, _ = _settled(network, parameters, inputs, lag)
    with pytest.raises(SubstrateError, match="both directions"):
        emulator.set_coupling_lag(lag[:, 0])
    bad = lag.copy()
    bad[2, 1] = np.inf
    with pytest.raises(SubstrateError, match="bond 2 is not finite"):
        emulator.set_coupling_lag(bad)
    emulator.apply_nudge(np.ones((4, len(network.free)), complex), 1e-3j)
    with pytest.raises(CapabilityError, match="reciprocal couplings"):
        emulator.settle()
    # Held outputs feel the lag as well.
    emulator.apply_nudge(None)
    emulator.clamp_outputs(np.full((4, len(network.outputs)), 0.3))
    assert emulator.settle().settled.all()
    phases = emulator.read_phases().phases
    torque = lagged_force(network, parameters, phases, lag)
    assert np.abs(torque[:, network.hidden]).max() <= 1e-10
