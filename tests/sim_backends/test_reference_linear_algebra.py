import numpy as np
import pytest

from eqp_hw.sim_backends.relaxation.interface import Bonds
from eqp_hw.sim_backends.relaxation.phase_flow import BondMatrix
from eqp_hw.sim_backends.relaxation.reference import linear_algebra
from eqp_hw.sim_backends.relaxation.reference.linear_algebra import (
    DenseCholesky,
    DenseLU,
    SparseCholesky,
    SparseLU,
    choose_general,
    choose_symmetric,
    to_dense,
    to_sparse,
)


def _random(directed, seed=0):
    """A ring with chords, 40 nodes; the last of three matrices is indefinite."""
    rng = np.random.default_rng(seed)
    n = 40
    edges = np.array([(i, (i + k) % n) for k in (1, 7) for i in range(n)])
    upper = rng.normal(size=(3, len(edges)))
    lower = rng.normal(size=(3, len(edges))) if directed else upper
    diagonal = 6.0 + rng.uniform(size=(3, n))
    diagonal[2, 5] = -1.0
    return Bonds(n, edges), BondMatrix(upper, lower, diagonal)


@pytest.mark.parametrize("solver", [DenseCholesky, SparseCholesky])
def test_symmetric_solvers_against_numpy(solver):
    bonds, matrix = _random(directed=False)
    full = to_dense(bonds, matrix)
    np.testing.assert_array_equal(full, full.transpose(0, 2, 1))
    np.testing.assert_array_equal(to_sparse(bonds, matrix).toarray(), full[0])
    factors = solver(bonds).factor(matrix)
    spectrum = np.linalg.eigvalsh(full)
    assert factors.usable.tolist() == (spectrum[:, 0] > 0).tolist() == [True, True, False]
    rhs = np.random.default_rng(1).normal(size=(3, bonds.n))
    solved = factors.solve(rhs)
    assert np.isnan(solved[2]).all()
    inverse = np.linalg.inv(full)
    i, j = bonds.edges.T
    for k in range(2):
        np.testing.assert_allclose(solved[k], inverse[k] @ rhs[k], rtol=1e-10, atol=1e-13)
        ball = factors.unit_ball(k)
        np.testing.assert_allclose(ball.node**2, np.diag(inverse[k]), rtol=1e-12)
        exact = inverse[k][i, i] + inverse[k][j, j] - 2 * inverse[k][i, j]
        np.testing.assert_allclose(ball.bond**2, exact, rtol=1e-12)
    smallest = solver(bonds).smallest_eigenvalue(matrix)
    np.testing.assert_allclose(smallest, spectrum[:, 0], rtol=1e-9)


def test_spectral_widths_bound_the_exact_ones(monkeypatch):
    bonds, matrix = _random(directed=False)
    factors = SparseCholesky(bonds).factor(matrix)
    exact = factors.unit_ball(0)
    monkeypatch.setattr(linear_algebra, "_INVERSE_LIMIT", 1)
    bound = factors.unit_ball(0)
    g = np.abs(np.random.default_rng(2).normal(size=bonds.n))
    for more, value in (
        (bound.bond, exact.bond),
        (bound.node, exact.node),
        (bound.dual_norm_bound(g), exact.dual_norm_bound(g)),
    ):
        assert np.all(more >= value)
        assert np.all(more <= 10 * value)
    # Over all signs of ±g, the dual norm stays below its bound.
    signs = np.random.default_rng(3).choice([-1.0, 1.0], size=(100, bonds.n)) * g
    inverse = np.linalg.inv(to_dense(bonds, matrix)[0])
    norms = np.sqrt(np.einsum("ki,ij,kj->k", signs, inverse, signs))
    assert norms.max() <= exact.dual_norm_bound(g)


@pytest.mark.parametrize("sparse", [False, True])
def test_general_solvers_against_numpy(sparse):
    bonds, matrix = _random(directed=True)
    solver = SparseLU(bonds, 1000) if sparse else DenseLU(bonds)
    full = to_dense(bonds, matrix)
    rhs = np.random.default_rng(1).normal(size=(3, bonds.n))
    factors = solver.factor(matrix)
    assert factors.usable.all()
    exact = np.linalg.solve(full, rhs[:, :, None])[:, :, 0]
    np.testing.assert_allclose(factors.solve(rhs), exact, rtol=1e-9)
    zero = BondMatrix(0 * matrix.upper, 0 * matrix.lower, 0 * matrix.diagonal)
    assert not solver.factor(zero).usable.any()
    assert np.isnan(solver.factor(zero).solve(rhs)).all()


def test_choice_by_cost():
    node = np.arange(40 * 40).reshape(40, 40)
    right = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
    lattice = Bonds(1600, np.concatenate([right, down]))
    assert isinstance(choose_symmetric(lattice), SparseCholesky)
    assert isinstance(choose_general(lattice), SparseLU)
    dense = Bonds(150, np.array(np.triu_indices(150, 1)).T)
    assert isinstance(choose_symmetric(dense), DenseCholesky)
    assert isinstance(choose_general(dense), DenseLU)
