import dataclasses

import numpy as np
import pytest

from eqp_hw.sim_backends.relaxation.interface import (
    Bonds,
    Relaxation,
    RelaxationOptions,
    RelaxationStatus,
)
from eqp_hw.sim_backends.relaxation.reference import ReferenceEngine, linear_algebra
from eqp_hw.sim_backends.relaxation.reference.linear_algebra import DenseCholesky, SparseCholesky

OPTIONS = RelaxationOptions()
NO_BOND = np.empty((0, 2), dtype=np.int64)


def _lattice(size):
    node = np.arange(size * size).reshape(size, size)
    right = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
    return Bonds(size * size, np.concatenate([right, down]))


def _all_to_all(n):
    return Bonds(n, np.array(np.triu_indices(n, 1)).T)


def _instance(bonds, batch, seed, field=0.7):
    rng = np.random.default_rng(seed)
    coupling = rng.normal(size=len(bonds.edges))
    b = field * (rng.normal(size=(batch, bonds.n)) + 1j * rng.normal(size=(batch, bonds.n)))
    return coupling, b, rng.uniform(-np.pi, np.pi, (batch, bonds.n))


def _hessian(bonds, coupling, field, phases):
    i, j = bonds.edges.T
    stiffness = coupling * np.cos(phases[i] - phases[j])
    h = np.diag(np.abs(field) * np.cos(phases - np.angle(field)))
    for a, b, k in zip(i, j, stiffness, strict=True):
        h[a, a] += k
        h[b, b] += k
        h[a, b] -= k
        h[b, a] -= k
    return h


def _assert_identical(one, other, rows):
    for item in dataclasses.fields(Relaxation):
        np.testing.assert_array_equal(
            getattr(one, item.name)[rows], getattr(other, item.name), err_msg=item.name
        )


@pytest.mark.parametrize(
    ("bonds", "solver"), [(_all_to_all(9), DenseCholesky), (_lattice(15), SparseCholesky)]
)
def test_a_sample_does_not_depend_on_its_batch(bonds, solver):
    coupling, field, start = _instance(bonds, 4, seed=1, field=2.0)
    engine = ReferenceEngine(bonds)
    assert type(engine._solver) is solver
    changed = field + 0.3
    batch = engine.relax(coupling, field, start, OPTIONS)
    followed = engine.follow(coupling, changed, batch.phases, OPTIONS, field)
    assert (batch.status == RelaxationStatus.EQUILIBRIUM).all()
    for sample in (0, 3):
        one = slice(sample, sample + 1)
        alone = engine.relax(coupling, field[one], start[one], OPTIONS)
        _assert_identical(batch, alone, one)
        alone = engine.follow(coupling, changed[one], batch.phases[one], OPTIONS, field[one])
        _assert_identical(followed, alone, one)


def test_dense_and_sparse_reach_the_same_points(monkeypatch):
    bonds = _lattice(6)
    coupling, field, start = _instance(bonds, 4, seed=2)
    dense = ReferenceEngine(bonds).relax(coupling, field, start, OPTIONS)
    engine = ReferenceEngine(bonds)
    engine._solver = SparseCholesky(bonds)
    sparse = engine.relax(coupling, field, start, OPTIONS)
    np.testing.assert_allclose(sparse.phases, dense.phases, atol=1e-11)
    assert (sparse.steps == dense.steps).all()
    # Too large for an inverse: the spectral bound certifies later, and the same point.
    monkeypatch.setattr(linear_algebra, "_INVERSE_LIMIT", 10)
    spectral = engine.relax(coupling, field, start, OPTIONS)
    assert spectral.certified.all()
    assert (spectral.steps >= dense.steps).all()
    assert spectral.steps.sum() > dense.steps.sum()
    np.testing.assert_allclose(spectral.phases, dense.phases, atol=1e-11)


def test_unstable_exactly_on_a_saddle():
    single = ReferenceEngine(Bonds(1, NO_BOND))
    top = single.relax(np.empty(0), np.ones((1, 1), complex), np.array([[np.pi]]), OPTIONS)
    assert top.status.tolist() == [RelaxationStatus.UNSTABLE]
    assert not top.positive_definite[0]
    pair = ReferenceEngine(Bonds(2, np.array([[0, 1]])))
    saddle = np.array([[0.0, np.pi], [0.0, np.pi - 1e-6]])
    result = pair.relax(np.ones(1), np.ones((2, 2), complex), saddle, OPTIONS)
    # Off the saddle by a millionth of a radian, the flow leaves it.
    assert result.status.tolist() == [RelaxationStatus.UNSTABLE, RelaxationStatus.EQUILIBRIUM]
    np.testing.assert_allclose(result.phases[1], 0.0, atol=1e-12)
    assert result.steps[0] == 0


@pytest.mark.parametrize("options", [RelaxationOptions(max_steps=3), RelaxationOptions(t_max=0.01)])
def test_limits_return_the_state_as_it_is(options):
    bonds = _all_to_all(6)
    coupling, field, start = _instance(bonds, 3, seed=4)
    result = ReferenceEngine(bonds).relax(coupling, field, start, options)
    assert (result.status == RelaxationStatus.STEP_LIMIT).all()
    assert (result.residual > 1e-3).all()
    assert (result.steps + result.rejected <= 3).all()
    assert not result.certified.any()


def test_what_is_not_finite_is_set_aside():
    bonds = _all_to_all(4)
    coupling, field, start = _instance(bonds, 3, seed=4)
    engine = ReferenceEngine(bonds)
    whole = engine.relax(coupling, field, start, OPTIONS)
    start[0, 1], field[2, 0] = np.nan, np.inf
    result = engine.relax(coupling, field, start, OPTIONS)
    assert result.status.tolist() == [
        RelaxationStatus.NOT_FINITE,
        RelaxationStatus.EQUILIBRIUM,
        RelaxationStatus.NOT_FINITE,
    ]
    np.testing.assert_array_equal(result.phases[1], whole.phases[1])
    coupling[0] = np.nan
    assert (engine.relax(coupling, field, start, OPTIONS).status == 4).all()


def test_follow_ends_where_relax_ends():
    bonds = _lattice(4)
    coupling, field, start = _instance(bonds, 12, seed=6)
    engine = ReferenceEngine(bonds)
    free = engine.relax(coupling, field, start, OPTIONS)
    rng = np.random.default_rng(0)
    nudge = rng.normal(size=field.shape) + 1j * rng.normal(size=field.shape)
    hops = []
    for strength in (1e-4, 0.1, 1.0):
        nudged = field + strength * nudge
        followed = engine.follow(coupling, nudged, free.phases, OPTIONS, field)
        direct = engine.relax(coupling, nudged, free.phases, OPTIONS)
        np.testing.assert_allclose(followed.phases, direct.phases, atol=1e-10)
        assert (followed.status == RelaxationStatus.EQUILIBRIUM).all()
        hops.append(int(followed.hop.sum()))
        # Straight to the end, or the flow.
        assert (followed.factorisations[followed.steps == 0] < 12).all()
    assert hops[0] == 0
    assert hops[2] > 0


def _chain(psi):
    """Bonds of unit strength in series: clamped 0 - node 0 - node 1 - clamped ψ."""
    return np.array([[1.0, np.exp(1j * psi)]])


def test_hop_where_the_branch_ends_in_a_fold():
    """All three angles are ψ/3: stable up to ψ = 3π/2, where the branch ends. Beyond it the only
    minimum is (ψ − 2π)/3."""
    engine = ReferenceEngine(Bonds(2, np.array([[0, 1]])))
    for before, after, hop in ((1.2, 1.3, False), (1.3, 1.35, False), (1.45, 1.55, True)):
        x = before * np.pi / 3
        start = np.array([[x, 2 * x]])
        result = engine.follow(
            np.ones(1), _chain(after * np.pi), start, OPTIONS, _chain(before * np.pi)
        )
        assert result.status[0] == RelaxationStatus.EQUILIBRIUM
        assert result.hop.tolist() == [hop]
        x = (after - 2.0 * hop) * np.pi / 3
        turn = result.phases - np.array([[x, 2 * x]])
        np.testing.assert_allclose(np.exp(1j * turn), 1.0, atol=1e-12)


def test_no_hop_where_continuation_needs_several_steps():
    """One node in a field turned by 170°: far outside the certificate, and yet one branch."""
    engine = ReferenceEngine(Bonds(1, NO_BOND))
    turn = np.exp(1j * np.radians(170.0))
    result = engine.follow(
        np.empty(0), np.array([[turn]]), np.zeros((1, 1)), OPTIONS, np.ones((1, 1), complex)
    )
    assert result.steps[0] > 0
    assert not result.hop[0]
    np.testing.assert_allclose(result.phases, np.radians(170.0), atol=1e-12)
    # By exactly 180° the field vanishes on the way, and the flow has no side to turn to.
    result = engine.follow(
        np.empty(0), np.array([[-1.0 + 0j]]), np.zeros((1, 1)), OPTIONS, np.ones((1, 1), complex)
    )
    assert result.hop[0]
    assert result.status[0] == RelaxationStatus.UNSTABLE


def test_follow_from_what_is_no_equilibrium_says_hop():
    bonds = _all_to_all(5)
    coupling, field, start = _instance(bonds, 2, seed=8)
    result = ReferenceEngine(bonds).follow(coupling, field, start, OPTIONS, field)
    assert (result.status == RelaxationStatus.EQUILIBRIUM).all()
    assert result.hop.any()


@pytest.mark.parametrize("bonds", [_all_to_all(7), _lattice(15)])
def test_solve_and_smallest_eigenvalue_against_dense(bonds):
    coupling, field, start = _instance(bonds, 3, seed=9, field=3.0)
    engine = ReferenceEngine(bonds)
    end = engine.relax(coupling, field, start, OPTIONS)
    # The last sample is no minimum: H is indefinite there.
    phases = np.concatenate([end.phases[:2], start[2:]])
    rhs = np.random.default_rng(0).normal(size=phases.shape)
    solved = engine.solve(coupling, field, phases, rhs)
    smallest = engine.smallest_eigenvalue(coupling, field, phases)
    for sample in range(3):
        h = _hessian(bonds, coupling, field[sample], phases[sample])
        np.testing.assert_allclose(solved[sample], np.linalg.solve(h, rhs[sample]), rtol=1e-8)
        exact = np.linalg.eigvalsh(h)[0]
        assert smallest[sample] == pytest.approx(exact, rel=1e-8)
        assert (exact > 0) == (sample < 2)


def test_solve_gives_nan_where_the_hessian_is_singular():
    engine = ReferenceEngine(Bonds(1, NO_BOND))
    zero = np.zeros((1, 1))
    assert np.isnan(engine.solve(np.empty(0), zero.astype(complex), zero, np.ones((1, 1)))).all()
