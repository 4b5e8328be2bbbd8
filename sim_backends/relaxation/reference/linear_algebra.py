"""Factorisations of bond matrices: dense (LAPACK) or sparse (SuperLU), chosen by cost.

The samples of a batch are factorised one by one: at the sizes that matter a LAPACK call
takes a few microseconds, and a sample's result cannot depend on its neighbours in the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import ArpackError, LinearOperator, SuperLU, eigsh, splu

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.sim_backends.relaxation.interface import Bonds
from eqp_hw.sim_backends.relaxation.phase_flow import BondMatrix, BoolArray

__all__ = [
    "DenseCholesky",
    "DenseLU",
    "Factors",
    "Solver",
    "SparseCholesky",
    "SparseLU",
    "SymmetricFactors",
    "SymmetricSolver",
    "UnitBall",
    "choose_general",
    "choose_symmetric",
    "to_dense",
    "to_sparse",
]

_INVERSE_LIMIT = 3000
"""Above this many nodes the spectral bound replaces the entries of a full inverse."""


class Factors(ABC):
    """The factorised matrices of one batch.

    Attributes
    ----------
    usable
        (batch,) symmetric solvers: all pivots are positive, that is, the matrix is positive
        definite; general solvers: the matrix is not singular.
    """

    usable: BoolArray

    @abstractmethod
    def solve_one(self, sample: int, rhs: FloatArray) -> FloatArray:
        """Solve for one usable sample; ``rhs`` is (n,) or (n, k)."""

    @final
    def solve(self, rhs: FloatArray) -> FloatArray:
        """Solve for each sample, ``rhs`` (batch, n); NaN where the matrix is not usable."""
        result = np.full_like(rhs, np.nan)
        for sample in np.flatnonzero(self.usable).tolist():
            result[sample] = self.solve_one(sample, rhs[sample])
        return result


@final
@dataclass(frozen=True, eq=False)
class UnitBall:
    """The ball xᵀHx ≤ 1 of a positive definite H, or a larger one; G = H⁻¹.

    Attributes
    ----------
    bond
        (n_bonds,) max(x_i − x_j) = √(G_ii + G_jj − 2G_ij) of bond (i, j), or more.
    node
        (n,) max x_i = √G_ii, or more.
    inverse
        G, or None for a graph so large that only ``smallest`` is known.
    smallest
        A proven lower bound of H; 0 where G is given.
    """

    bond: FloatArray
    node: FloatArray
    inverse: FloatArray | None
    smallest: float

    def dual_norm_bound(self, g: FloatArray) -> float:
        """Return a bound of √(vᵀGv) over all |v_i| ≤ g_i."""
        square = g @ g / self.smallest if self.inverse is None else g @ np.abs(self.inverse) @ g
        return float(np.sqrt(square))


class SymmetricFactors(Factors):
    """Factors of symmetric positive definite matrices."""

    @abstractmethod
    def unit_ball(self, sample: int) -> UnitBall:
        """Return how far the unit ball of one usable sample reaches."""


class Solver(ABC):
    """Factorises bond matrices of one graph; symbolic work is done in the constructor."""

    def __init__(self, bonds: Bonds) -> None:
        self.bonds = bonds

    @property
    @abstractmethod
    def bytes_a_sample(self) -> int:
        """Memory that the factors of one sample take; decides how large batches are cut."""

    @abstractmethod
    def factor(self, matrix: BondMatrix) -> Factors:
        """Factorise each matrix of the batch."""


class SymmetricSolver(Solver):
    """Solver whose factors tell whether a symmetric matrix is positive definite."""

    @abstractmethod
    def factor(self, matrix: BondMatrix) -> SymmetricFactors:
        """Factorise each matrix of the batch."""

    @abstractmethod
    def smallest_eigenvalue(self, matrix: BondMatrix) -> FloatArray:
        """Return the smallest eigenvalue of each symmetric matrix, (batch,)."""


# --- dense ------------------------------------------------------------------------------------


def to_dense(bonds: Bonds, matrix: BondMatrix) -> FloatArray:
    """Return the matrices as (batch, n, n)."""
    i, j = bonds.edges.T
    nodes = np.arange(bonds.n)
    full = np.zeros((len(matrix.diagonal), bonds.n, bonds.n))
    full[:, i, j] = matrix.upper
    full[:, j, i] = matrix.lower
    full[:, nodes, nodes] = matrix.diagonal
    return full


def to_sparse(bonds: Bonds, matrix: BondMatrix) -> sparse.csc_array:
    """Return the first matrix of the batch as (n, n) CSC."""
    return _CscPattern(bonds, np.arange(bonds.n)).matrix(matrix, 0)


@final
class _DenseCholeskyFactors(SymmetricFactors):
    def __init__(self, bonds: Bonds, full: FloatArray) -> None:
        self._bonds = bonds
        self._factors: list[FloatArray] = []
        self.usable = np.empty(len(full), dtype=np.bool_)
        for sample, one in enumerate(full):
            # The transpose is the same matrix in Fortran order: no copy is made.
            factor, info = lapack.dpotrf(one.T, lower=1, overwrite_a=1, clean=0)
            self._factors.append(factor)
            self.usable[sample] = info == 0

    def solve_one(self, sample: int, rhs: FloatArray) -> FloatArray:
        result: FloatArray = lapack.dpotrs(self._factors[sample], rhs, lower=1)[0]
        return result

    def unit_ball(self, sample: int) -> UnitBall:
        return _ball_of_inverse(self._bonds, self.solve_one(sample, np.eye(self._bonds.n)))


@final
class DenseCholesky(SymmetricSolver):
    """LAPACK dpotrf."""

    @property
    def bytes_a_sample(self) -> int:
        """See `Solver.bytes_a_sample`."""
        return 16 * self.bonds.n**2

    def factor(self, matrix: BondMatrix) -> SymmetricFactors:
        """See `Solver.factor`."""
        return _DenseCholeskyFactors(self.bonds, to_dense(self.bonds, matrix))

    def smallest_eigenvalue(self, matrix: BondMatrix) -> FloatArray:
        """See `SymmetricSolver.smallest_eigenvalue`."""
        spectrum = np.linalg.eigvalsh(to_dense(self.bonds, matrix))
        return np.asarray(spectrum[:, 0], dtype=np.float64)


@final
class _DenseLUFactors(Factors):
    def __init__(self, full: FloatArray) -> None:
        self._factors: list[tuple[FloatArray, IntArray]] = []
        self.usable = np.empty(len(full), dtype=np.bool_)
        for sample, one in enumerate(full):
            factor, pivots, info = lapack.dgetrf(one)
            self._factors.append((factor, pivots))
            self.usable[sample] = info == 0

    def solve_one(self, sample: int, rhs: FloatArray) -> FloatArray:
        result: FloatArray = lapack.dgetrs(*self._factors[sample], rhs)[0]
        return result


@final
class DenseLU(Solver):
    """LAPACK dgetrf, for matrices that need not be symmetric or definite."""

    @property
    def bytes_a_sample(self) -> int:
        """See `Solver.bytes_a_sample`."""
        return 16 * self.bonds.n**2

    def factor(self, matrix: BondMatrix) -> Factors:
        """See `Solver.factor`."""
        return _DenseLUFactors(to_dense(self.bonds, matrix))


def _ball_of_inverse(bonds: Bonds, inverse: FloatArray) -> UnitBall:
    i, j = bonds.edges.T
    node = np.diagonal(inverse)
    bond = node[i] + node[j] - inverse[i, j] - inverse[j, i]
    return UnitBall(np.sqrt(np.maximum(bond, 0.0)), np.sqrt(node), inverse, 0.0)


# --- sparse -----------------------------------------------------------------------------------


@final
class _CscPattern:
    """Where the entries of a bond matrix go in a CSC matrix, after renumbering the nodes."""

    def __init__(self, bonds: Bonds, order: IntArray) -> None:
        rank = np.empty(bonds.n, dtype=np.int64)
        rank[order] = np.arange(bonds.n)
        i, j = rank[bonds.edges.T]
        rows, cols = np.concatenate([i, j, rank]), np.concatenate([j, i, rank])
        # Sorting by column, then row, turns coordinates into CSC.
        self._sorting = np.lexsort((rows, cols))
        self._rows = rows[self._sorting].astype(np.int32)
        counts = np.bincount(cols, minlength=bonds.n)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._shape = (bonds.n, bonds.n)

    def matrix(self, values: BondMatrix, sample: int) -> sparse.csc_array:
        parts = (values.upper[sample], values.lower[sample], values.diagonal[sample])
        data = np.concatenate(parts)[self._sorting]
        return sparse.csc_array((data, self._rows, self._starts), shape=self._shape)


def _symmetric_lu(
    matrix: sparse.csc_array, ordering: Literal["NATURAL", "MMD_AT_PLUS_A"]
) -> SuperLU | None:
    """Factorise without pivoting off the diagonal, or return None where that breaks down."""
    try:
        return splu(
            matrix,
            permc_spec=ordering,
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:  # exactly singular
        return None


@final
class _SparseCholeskyFactors(SymmetricFactors):
    def __init__(self, solver: SparseCholesky, matrix: BondMatrix) -> None:
        self._solver = solver
        self._matrix = matrix
        self._factors: list[SuperLU | None] = []
        self.usable = np.empty(len(matrix.diagonal), dtype=np.bool_)
        for sample in range(len(matrix.diagonal)):
            lu = solver.lu(matrix, sample)
            self._factors.append(lu)
            self.usable[sample] = lu is not None and is_definite(lu)

    def solve_one(self, sample: int, rhs: FloatArray) -> FloatArray:
        lu = self._factors[sample]
        if lu is None:
            return np.full_like(rhs, np.nan)
        order = self._solver.order
        result = np.empty_like(rhs)
        result[order] = lu.solve(rhs[order])
        return result

    def unit_ball(self, sample: int) -> UnitBall:
        bonds = self._solver.bonds
        if bonds.n <= _INVERSE_LIMIT:
            return _ball_of_inverse(bonds, self.solve_one(sample, np.eye(bonds.n)))
        # Spectral bound: with H ≥ μ, G_ii ≤ 1/μ and G_ii + G_jj − 2G_ij ≤ 2/μ. Weaker, so
        # that the certificate holds a little later, but it needs no inverse.
        mu = self._solver.lower_bound(self._matrix, sample, self.solve_one)
        node, bond = np.sqrt(1.0 / mu), np.sqrt(2.0 / mu)
        return UnitBall(np.full(len(bonds.edges), bond), np.full(bonds.n, node), None, mu)


@final
class SparseCholesky(SymmetricSolver):
    """SuperLU in symmetric mode without pivoting: L·U with U = D·Lᵀ, definite if D > 0.

    The fill-reducing order is found once.
    """

    def __init__(self, bonds: Bonds) -> None:
        super().__init__(bonds)
        ones = np.ones((1, len(bonds.edges)))
        dominant = BondMatrix(-ones, -ones, np.full((1, bonds.n), 2.0 * bonds.n))
        natural = _CscPattern(bonds, np.arange(bonds.n))
        lu = _symmetric_lu(natural.matrix(dominant, 0), "MMD_AT_PLUS_A")
        if lu is None:  # a diagonally dominant matrix is not singular
            raise AssertionError("SuperLU failed on a diagonally dominant matrix")
        self.order: IntArray = np.argsort(lu.perm_c).astype(np.int64)
        self.fill = int(lu.L.nnz)
        self._pattern = _CscPattern(bonds, self.order)

    @property
    def bytes_a_sample(self) -> int:
        """See `Solver.bytes_a_sample`."""
        return 40 * self.fill

    def lu(self, matrix: BondMatrix, sample: int) -> SuperLU | None:
        """Factorise one sample, renumbered by `order`."""
        return _symmetric_lu(self._pattern.matrix(matrix, sample), "NATURAL")

    def factor(self, matrix: BondMatrix) -> SymmetricFactors:
        """See `Solver.factor`."""
        return _SparseCholeskyFactors(self, matrix)

    def smallest_eigenvalue(self, matrix: BondMatrix) -> FloatArray:
        """See `SymmetricSolver.smallest_eigenvalue`."""
        factors = self.factor(matrix)
        result = np.empty(len(factors.usable))
        for sample, definite in enumerate(factors.usable):
            if definite:
                result[sample] = self._ritz(sample, factors.solve_one, tolerance=0.0)
            else:
                result[sample] = self._lanczos(matrix, sample)
        return result

    def lower_bound(
        self,
        matrix: BondMatrix,
        sample: int,
        solve_one: Callable[[int, FloatArray], FloatArray],
    ) -> float:
        """Return μ > 0 with H ≥ μ, proven by a factorisation of H − μ."""
        mu = 0.9 * self._ritz(sample, solve_one, tolerance=0.05)
        one = matrix.take(np.array([sample]))
        while True:
            lu = self.lu(one.shifted(np.array([-mu])), 0)
            if lu is not None and is_definite(lu):
                return mu
            mu *= 0.5

    def _ritz(
        self, sample: int, solve_one: Callable[[int, FloatArray], FloatArray], tolerance: float
    ) -> float:
        n = self.bonds.n
        inverse = LinearOperator((n, n), lambda v: solve_one(sample, v.ravel()), dtype=np.float64)
        # A fixed start vector keeps results reproducible.
        largest = eigsh(inverse, k=1, v0=_start(n), tol=tolerance, return_eigenvectors=False)
        return 1.0 / float(largest[0])

    def _lanczos(self, matrix: BondMatrix, sample: int) -> float:
        one = self._pattern.matrix(matrix, sample)
        try:
            smallest = eigsh(one, k=1, which="SA", v0=_start(self.bonds.n), ncv=60, tol=1e-10)[0]
        except ArpackError:
            return float("nan")
        return float(smallest[0])


def is_definite(lu: SuperLU) -> bool:
    """Return whether factors made without pivoting prove their matrix positive definite."""
    return bool(np.array_equal(lu.perm_r, lu.perm_c) and lu.U.diagonal().min() > 0.0)


def _start(n: int) -> FloatArray:
    return np.random.default_rng(0).standard_normal(n)


@final
class _SparseLUFactors(Factors):
    def __init__(self, pattern: _CscPattern, matrix: BondMatrix) -> None:
        self._factors: list[SuperLU | None] = []
        for sample in range(len(matrix.diagonal)):
            try:
                lu = splu(pattern.matrix(matrix, sample), permc_spec="MMD_AT_PLUS_A")
            except RuntimeError:  # exactly singular
                lu = None
            self._factors.append(lu)
        self.usable = np.array([lu is not None for lu in self._factors], dtype=np.bool_)

    def solve_one(self, sample: int, rhs: FloatArray) -> FloatArray:
        lu = self._factors[sample]
        return np.full_like(rhs, np.nan) if lu is None else lu.solve(rhs)


@final
class SparseLU(Solver):
    """SuperLU with pivoting, for matrices that need not be symmetric or definite."""

    def __init__(self, bonds: Bonds, fill: int) -> None:
        super().__init__(bonds)
        self._fill = fill
        self._pattern = _CscPattern(bonds, np.arange(bonds.n))

    @property
    def bytes_a_sample(self) -> int:
        """See `Solver.bytes_a_sample`."""
        return 80 * self._fill

    def factor(self, matrix: BondMatrix) -> Factors:
        """See `Solver.factor`."""
        return _SparseLUFactors(self._pattern, matrix)


# --- choice -----------------------------------------------------------------------------------


def choose_symmetric(bonds: Bonds) -> SymmetricSolver:
    """Return the solver with the lower estimated cost of a step (one factor, six solves).

    Microseconds of a current core: dense n³/15000 and n²/1100 a solve; sparse 30 plus .13
    per entry of L, and 4 plus .006 per entry a solve.
    """
    n = bonds.n
    dense = n**3 / 15_000 + 6 * (1 + n**2 / 1100)
    if dense < 60:
        return DenseCholesky(bonds)
    candidate = SparseCholesky(bonds)
    sparse_cost = 30 + 0.13 * candidate.fill + 6 * (4 + 0.006 * candidate.fill)
    return DenseCholesky(bonds) if dense < sparse_cost else candidate


def choose_general(bonds: Bonds) -> Solver:
    """Return the solver for nonsymmetric matrices that suits the graph."""
    symmetric = choose_symmetric(bonds)
    if isinstance(symmetric, SparseCholesky):
        return SparseLU(bonds, symmetric.fill)
    return DenseLU(bonds)
