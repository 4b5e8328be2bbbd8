"""Equilibria under a complex nudge β, for holomorphic equilibrium propagation.

The torque β(f_y cos φ − f_x sin φ) of a nudge field f = f_x + i·f_y is continued analytically:
β and φ are complex, cosine and sine are entire. Real and imaginary part of a *field* are its two
quadratures and are never mixed with those of β. The equilibrium is found by Newton's method with
the complex symmetric Hessian (plain transpose, no conjugate), from the real free equilibrium, β
being turned on in steps where one step does not converge.
Source: A. Laborieux, F. Zenke, *Holomorphic Equilibrium Propagation*, NeurIPS 2022.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import splu

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .interface import Bonds
from .phase_flow import BoolArray

__all__ = ["complex_equilibrium"]

_DENSE_LIMIT: Final = 300
_LARGEST_STEP_RAD: Final = 0.5
_SMALLEST_STEP: Final = 1e-3
_MAX_NEWTON: Final = 20


def complex_equilibrium(
    bonds: Bonds,
    coupling: FloatArray,
    field: ComplexArray,
    nudge: ComplexArray,
    beta: ComplexArray,
    start: FloatArray,
    *,
    residual: float = 1e-10,
) -> tuple[ComplexArray, FloatArray, BoolArray]:
    """Return the analytic continuation of the free equilibrium to complex β.

    Parameters
    ----------
    bonds
        Graph of the free nodes.
    coupling
        (n_bonds,) real J of each bond.
    field
        (batch, n) real-physics field (bias + clamped neighbours): b_x + i·b_y.
    nudge
        (batch, n) nudge field f_x + i·f_y at β = 1.
    beta
        (batch,) complex nudge strength.
    start
        (batch, n) real free equilibrium, rad.
    residual
        Largest |∂F/∂φ| that counts as converged; Newton goes on to rounding level.

    Returns
    -------
    phases
        (batch, n) complex equilibrium.
    residual
        (batch,) max_i |∂F/∂φ_i| there, for the full β.
    converged
        (batch,) the residual is within the limit and no Newton run moved a phase by more than
        .5 rad, so that the branch was not left unseen.
    """
    holomorphic = _HolomorphicForce(bonds, coupling)
    phases = np.array(start, dtype=np.complex128)
    worst = np.empty(len(phases))
    converged = np.zeros(len(phases), dtype=np.bool_)
    for sample in range(len(phases)):
        b, f = field[sample], nudge[sample]
        x, y = beta[sample] * f.real, beta[sample] * f.imag
        here, position, step = phases[sample], 0.0, 1.0
        while position < 1.0 and step >= _SMALLEST_STEP:
            to = min(1.0, position + step)
            trial, size = _newton(holomorphic, here, b.real + to * x, b.imag + to * y)
            # NaN fails both comparisons.
            if size <= residual and np.abs(trial - here).max() <= _LARGEST_STEP_RAD:
                here, position, step = trial, to, 2.0 * step
            else:
                step *= 0.5
        phases[sample] = here
        worst[sample] = np.abs(holomorphic.force(here, b.real + x, b.imag + y)).max()
        converged[sample] = position == 1.0
    return phases, worst, converged


@final
class _HolomorphicForce:
    """−∂F/∂φ and its Hessian for complex phases of one sample; fields in two quadratures."""

    def __init__(self, bonds: Bonds, coupling: FloatArray) -> None:
        self.n = bonds.n
        self._i, self._j = np.ascontiguousarray(bonds.edges.T)
        self._coupling = np.asarray(coupling, dtype=np.float64)
        both = np.concatenate([self._coupling, self._coupling])
        self._rows = np.concatenate([self._i, self._j, np.arange(self.n)])
        self._cols = np.concatenate([self._j, self._i, np.arange(self.n)])
        where = (self._rows[: len(both)], self._cols[: len(both)])
        matrix = sparse.coo_array((both, where), shape=(self.n, self.n))
        self._matrix = sparse.csr_array(matrix)

    def force(self, phases: ComplexArray, x: ComplexArray, y: ComplexArray) -> ComplexArray:
        cosine, sine = np.cos(phases), np.sin(phases)
        torque: ComplexArray = cosine * (self._matrix @ sine + y) - sine * (
            self._matrix @ cosine + x
        )
        return torque

    def newton_step(
        self, phases: ComplexArray, force: ComplexArray, x: ComplexArray, y: ComplexArray
    ) -> ComplexArray:
        """Return H(φ)⁻¹·force, NaN where H is singular."""
        cosine, sine = np.cos(phases), np.sin(phases)
        i, j = self._i, self._j
        bond = -self._coupling * (cosine[i] * cosine[j] + sine[i] * sine[j])
        own = cosine * (self._matrix @ cosine + x) + sine * (self._matrix @ sine + y)
        entries = np.concatenate([bond, bond, own])
        if self.n <= _DENSE_LIMIT:
            full = np.zeros((self.n, self.n), dtype=np.complex128, order="F")
            full[self._rows, self._cols] = entries
            _, _, step, info = lapack.zgesv(full, force, overwrite_a=1)
            return np.asarray(step) if info == 0 else np.full_like(force, np.nan)
        where = (self._rows, self._cols)
        hessian = sparse.csc_array(sparse.coo_array((entries, where), shape=(self.n, self.n)))
        try:
            return np.asarray(splu(hessian, permc_spec="MMD_AT_PLUS_A").solve(force))
        except RuntimeError:  # exactly singular
            return np.full_like(force, np.nan)


def _newton(
    holomorphic: _HolomorphicForce, start: ComplexArray, x: ComplexArray, y: ComplexArray
) -> tuple[ComplexArray, float]:
    """Take Newton steps as long as the residual falls."""
    phases, force = start, holomorphic.force(start, x, y)
    size = float(np.abs(force).max())
    for _ in range(_MAX_NEWTON):
        if size == 0.0:
            break
        trial = phases + holomorphic.newton_step(phases, force, x, y)
        # Phases this far off the real axis are lost, and their cosine would overflow.
        if not np.abs(trial.imag).max() < 20.0:
            break
        trial_force = holomorphic.force(trial, x, y)
        trial_size = float(np.abs(trial_force).max())
        if not trial_size < size:
            break
        phases, force, size = trial, trial_force, trial_size
    return phases, size
