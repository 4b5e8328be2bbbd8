"""Right-hand side and Jacobian of the phase flow, for batches, reciprocal or directed.

    dφ_i/dt = f_i(φ) = Im(exp(−iφ_i)·z_i),   z_i = Σ_j J_ij exp(iφ_j) + b_i,   A = −∂f/∂φ.

A complex coupling J·exp(iα) is one with a phase lag: its torque is J·sin(φ_j − φ_i + α).
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
        (n_bonds,) J_ji; None for a reciprocal network without lag.

    Attributes
    ----------
    forward, reverse
        (n_bonds,) Re J_ij and Re J_ji.
    forward_turned, reverse_turned
        (n_bonds,) Im J_ij and Im J_ji, None where all couplings are real.
    forward_size, reverse_size
        (n_bonds,) |J_ij| and |J_ji|.
    """

    def __init__(
        self,
        bonds: Bonds,
        coupling: FloatArray | ComplexArray,
        coupling_reverse: FloatArray | ComplexArray | None = None,
    ) -> None:
        self.bonds = bonds
        reverse = coupling if coupling_reverse is None else coupling_reverse
        self.forward = np.asarray(np.real(coupling), dtype=np.float64)
        self.reverse = np.asarray(np.real(reverse), dtype=np.float64)
        self.forward_size, self.reverse_size = np.abs(coupling), np.abs(reverse)
        self.reciprocal = coupling_reverse is None
        self.i, self.j = np.ascontiguousarray(bonds.edges.T)
        self._coupling_matrix = self._matrix(self.forward, self.reverse)
        self.forward_turned: FloatArray | None = None
        self.reverse_turned: FloatArray | None = None
        if np.iscomplexobj(coupling) or np.iscomplexobj(reverse):
            if self.reciprocal:
                raise ValueError("couplings with a phase lag are given in both directions")
            self.forward_turned = np.asarray(np.imag(coupling), dtype=np.float64)
            self.reverse_turned = np.asarray(np.imag(reverse), dtype=np.float64)
            self._turned_matrix = self._matrix(self.forward_turned, self.reverse_turned)

    def _matrix(self, forward: FloatArray, reverse: FloatArray) -> sparse.csr_array:
        entries = np.concatenate([forward, reverse])
        where = (np.concatenate([self.i, self.j]), np.concatenate([self.j, self.i]))
        shape = (self.bonds.n, self.bonds.n)
        return sparse.csr_array(sparse.coo_array((entries, where), shape=shape))

    @property
    def lagged(self) -> bool:
        """Whether couplings have a phase lag."""
        return self.forward_turned is not None

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
        if self.forward_turned is not None and self.reverse_turned is not None:
            across = cosine[:, self.i] * sine[:, self.j] - sine[:, self.i] * cosine[:, self.j]
            upper = upper + self.forward_turned * across
            lower = lower - self.reverse_turned * across
        return cosine * imag - sine * real, BondMatrix(upper, lower, cosine * real + sine * imag)

    def stiffness(self, field: ComplexArray) -> FloatArray:
        """Return ρ = max_i(2·Σ_j |J_ij| + |b_i|) of each sample, a bound of ‖A‖, (batch,)."""
        total = np.bincount(self.i, self.forward_size, minlength=self.bonds.n)
        total = total + np.bincount(self.j, self.reverse_size, minlength=self.bonds.n)
        rho: FloatArray = (2.0 * total + np.abs(field)).max(axis=1)
        return rho

    def _local_field(
        self, cosine: FloatArray, sine: FloatArray, field: ComplexArray
    ) -> tuple[FloatArray, FloatArray]:
        batch = len(cosine)
        phasors = np.concatenate([cosine, sine]).T
        total = self._coupling_matrix @ phasors
        if self.lagged:
            turned = self._turned_matrix @ phasors
            total += np.concatenate([-turned[:, batch:], turned[:, :batch]], axis=1)
        real = np.ascontiguousarray(total[:, :batch].T) + field.real
        imag = np.ascontiguousarray(total[:, batch:].T) + field.imag
        return real, imag
