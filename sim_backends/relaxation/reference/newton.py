"""Newton polish: from a state near an equilibrium down to rounding level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.phase_flow import BoolArray, PhaseFlow

from .linear_algebra import Solver

__all__ = ["Polished", "polish"]


@final
@dataclass(frozen=True, eq=False)
class Polished:
    """Where Newton's method came to rest.

    Attributes
    ----------
    phases
        (batch, n) state of the smallest residual.
    residual
        (batch,) max_i |f_i| there.
    usable
        (batch,) the Jacobian there factorised (symmetric solver: it is positive definite).
    factorisations
        (batch,) factorisations spent.
    """

    phases: FloatArray
    residual: FloatArray
    usable: BoolArray
    factorisations: IntArray


def polish(
    solver: Solver,
    flow: PhaseFlow,
    field: ComplexArray,
    start: FloatArray,
    max_newton: int,
) -> Polished:
    """Take full Newton steps as long as the residual falls.

    A sample also stops where the factorisation fails: a Newton step from a state that is not
    in a convex region would lead to a saddle as readily as to a minimum.
    """
    phases = start.copy()
    force, jacobian = flow.force_and_jacobian(phases, field)
    residual = np.abs(force).max(axis=1)
    usable = np.zeros(len(phases), dtype=np.bool_)
    factorisations = np.zeros(len(phases), dtype=np.int64)
    active = np.arange(len(phases))
    for taken in range(max_newton + 1):
        factors = solver.factor(jacobian)
        factorisations[active] += 1
        usable[active] = factors.usable
        # The last pass only tells whether the end point is definite.
        go_on = factors.usable & (residual[active] > 0.0)
        if taken == max_newton or not go_on.any():
            break
        trial = phases[active] + factors.solve(force)
        force, jacobian = flow.force_and_jacobian(trial, field[active])
        trial_residual = np.abs(force).max(axis=1)
        falls = np.flatnonzero(go_on & (trial_residual < residual[active]))
        active, force, jacobian = active[falls], force[falls], jacobian.take(falls)
        phases[active] = trial[falls]
        residual[active] = trial_residual[falls]
        if not len(active):
            break
    return Polished(phases, residual, usable, factorisations)
