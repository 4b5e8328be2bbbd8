"""Right-hand side and Jacobian of the phase flow, for batches, reciprocal or directed.

    dφ_i/dt = f_i(φ) = Im(exp(−iφ_i)·z_i),   z_i = Σ_j J_ij exp(iφ_j) + b_i,   A = −∂f/∂φ.

Two sine-cosine evaluations a node and one sparse product a batch: no sine per bond. Every
operation treats the samples apart and in the same order, so a sample's result does not
depend on the batch it travels in, to the last bit. Source: Wang, Wanjura, Marquardt,
arXiv 2402.08579, eqs. 1-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from .interface import Bonds

__all__ = ["BondMatrix", "BoolArray", "NodeSums", "PhaseFlow"]

BoolArray = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class BondMatrix:
    """A batch of (n, n) matrices that are zero off the diagonal and off the bonds.

    Attributes
    ----------
    upper, lower
        (batch, n_bonds) entries (i, j) and (j, i) of bond e = (i, j).
    diagonal
        (batch, n) diagonal entries.
    """

    upper: FloatArray
    lower: FloatArray
    diagonal: FloatArray

    def shifted(self, shift: FloatArray) -> BondMatrix:
        """Return the matrices plus ``shift`` (batch,) times the identity."""
        return BondMatrix(self.upper, self.lower, self.diagonal + shift[:, None])

    def take(self, rows: IntArray) -> BondMatrix:
        """Return the matrices of the samples ``rows``."""
        return BondMatrix(self.upper[rows], self.lower[rows], self.diagonal[rows])

    def symmetric_part(self) -> BondMatrix:
        """Return (A + Aᵀ)/2."""
        mean = 0.5 * (self.upper + self.lower)
        return BondMatrix(mean, mean, self.diagonal)


@final
class NodeSums:
    """Sums over the bonds of each node."""

    def __init__(self, bonds: Bonds) -> None:
        i, j = bonds.edges.T
        ones, number = np.ones(len(i)), np.arange(len(i))
        shape = (bonds.n, len(i))
        self._at_i = sparse.csr_array(sparse.coo_array((ones, (i, number)), shape=shape))
        self._at_j = sparse.csr_array(sparse.coo_array((ones, (j, number)), shape=shape))

    def __call__(self, at_i: FloatArray, at_j: FloatArray) -> FloatArray:
        """Add ``at_i`` (batch, n_bonds) to node i and ``at_j`` to node j of each bond."""
        total = self._at_i @ at_i.T + self._at_j @ at_j.T
        return np.ascontiguousarray(total.T)


@final
class PhaseFlow:
    """The flow for one set of couplings; the complex field is an argument of its methods.

    Parameters
    ----------
    bonds
        Graph of the free nodes.
    coupling
        (n_bonds,) J_ij of bond (i, j): how j drives i.
    coupling_reverse
        (n_bonds,) J_ji; None for a reciprocal network.
    """

    def __init__(
        self, bonds: Bonds, coupling: FloatArray, coupling_reverse: FloatArray | None = None
    ) -> None:
        self.bonds = bonds
        self.forward = np.asarray(coupling, dtype=np.float64)
        reverse = coupling if coupling_reverse is None else coupling_reverse
        self.reverse = np.asarray(reverse, dtype=np.float64)
        self.reciprocal = coupling_reverse is None
        self.i, self.j = np.ascontiguousarray(bonds.edges.T)
        entries = np.concatenate([self.forward, self.reverse])
        where = (np.concatenate([self.i, self.j]), np.concatenate([self.j, self.i]))
        matrix = sparse.coo_array((entries, where), shape=(bonds.n, bonds.n))
        self._coupling_matrix = sparse.csr_array(matrix)

    def force(self, phases: FloatArray, field: ComplexArray) -> FloatArray:
        """Return f(φ) = dφ/dt, (batch, n)."""
        cosine, sine = np.cos(phases), np.sin(phases)
        real, imag = self._local_field(cosine, sine, field)
        return cosine * imag - sine * real

    def force_and_jacobian(
        self, phases: FloatArray, field: ComplexArray
    ) -> tuple[FloatArray, BondMatrix]:
        """Return f(φ) and A = −∂f/∂φ (the Hessian of F for a reciprocal network)."""
        cosine, sine = np.cos(phases), np.sin(phases)
        real, imag = self._local_field(cosine, sine, field)
        along = cosine[:, self.i] * cosine[:, self.j] + sine[:, self.i] * sine[:, self.j]
        upper = -self.forward * along
        lower = upper if self.reciprocal else -self.reverse * along
        return cosine * imag - sine * real, BondMatrix(upper, lower, cosine * real + sine * imag)

    def stiffness(self, field: ComplexArray) -> FloatArray:
        """Return ρ = max_i(2·Σ_j |J_ij| + |b_i|) of each sample, a bound of ‖A‖, (batch,)."""
        total = np.bincount(self.i, np.abs(self.forward), minlength=self.bonds.n)
        total = total + np.bincount(self.j, np.abs(self.reverse), minlength=self.bonds.n)
        rho: FloatArray = (2.0 * total + np.abs(field)).max(axis=1)
        return rho

    def _local_field(
        self, cosine: FloatArray, sine: FloatArray, field: ComplexArray
    ) -> tuple[FloatArray, FloatArray]:
        batch = len(cosine)
        total = self._coupling_matrix @ np.concatenate([cosine, sine]).T
        real = np.ascontiguousarray(total[:, :batch].T) + field.real
        imag = np.ascontiguousarray(total[:, batch:].T) + field.imag
        return real, imag
