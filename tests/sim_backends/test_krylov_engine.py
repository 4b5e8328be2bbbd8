import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.errors import SubstrateError
from eqp_hw.sim_backends.relaxation.interface import (
    Bonds,
    Relaxation,
    RelaxationOptions,
    RelaxationStatus,
)
from eqp_hw.sim_backends.relaxation.reference import ReferenceEngine

pytest.importorskip(
    "eqp_hw.sim_backends.relaxation._krylov", reason="the compiled extension is missing"
)
from eqp_hw.sim_backends.relaxation.krylov_engine import KrylovEngine

OPTIONS = RelaxationOptions()
FACTOR, NO_FACTOR = 4e9, 0.0
ROUTES = pytest.mark.parametrize("factor_bytes", [FACTOR, NO_FACTOR], ids=["factor", "iterative"])


def _lattice(rows, columns=None):
    node = np.arange(rows * (columns or rows)).reshape(rows, -1)
    right = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
    return Bonds(node.size, np.concatenate([right, down]))


def _all_to_all(n):
    return Bonds(n, np.array(np.triu_indices(n, 1)).T)


def _shuffled(bonds, seed):
    """The same graph with its nodes and bonds in another order."""
    rng = np.random.default_rng(seed)
    edges = rng.permutation(bonds.n)[bonds.edges]
    return Bonds(bonds.n, rng.permutation(edges[:, ::-1]))


def _star_and_islands():
    star = np.stack([np.zeros(40, dtype=np.int64), np.arange(1, 41)], axis=1)
    path = np.stack([np.arange(41, 80), np.arange(42, 81)], axis=1)
    return Bonds(120, np.concatenate([star, path]))  # nodes 81..119 have no bond


GRAPHS = {
    "lattice": _lattice(9, 7),
    "shuffled lattice": _shuffled(_lattice(10), 5),
    "all to all": _all_to_all(40),
    "star and islands": _star_and_islands(),
}


def _instance(bonds, batch, seed):
    rng = np.random.default_rng(seed)
    coupling = rng.normal(size=len(bonds.edges)) / np.sqrt(max(1.0, len(bonds.edges) / bonds.n))
    field = rng.normal(size=(batch, bonds.n, 2)) @ np.array([1.0, 1j])
    return coupling, field, rng.uniform(-np.pi, np.pi, (batch, bonds.n))


def _force(bonds, coupling, field, phases):
    i, j = bonds.edges.T
    torque = coupling * np.sin(phases[i] - phases[j])
    force = (field * np.exp(-1j * phases)).imag
    force -= np.bincount(i, torque, bonds.n) - np.bincount(j, torque, bonds.n)
    return force


def _hessian(bonds, coupling, field, phases):
    i, j = bonds.edges.T
    h = np.diag((np.conj(field) * np.exp(1j * phases)).real)
    k = coupling * np.cos(phases[i] - phases[j])
    np.add.at(h, (i, i), k)
    np.add.at(h, (j, j), k)
    h[i, j] -= k
    h[j, i] -= k
    return h


def _assert_equilibria(result, bonds, coupling, field):
    assert (result.status == RelaxationStatus.EQUILIBRIUM).all()
    for sample, phases in enumerate(result.phases):
        force = _force(bonds, coupling, field[sample], phases)
        assert np.abs(force).max() <= 1e-12
        hessian = _hessian(bonds, coupling, field[sample], phases)
        assert np.linalg.eigvalsh(hessian)[0] > 0


def _assert_identical(one, other, rows=slice(None)):
    for item in dataclasses.fields(Relaxation):
        np.testing.assert_array_equal(
            getattr(one, item.name)[rows], getattr(other, item.name), err_msg=item.name
        )


@ROUTES
@pytest.mark.parametrize("method", ["rodas4", "rodas3"])
def test_ends_where_an_accurate_flow_ends(factor_bytes, method):
    bonds = _lattice(6)
    coupling, field, start = _instance(bonds, 6, seed=1)
    options = RelaxationOptions(method=method)
    result = KrylovEngine(bonds, factor_bytes).relax(coupling, field, start, options)
    _assert_equilibria(result, bonds, coupling, field)
    assert result.certified.all()
    for sample in range(6):
        flow = solve_ivp(
            lambda _, y, b=field[sample]: _force(bonds, coupling, b, y),
            (0.0, 400.0),
            start[sample],
            method="DOP853",
            rtol=1e-9,
            atol=1e-9,
        )
        np.testing.assert_allclose(result.phases[sample], flow.y[:, -1], atol=1e-4)


@ROUTES
@pytest.mark.parametrize("graph", GRAPHS)
def test_agrees_with_the_reference(graph, factor_bytes):
    bonds = GRAPHS[graph]
    coupling, field, start = _instance(bonds, 8, seed=2)
    engine = KrylovEngine(bonds, factor_bytes)
    result = engine.relax(coupling, field, start, OPTIONS)
    _assert_equilibria(result, bonds, coupling, field)
    other = ReferenceEngine(bonds).relax(coupling, field, start, OPTIONS)
    np.testing.assert_allclose(result.phases, other.phases, atol=1e-9)
    assert engine.rigorous == (factor_bytes > 0)


def test_the_flow_without_certificate_ends_at_the_same_points():
    bonds = GRAPHS["lattice"]
    coupling, field, start = _instance(bonds, 6, seed=3)
    engine = KrylovEngine(bonds)
    early = engine.relax(coupling, field, start, OPTIONS)
    late = engine.relax(coupling, field, start, dataclasses.replace(OPTIONS, certificate=False))
    assert early.certified.all()
    assert not late.certified.any()
    assert (late.steps > early.steps).all()
    np.testing.assert_allclose(early.phases, late.phases, atol=1e-9)


@ROUTES
def test_a_certified_state_ends_where_its_certificate_says(factor_bytes):
    # Follow tries the certificate at the start alone. Whenever it holds there, near or far from
    # rest, an accurate flow must end at the same point.
    bonds = _lattice(5)
    coupling, field, start = _instance(bonds, 4, seed=4)
    engine = KrylovEngine(bonds, factor_bytes)
    rest = engine.relax(coupling, field, start, OPTIONS).phases
    rng = np.random.default_rng(5)
    held = 0
    for scale in (1e-5, 1e-4, 1e-3, 1e-2):
        near = rest + scale * rng.normal(size=rest.shape)
        result = engine.follow(coupling, field, near, OPTIONS, field)
        for sample in np.flatnonzero(result.steps == 0):
            held += 1
            flow = solve_ivp(
                lambda _, y, b=field[sample]: _force(bonds, coupling, b, y),
                (0.0, 300.0),
                near[sample],
                method="DOP853",
                rtol=1e-8,
                atol=1e-8,
            )
            np.testing.assert_allclose(result.phases[sample], flow.y[:, -1], atol=1e-4)
    assert held >= 3


@ROUTES
def test_a_sample_does_not_depend_on_its_batch(factor_bytes):
    bonds = GRAPHS["lattice"]
    coupling, field, start = _instance(bonds, 4, seed=6)
    engine = KrylovEngine(bonds, factor_bytes)
    batch = engine.relax(coupling, field, start, OPTIONS)
    for sample in (0, 3):
        one = slice(sample, sample + 1)
        _assert_identical(batch, engine.relax(coupling, field[one], start[one], OPTIONS), one)


@ROUTES
def test_any_number_of_threads_gives_the_same_bits(factor_bytes):
    bonds = _lattice(200, 190)
    coupling, field, start = _instance(bonds, 1, seed=7)
    engine = KrylovEngine(bonds, factor_bytes)
    results = [
        engine.relax(coupling, field, start, RelaxationOptions(threads=k, max_steps=12))
        for k in (1, 2, 3)
    ]
    assert results[0].status[0] == RelaxationStatus.STEP_LIMIT
    _assert_identical(results[0], results[1])
    _assert_identical(results[0], results[2])


@ROUTES
@pytest.mark.parametrize("graph", GRAPHS)
def test_solve_and_smallest_eigenvalue_at_any_inertia(graph, factor_bytes):
    bonds = GRAPHS[graph]
    coupling, field, phases = _instance(bonds, 2, seed=8)
    engine = KrylovEngine(bonds, factor_bytes)
    phases[1] = engine.relax(coupling, field[1:], phases[1:], OPTIONS).phases[0]
    rhs = np.random.default_rng(9).normal(size=phases.shape)
    solution = engine.solve(coupling, field, phases, rhs)
    smallest = engine.smallest_eigenvalue(coupling, field, phases)
    for sample, x in enumerate(solution):
        hessian = _hessian(bonds, coupling, field[sample], phases[sample])
        np.testing.assert_allclose(hessian @ x, rhs[sample], atol=1e-8)
        expected = np.linalg.eigvalsh(hessian)[0]
        assert smallest[sample] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert smallest[0] < 0 < smallest[1]


@ROUTES
def test_a_small_change_of_field_needs_no_flow(factor_bytes):
    bonds = GRAPHS["lattice"]
    coupling, field, start = _instance(bonds, 4, seed=10)
    engine = KrylovEngine(bonds, factor_bytes)
    rest = engine.relax(coupling, field, start, OPTIONS).phases
    changed = field.copy()
    changed[:, 3] += 1e-5
    result = engine.follow(coupling, changed, rest, OPTIONS, field)
    assert result.certified.all()
    assert not result.steps.any()
    assert not result.hop.any()
    _assert_equilibria(result, bonds, coupling, changed)
    relaxed = engine.relax(coupling, changed, rest, OPTIONS)
    np.testing.assert_allclose(result.phases, relaxed.phases, atol=1e-9)


@ROUTES
def test_follow_reports_hops_as_the_reference_does(factor_bytes):
    bonds = _lattice(5)
    coupling, field, start = _instance(bonds, 16, seed=11)
    engine, reference = KrylovEngine(bonds, factor_bytes), ReferenceEngine(bonds)
    rest = engine.relax(coupling, field, start, OPTIONS).phases
    changed = field.copy()
    changed[:, 12] += 1.5 * np.exp(1j * np.linspace(0, 6, 16))
    result = engine.follow(coupling, changed, rest, OPTIONS, field)
    expected = reference.follow(coupling, changed, rest, OPTIONS, field)
    np.testing.assert_allclose(result.phases, expected.phases, atol=1e-9)
    np.testing.assert_array_equal(result.hop, expected.hop)
    assert result.hop.any()
    assert not result.hop.all()


@ROUTES
def test_a_flow_at_rest_on_a_saddle_is_called_unstable(factor_bytes):
    bonds = Bonds(2, np.array([[0, 1]]))
    result = KrylovEngine(bonds, factor_bytes).relax(
        np.ones(1), np.ones((1, 2), complex), np.array([[0.0, np.pi]]), OPTIONS
    )
    assert result.status[0] == RelaxationStatus.UNSTABLE
    assert not result.positive_definite[0]


@ROUTES
def test_limits_and_numbers_that_are_not_finite(factor_bytes):
    bonds = GRAPHS["lattice"]
    coupling, field, start = _instance(bonds, 3, seed=12)
    engine = KrylovEngine(bonds, factor_bytes)
    few = engine.relax(coupling, field, start, RelaxationOptions(max_steps=5))
    assert (few.status == RelaxationStatus.STEP_LIMIT).all()
    assert (few.steps + few.rejected == 5).all()
    brief = engine.relax(coupling, field, start, RelaxationOptions(t_max=0.1))
    assert (brief.status == RelaxationStatus.STEP_LIMIT).all()
    field[1, 5] = np.nan
    start[2, 7] = np.inf
    result = engine.relax(coupling, field, start, OPTIONS)
    assert result.status.tolist() == [
        RelaxationStatus.EQUILIBRIUM,
        RelaxationStatus.NOT_FINITE,
        RelaxationStatus.NOT_FINITE,
    ]
    assert np.isnan(engine.solve(coupling, field, start, np.ones_like(start))[1:]).all()
    assert np.isnan(engine.smallest_eigenvalue(coupling, field, start)[1:]).all()


@ROUTES
def test_nodes_without_bonds(factor_bytes):
    bonds = Bonds(3, np.empty((0, 2), dtype=np.int64))
    field = np.array([[1.0, 1j, -2.0]])
    start = np.array([[0.5, 0.2, 3.0]])
    result = KrylovEngine(bonds, factor_bytes).relax(np.empty(0), field, start, OPTIONS)
    np.testing.assert_allclose(result.phases, [[0.0, np.pi / 2, np.pi]], atol=1e-12)


@pytest.mark.parametrize(
    ("n", "edges", "problem"),
    [
        (0, [], "at least one"),
        (2, [[0, 2]], "leaves"),
        (2, [[1, 1]], "itself"),
        (2, [[0, 1], [1, 0]], "twice"),
    ],
)
def test_impossible_bonds_are_refused(n, edges, problem):
    with pytest.raises(SubstrateError, match=problem):
        KrylovEngine(Bonds(n, np.array(edges, dtype=np.int64).reshape(-1, 2)))


def test_wrong_shapes_are_refused():
    bonds = _lattice(3)
    coupling, field, start = _instance(bonds, 2, seed=13)
    engine = KrylovEngine(bonds)
    with pytest.raises(SubstrateError, match="coupling"):
        engine.relax(coupling[1:], field, start, OPTIONS)
    with pytest.raises(SubstrateError, match="field"):
        engine.relax(coupling, field[:1], start, OPTIONS)
    with pytest.raises(SubstrateError, match="phases"):
        engine.relax(coupling, field, start[0], OPTIONS)
    with pytest.raises(SubstrateError, match="rhs"):
        engine.solve(coupling, field, start, start[:, 1:])
    with pytest.raises(SubstrateError, match="previous_field"):
        engine.follow(coupling, field, start, OPTIONS, field[:, 1:])


@pytest.mark.parametrize(
    "wrong", [{"theta": 1.0}, {"tolerance": 0.0}, {"max_steps": -1}, {"method": "rk4"}]
)
def test_options_out_of_range_are_refused(wrong):
    bonds = _lattice(3)
    coupling, field, start = _instance(bonds, 1, seed=15)
    with pytest.raises(SubstrateError, match=next(iter(wrong))):
        KrylovEngine(bonds).relax(coupling, field, start, RelaxationOptions(**wrong))


def test_ten_thousand_nodes_reach_a_certified_equilibrium():
    bonds = _lattice(100)
    coupling, field, start = _instance(bonds, 1, seed=14)
    engine = KrylovEngine(bonds)
    result = engine.relax(coupling, field, start, OPTIONS)
    assert result.status[0] == RelaxationStatus.EQUILIBRIUM
    assert result.certified[0]
    assert engine.rigorous
    assert np.abs(_force(bonds, coupling, field[0], result.phases[0])).max() <= 1e-12
    assert engine.smallest_eigenvalue(coupling, field, result.phases)[0] > 0
