import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.sim_backends.relaxation.directed import (
    DIRECTED_OPTIONS,
    follow_directed,
    relax_directed,
    solve_directed,
)
from eqp_hw.sim_backends.relaxation.interface import Bonds, RelaxationOptions, RelaxationStatus
from eqp_hw.sim_backends.relaxation.reference import ReferenceEngine

NO_BOND = np.empty((0, 2), dtype=np.int64)
ALL_TO_ALL = Bonds(6, np.array(np.triu_indices(6, 1)).T)


def _instance(batch, seed, asymmetry=0.5):
    rng = np.random.default_rng(seed)
    m = len(ALL_TO_ALL.edges)
    coupling = rng.normal(size=m)
    reverse = coupling + asymmetry * rng.normal(size=m)
    field = 2.0 * (rng.normal(size=(batch, 6)) + 1j * rng.normal(size=(batch, 6)))
    return coupling, reverse, field, rng.uniform(-np.pi, np.pi, (batch, 6))


def _force(coupling, reverse, field):
    """Written apart from the code under test."""
    matrix = np.zeros((6, 6))
    i, j = ALL_TO_ALL.edges.T
    matrix[i, j], matrix[j, i] = coupling, reverse

    def force(x):
        bond = (matrix * np.sin(x[None, :] - x[:, None])).sum(axis=1)
        return bond + np.abs(field) * np.sin(np.angle(field) - x)

    return force


def test_equal_couplings_give_the_reciprocal_result():
    coupling, _, field, start = _instance(12, seed=1)
    directed = relax_directed(ALL_TO_ALL, coupling, coupling, field, start)
    reciprocal = ReferenceEngine(ALL_TO_ALL).relax(coupling, field, start, RelaxationOptions())
    assert (directed.status == RelaxationStatus.EQUILIBRIUM).all()
    assert directed.certified.all()
    np.testing.assert_allclose(directed.phases, reciprocal.phases, atol=1e-11)


def test_the_fixed_point_of_the_physical_flow():
    coupling, reverse, field, start = _instance(12, seed=2)
    result = relax_directed(ALL_TO_ALL, coupling, reverse, field, start)
    settled = np.flatnonzero(result.status == RelaxationStatus.EQUILIBRIUM)
    assert len(settled) >= 10
    assert result.certified.any()
    assert result.residual[settled].max() <= 1e-12
    for sample in settled:
        force = _force(coupling, reverse, field[sample])
        path = solve_ivp(
            lambda _, x, f=force: f(x), (0, 100), start[sample], "DOP853", rtol=1e-9, atol=1e-9
        )
        assert np.abs(force(path.y[:, -1])).max() < 1e-6
        assert np.abs(path.y[:, -1] - result.phases[sample]).max() < 1e-5


RING = Bonds(3, np.array([[0, 1], [1, 2], [0, 2]]))
"""Node i is driven by node i+1 alone, J = −1."""
RING_FORWARD, RING_REVERSE = np.array([-1.0, -1.0, 0.0]), np.array([0.0, 0.0, -1.0])


def test_a_rotating_wave_has_no_fixed_point():
    """Exact: φ_i = 2πi/3 + Ωt, Ω = J sin(2π/3), and it attracts: deviations obey
    δ_i' = J cos(2π/3)(δ_{i+1} − δ_i), J cos(2π/3) = ½."""
    wave = 2 * np.pi / 3 * np.arange(3)
    start = np.stack([wave, wave + np.array([0.3, -0.2, 0.1])])
    options = RelaxationOptions(t_max=30.0)
    zero = np.zeros((2, 3), complex)
    result = relax_directed(RING, RING_FORWARD, RING_REVERSE, zero, start, options)
    assert (result.status == RelaxationStatus.NO_FIXED_POINT).all()
    assert not result.positive_definite.any()
    np.testing.assert_allclose(result.residual, np.sqrt(0.75), rtol=1e-4)
    # The wave was followed for t_max.
    np.testing.assert_allclose(result.phases[0], wave - np.sqrt(0.75) * 30.0, atol=1e-2)
    turn = np.diff(result.phases[1]) - 2 * np.pi / 3
    np.testing.assert_allclose(turn, 0.0, atol=1e-3)
    limited = RelaxationOptions(max_steps=20)
    result = relax_directed(RING, RING_FORWARD, RING_REVERSE, zero, start, limited)
    assert (result.status == RelaxationStatus.NO_FIXED_POINT).all()


def test_a_strong_field_stops_the_wave():
    field = np.full((1, 3), 5.0 + 0j)
    start = 2 * np.pi / 3 * np.arange(3)[None]
    result = relax_directed(RING, RING_FORWARD, RING_REVERSE, field, start)
    assert result.status.tolist() == [RelaxationStatus.EQUILIBRIUM]
    turned = np.remainder(result.phases + np.pi, 2 * np.pi) - np.pi
    np.testing.assert_allclose(turned, 0.0, atol=1e-12)


def test_stable_far_from_normal_is_an_equilibrium_not_certified():
    """A = [[1 + k, −k], [0, 1]] has eigenvalues 9 and 1, and yet S is indefinite for k = 8."""
    pair = Bonds(2, np.array([[0, 1]]))
    result = relax_directed(
        pair, np.array([8.0]), np.zeros(1), np.ones((1, 2), complex), np.array([[0.3, 0.4]])
    )
    assert result.status.tolist() == [RelaxationStatus.EQUILIBRIUM]
    assert not result.certified[0]
    assert result.positive_definite[0]
    np.testing.assert_allclose(result.phases, 0.0, atol=1e-12)


def test_unstable_at_rest():
    result = relax_directed(
        Bonds(1, NO_BOND), np.empty(0), np.empty(0), np.ones((1, 1), complex), np.array([[np.pi]])
    )
    assert result.status.tolist() == [RelaxationStatus.UNSTABLE]


def test_not_finite_and_independent_of_the_batch():
    coupling, reverse, field, start = _instance(3, seed=2)
    whole = relax_directed(ALL_TO_ALL, coupling, reverse, field, start)
    alone = relax_directed(ALL_TO_ALL, coupling, reverse, field[1:2], start[1:2])
    np.testing.assert_array_equal(whole.phases[1], alone.phases[0])
    field[0, 0] = np.nan
    result = relax_directed(ALL_TO_ALL, coupling, reverse, field, start)
    assert result.status[0] == RelaxationStatus.NOT_FINITE
    np.testing.assert_array_equal(result.phases[1], whole.phases[1])
    reverse[0] = np.inf
    result = relax_directed(ALL_TO_ALL, coupling, reverse, field, start)
    assert (result.status == RelaxationStatus.NOT_FINITE).all()


def test_exact_response_and_gradient_against_finite_differences():
    coupling, reverse, field, start = _instance(12, seed=2)
    free = relax_directed(ALL_TO_ALL, coupling, reverse, field, start)
    sample = int(np.flatnonzero(free.certified)[0])
    field, phases = field[sample : sample + 1], free.phases[sample : sample + 1]
    step = 1e-5

    def end(j, k, b):
        result = relax_directed(ALL_TO_ALL, j, k, b, phases)
        assert result.certified[0]
        return result.phases[0]

    # A field in quadrature to φ is a pure torque.
    unit = np.eye(6)
    for node in (0, 4):
        push = step * 1j * np.exp(1j * phases) * unit[node]
        slope = (end(coupling, reverse, field + push) - end(coupling, reverse, field - push)) / (
            2 * step
        )
        exact = solve_directed(ALL_TO_ALL, coupling, reverse, field, phases, unit[node : node + 1])
        np.testing.assert_allclose(slope, exact[0], atol=1e-8)

    target = 0.3
    cost_slope = np.zeros((1, 6))
    cost_slope[0, 5] = np.sin(phases[0, 5] - target)
    delta = -solve_directed(
        ALL_TO_ALL, coupling, reverse, field, phases, cost_slope, transpose=True
    )[0]
    i, j = ALL_TO_ALL.edges.T
    for bond in (0, 7, 14):
        change = np.zeros(len(coupling))
        change[bond] = step

        def cost(j_, k_):
            return 1.0 - np.cos(end(j_, k_, field)[5] - target)

        sine = np.sin(phases[0, i[bond]] - phases[0, j[bond]])
        slope = (cost(coupling + change, reverse) - cost(coupling - change, reverse)) / (2 * step)
        assert slope == pytest.approx(delta[i[bond]] * sine, abs=1e-8)
        slope = (cost(coupling, reverse + change) - cost(coupling, reverse - change)) / (2 * step)
        assert slope == pytest.approx(-delta[j[bond]] * sine, abs=1e-8)


def test_follow_and_hop_at_a_fold():
    """The series of three equal bonds of the reciprocal test: the branch ends at ψ = 3π/2."""
    pair, one = Bonds(2, np.array([[0, 1]])), np.ones(1)

    def chain(psi):
        return np.array([[1.0, np.exp(1j * psi * np.pi)]])

    for before, after, hop in ((1.2, 1.3, False), (1.45, 1.55, True)):
        x = before * np.pi / 3
        result = follow_directed(
            pair, one, one, chain(after), np.array([[x, 2 * x]]), DIRECTED_OPTIONS, chain(before)
        )
        assert result.status[0] == RelaxationStatus.EQUILIBRIUM
        assert result.hop.tolist() == [hop]
        x = (after - 2.0 * hop) * np.pi / 3
        turn = result.phases - np.array([[x, 2 * x]])
        np.testing.assert_allclose(np.exp(1j * turn), 1.0, atol=1e-12)


def test_follow_ends_where_relax_ends_and_traces_far():
    coupling, reverse, field, start = _instance(12, seed=2)
    free = relax_directed(ALL_TO_ALL, coupling, reverse, field, start)
    good = free.status == RelaxationStatus.EQUILIBRIUM
    field, phases = field[good], free.phases[good]
    for strength in (1e-3, 1.0):
        changed = field + strength
        followed = follow_directed(
            ALL_TO_ALL, coupling, reverse, changed, phases, DIRECTED_OPTIONS, field
        )
        direct = relax_directed(ALL_TO_ALL, coupling, reverse, changed, phases)
        np.testing.assert_array_equal(followed.status, direct.status)
        settled = direct.status == RelaxationStatus.EQUILIBRIUM
        np.testing.assert_allclose(followed.phases[settled], direct.phases[settled], atol=1e-10)
        if strength < 0.1:
            assert not followed.hop.any()
    assert (~followed.hop & (followed.steps > 0)).any()
