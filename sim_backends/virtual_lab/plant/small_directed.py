"""Short way for small non-reciprocal networks whose parameters moved a little.

The certificate of `relaxation.directed`, on dense matrices: with f the flow, A = −∂f/∂φ, S its
symmetric part with smallest eigenvalue μ > 0, and S ≥ μ/2 in the ball of radius r = 2|f|/μ,
the flow ends in the only fixed point of that ball, which Newton finds. Where the bound does
not hold nothing is said, and the caller follows the flow.
Source for contraction: W. Lohmiller, J.-J. Slotine, Automatica 34, 683 (1998).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.interface import Bonds

__all__ = ["step_if_certain"]

_DENSE: Final = 64
_RESIDUAL: Final = 1e-11
_MOST_STEPS: Final = 8


def step_if_certain(
    bonds: Bonds,
    forward: FloatArray,
    reverse: FloatArray,
    field: ComplexArray,
    phases: FloatArray,
) -> tuple[FloatArray, float] | None:
    """Return the fixed point that the flow from ``phases`` certainly reaches, and its residual.

    Parameters
    ----------
    bonds
        Graph of the free nodes.
    forward, reverse
        (n_bonds,) J_ij and J_ji.
    field
        (n,) complex total field.
    phases
        (n,) where the flow starts.

    Returns
    -------
    Phases and max|f|, or None where nothing is certain (or the network is large).
    """
    if bonds.n > _DENSE:
        return None
    matrix = np.zeros((bonds.n, bonds.n))
    first, second = bonds.edges.T
    matrix[first, second], matrix[second, first] = forward, reverse
    force, jacobian = _force_and_jacobian(matrix, field, phases)
    symmetric = (jacobian + jacobian.T) / 2
    smallest = float(np.linalg.eigvalsh(symmetric)[0])
    if smallest <= 0.0:
        return None
    radius = 2.0 * float(np.linalg.norm(force)) / smallest
    if _weakening(matrix, field, phases, radius) > smallest / 2:
        return None
    current = phases
    for _ in range(_MOST_STEPS):
        current = current + np.linalg.solve(jacobian, force)
        force, jacobian = _force_and_jacobian(matrix, field, current)
        residual = float(np.abs(force).max())
        if residual <= _RESIDUAL:
            inside = float(np.linalg.norm(current - phases)) <= radius * (1 + 1e-9) + 1e-12
            return (current, residual) if inside else None
    return None


def _force_and_jacobian(
    matrix: FloatArray, field: ComplexArray, phases: FloatArray
) -> tuple[FloatArray, FloatArray]:
    phasors = np.exp(1j * phases)
    local = np.conj(phasors) * (matrix @ phasors + field)
    jacobian = -matrix * np.outer(phasors.conj(), phasors).real
    jacobian[np.diag_indices(len(phases))] += local.real
    return local.imag, jacobian


def _weakening(matrix: FloatArray, field: ComplexArray, phases: FloatArray, radius: float) -> float:
    """Return a bound on the change of S in the ball, by Gershgorin's rows.

    A point of the ball turns a difference of two phases by at most √2·r, one phase by r; a
    cosine then changes by at most |sin|·d + d²/2.
    """
    difference = phases[:, None] - phases[None, :]
    apart = np.sqrt(2.0) * radius
    cosine = np.minimum(2.0, np.abs(np.sin(difference)) * apart + apart * apart / 2)
    change = np.abs(matrix) * cosine
    own = np.minimum(2.0, np.abs(np.sin(phases - np.angle(field))) * radius + radius**2 / 2)
    rows = change.sum(axis=1) + np.abs(field) * own + (change + change.T).sum(axis=1) / 2
    return float(rows.max())
