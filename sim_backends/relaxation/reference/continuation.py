"""Certified continuation of an equilibrium while the field changes.

The field moves on a straight line, b(s) = b₀ + s(b₁ − b₀), 0 ≤ s ≤ 1. From the equilibrium φ at s a
step to s′ is proven to stay on the same branch as follows. Let the certificate hold at φ in
the field b(s′), with its ball K around φ, and let H in the field b(s) be positive definite in
K too. F is linear in s, so for every s″ between, H is positive definite in K and F on the
edge of K exceeds F(φ): one minimum in K for every s″, with a regular Hessian, hence one smooth
branch. Where no step longer than `SMALLEST_STEP` can be proven the branch is taken to
end in a fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from eqp_hw.sim_backends.relaxation.interface import RelaxationOptions
from eqp_hw.sim_backends.relaxation.phase_flow import BoolArray, NodeSums, PhaseFlow

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from .certificate import certify, in_ball, stays_definite
from .linear_algebra import SymmetricSolver
from .newton import polish

__all__ = ["SMALLEST_STEP", "Branch", "continue_branch"]

SMALLEST_STEP: Final = 1e-5
"""Fraction of the field's change below which a step is not tried: the branch ends."""


@final
@dataclass(frozen=True, eq=False)
class Branch:
    """End of the branch of each sample.

    Attributes
    ----------
    phases
        (batch, n) last equilibrium of the branch that was reached.
    complete
        (batch,) the branch was traced to the new field.
    factorisations
        (batch,) factorisations spent.
    """

    phases: FloatArray
    complete: BoolArray
    factorisations: IntArray


def continue_branch(
    solver: SymmetricSolver,
    sums: NodeSums,
    flow: PhaseFlow,
    previous_field: ComplexArray,
    field: ComplexArray,
    start: FloatArray,
    options: RelaxationOptions,
) -> Branch:
    """Trace the equilibria from ``start`` in ``previous_field`` to ``field``.

    Where ``start`` is no equilibrium of ``previous_field`` the branch is not complete.
    """
    origin = polish(solver, flow, previous_field, start, options.max_newton)
    phases, spent = origin.phases.copy(), origin.factorisations.copy()
    complete = np.zeros(len(start), dtype=np.bool_)
    position = np.zeros(len(start))
    step = np.full(len(start), 0.5)
    active = np.flatnonzero(origin.usable & (origin.residual <= options.residual))
    while len(active):
        here = phases[active]
        at = position[active][:, None]
        to = np.minimum(position[active] + step[active], 1.0)
        change = field[active] - previous_field[active]
        old, new = (
            previous_field[active] + at * change,
            previous_field[active] + to[:, None] * change,
        )

        _, hessian_old = flow.force_and_jacobian(here, old)
        force, hessian_new = flow.force_and_jacobian(here, new)
        proof = certify(solver, sums, flow, new, here, force, hessian_new, options.theta)
        spent[active] += proof.factorisations
        advance = proof.holds.copy()
        rows = np.flatnonzero(advance)
        if len(rows):
            held = proof.take(rows)
            convex = stays_definite(solver, sums, flow, old[rows], held, hessian_old.take(rows))
            end = polish(solver, flow, new[rows], here[rows], options.max_newton)
            spent[active[rows]] += 1 + end.factorisations
            good = convex & end.usable & (end.residual <= options.residual)
            good &= in_ball(held, flow, end.phases)
            advance[rows] = good
            moved = active[rows[good]]
            phases[moved] = end.phases[good]
            position[moved] = to[rows[good]]
        step[active] *= np.where(advance, 2.0, 0.5)
        complete[active] = position[active] >= 1.0
        active = active[~complete[active] & (step[active] >= SMALLEST_STEP)]
    return Branch(phases, complete, spent)
