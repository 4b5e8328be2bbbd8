import numpy as np
import pytest

from eqp_hw.sim_backends.relaxation import complex_equilibrium as module
from eqp_hw.sim_backends.relaxation.complex_equilibrium import complex_equilibrium
from eqp_hw.sim_backends.relaxation.interface import Bonds, RelaxationOptions, RelaxationStatus
from eqp_hw.sim_backends.relaxation.reference import ReferenceEngine

BONDS = Bonds(7, np.array(np.triu_indices(7, 1)).T)
OUTPUTS = np.array([5, 6])
OPTIONS = RelaxationOptions()


def _network(seed):
    """Couplings, field, free equilibrium and nudge field of one random network."""
    rng = np.random.default_rng(seed)
    coupling = rng.normal(size=len(BONDS.edges))
    field = rng.normal(size=(1, 7)) + 1j * rng.normal(size=(1, 7))
    engine = ReferenceEngine(BONDS)
    free = engine.relax(coupling, field, rng.uniform(-np.pi, np.pi, (1, 7)), OPTIONS)
    assert free.status[0] == RelaxationStatus.EQUILIBRIUM
    nudge = np.zeros((1, 7), complex)
    nudge[0, OUTPUTS] = np.exp(1j * (free.phases[0, OUTPUTS] + [0.8, -0.6]))
    return coupling, field, free.phases, nudge


@pytest.fixture(scope="module")
def network():
    return _network(11)


def _solve(network, beta):
    coupling, field, free, nudge = network
    beta = np.atleast_1d(np.asarray(beta, complex))

    def repeat(a):
        return np.repeat(a, len(beta), axis=0)

    phases, residual, converged = complex_equilibrium(
        BONDS, coupling, repeat(field), repeat(nudge), beta, repeat(free)
    )
    assert converged.all()
    assert residual.max() < 1e-12
    return phases


def _statistics(phases):
    i, j = BONDS.edges.T
    return -np.cos(phases[:, i] - phases[:, j])


def _exact_gradient(network):
    coupling, field, free, nudge = network
    # C = Σ (1 − cos(φ_o − y)) is the nudge field exp(iy) at β = 1.
    slope = np.zeros((1, 7))
    slope[0, OUTPUTS] = np.sin(free[0, OUTPUTS] - np.angle(nudge[0, OUTPUTS]))
    delta = ReferenceEngine(BONDS).solve(coupling, field, free, -slope)[0]
    i, j = BONDS.edges.T
    return (delta[i] - delta[j]) * np.sin(free[0, i] - free[0, j])


def _cauchy(network, beta, points):
    nodes = beta * np.exp(2j * np.pi * np.arange(points) / points)
    g = _statistics(_solve(network, nodes))
    return (g / nodes[:, None]).real.mean(axis=0)


def _scale(network):
    """β at which the largest |Δφ| is .1 rad, to first order."""
    return 0.1 / np.abs(_solve(network, 1e-4)[0] - network[2][0]).max() * 1e-4


def test_real_beta_gives_the_real_equilibrium(network):
    coupling, field, free, nudge = network
    for beta in (0.2, -0.2):
        real = ReferenceEngine(BONDS).follow(coupling, field + beta * nudge, free, OPTIONS, field)
        assert not real.hop[0]
        phases = _solve(network, beta)
        np.testing.assert_allclose(phases, real.phases, atol=1e-12)
        assert np.abs(phases.imag).max() == 0.0


def test_conjugate_beta_gives_the_conjugate_state(network):
    beta = 2 * _scale(network) * np.exp(1j * np.array([0.4, 1.3, 2.5]))
    one, other = _solve(network, beta), _solve(network, beta.conj())
    np.testing.assert_allclose(other, one.conj(), atol=1e-13)
    assert np.abs(one.imag).max() > 0.01
    np.testing.assert_allclose(_statistics(other), _statistics(one).conj(), atol=1e-13)


def test_the_state_is_holomorphic_in_beta(network):
    beta, step = 0.5 * _scale(network), 1e-5
    right, left, up, down = _solve(network, beta + step * np.array([1, -1, 1j, -1j]))
    np.testing.assert_allclose((right - left) / 2, (up - down) / 2j, atol=1e-12)


def test_cauchy_estimates_converge_with_the_number_of_points(network):
    exact = _exact_gradient(network)
    size = np.abs(exact).max()
    scale = _scale(network)
    for points in (4, 8):
        # Large enough that the error stands above rounding, small enough for one order.
        betas = scale * np.array([0.35, 0.5, 0.7])
        errors = [np.abs(_cauchy(network, b, points) - exact).max() / size for b in betas]
        assert errors[0] > 1e-11
        slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
        assert slope == pytest.approx(points, abs=0.3)


def test_cauchy_8_is_exact_to_a_millionth_at_a_tenth_of_a_radian():
    """Median over networks: single ones near a singularity in complex β do worse."""
    errors = []
    for seed in range(9):
        network = _network(seed)
        exact = _exact_gradient(network)
        estimate = _cauchy(network, _scale(network), 8)
        errors.append(np.abs(estimate - exact).max() / np.abs(exact).max())
    assert np.median(errors) < 1e-6


def test_sparse_equals_dense(network, monkeypatch):
    beta = _scale(network) * np.exp(1j * np.array([0.3, 2.0]))
    dense = _solve(network, beta)
    monkeypatch.setattr(module, "_DENSE_LIMIT", 2)
    np.testing.assert_allclose(_solve(network, beta), dense, atol=1e-13)


def test_beta_is_turned_on_in_steps_and_failure_is_told():
    """One node in a field 1 at 0, nudged at angle π/2: tan φ = β exactly, singular at β = ±i."""
    bonds = Bonds(1, np.empty((0, 2), dtype=np.int64))
    beta = np.array([5.0, 0.5j, 3.0 + 2.0j, 1j])
    phases, residual, converged = complex_equilibrium(
        bonds, np.empty(0), np.ones((4, 1), complex), np.full((4, 1), 1j), beta, np.zeros((4, 1))
    )
    assert converged.tolist() == [True, True, True, False]
    np.testing.assert_allclose(phases[:3, 0], np.arctan(beta[:3]), atol=1e-12)
    assert residual[:3].max() < 1e-10
    assert not residual[3] < 1e-10


def test_a_vanishing_hessian_is_told():
    bonds = Bonds(1, np.empty((0, 2), dtype=np.int64))
    zero = np.zeros((1, 1))
    _, residual, converged = complex_equilibrium(
        bonds, np.empty(0), zero + 0j, zero + 1j, np.array([0.0 + 0j]), zero
    )
    # Nothing pulls: at rest, trivially.
    assert converged[0]
    assert residual[0] == 0.0
    _, residual, converged = complex_equilibrium(
        bonds, np.empty(0), zero + 1j, zero + 1j, np.array([0.1 + 0j]), zero
    )
    assert not converged[0]
