"""Certified continuation of an equilibrium while the field changes.

The field moves on a straight line, b(s) = b₀ + s·b₁, 0 ≤ s ≤ 1. At an equilibrium φ of b(s)
let H₀ be the Hessian, φ′ = dφ/ds, and c(τ) = φ + τφ′ the predictor. For 0 ≤ τ ≤ Δ

    |∂F/∂φ_i (c(τ); s+τ)| ≤ ḡ_i = Σ_j |J_ij|(Δ(φ′_i−φ′_j))²/2 + |b_i|(Δφ′_i)²/2 + Δ²|b₁_i φ′_i|,

so λ = max √(vᵀH₀⁻¹v) over |v| ≤ ḡ bounds its length. Let H ≥ θH₀ in the tube of radius
R = 2λ/θ (norm of H₀) around c(τ), for all fields on the way. Then, as in the certificate of
the flow, each F(·; s+τ) has exactly one critical point in its ball, a minimum no farther than
R/2 from c(τ): the branch from φ is smooth and stays in the tube up to s + Δ. H ≥ θH₀ is shown
bond by bond as in the certificate; the phase across a bond moves by Δ|φ′_i−φ′_j| plus the
width of the ball. Since
the known motion enters as it is and only its error, of order Δ², as a ball, steps stay long on
large networks. Where no step longer than `SMALLEST_STEP` can be proven the branch is taken to
end in a fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.interface import RelaxationOptions
from eqp_hw.sim_backends.relaxation.phase_flow import BondMatrix, BoolArray, NodeSums, PhaseFlow

from .certificate import hessian_norm, weakened, weakening
from .linear_algebra import SymmetricSolver, UnitBall
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
    for sample in np.flatnonzero(origin.usable & (origin.residual <= options.residual)).tolist():
        one = slice(sample, sample + 1)
        tracer = _Tracer(solver, sums, flow, previous_field[one], field[one], options)
        complete[sample] = tracer.run(phases[one])
        phases[one] = tracer.phases
        spent[sample] += tracer.spent
    return Branch(phases, complete, spent)


@final
class _Tracer:
    """Traces the branch of one sample; all arrays are batches of one."""

    def __init__(
        self,
        solver: SymmetricSolver,
        sums: NodeSums,
        flow: PhaseFlow,
        previous_field: ComplexArray,
        field: ComplexArray,
        options: RelaxationOptions,
    ) -> None:
        self._solver, self._sums, self._flow = solver, sums, flow
        self._previous, self._change = previous_field, field - previous_field
        self._options = options
        self.spent = 0

    def run(self, start: FloatArray) -> bool:
        """Return whether the branch was traced to the new field; `phases` is its end."""
        self.phases = start
        position, step = 0.0, 1.0
        while position < 1.0:
            field = self._previous + position * self._change
            _, hessian = self._flow.force_and_jacobian(self.phases, field)
            factors = self._solver.factor(hessian)
            self.spent += 1
            if not factors.usable[0]:
                return False
            torque = self._change.imag * np.cos(self.phases) - self._change.real * np.sin(
                self.phases
            )
            rate = factors.solve(torque)
            ball = factors.unit_ball(0)
            step = min(step, 1.0 - position)
            while not self._advance(field, hessian, rate, ball, step):
                step *= 0.5
                if step < SMALLEST_STEP:
                    return False
            position = 1.0 if step >= 1.0 - position else position + step
            step *= 2.0
        return True

    def _advance(
        self,
        field: ComplexArray,
        hessian: BondMatrix,
        rate: FloatArray,
        ball: UnitBall,
        step: float,
    ) -> bool:
        flow, options = self._flow, self._options
        coupling, moved = np.abs(flow.forward), step * np.abs(rate)
        turned = step * np.abs(rate[:, flow.i] - rate[:, flow.j])
        change = step * np.abs(self._change)

        bent = 0.5 * coupling * turned**2
        residual = self._sums(bent, bent) + 0.5 * np.abs(field) * moved**2 + change * moved
        radius = 2.0 * ball.dual_norm_bound(residual[0]) / options.theta

        bond, node = weakening(
            flow, field, self.phases, turned + radius * ball.bond, moved + radius * ball.node
        )
        left = weakened(self._sums, hessian, 1.0 - options.theta, coupling * bond, node + change)
        self.spent += 1
        if not self._solver.factor(left).usable[0]:
            return False

        centre = self.phases + step * rate
        target = field + step * self._change
        end = polish(self._solver, flow, target, centre, options.max_newton)
        self.spent += int(end.factorisations[0])
        inside = hessian_norm(hessian, flow, end.phases - centre)[0] <= radius + 1e-12
        if not (inside and end.usable[0] and end.residual[0] <= options.residual):
            return False
        self.phases = end.phases
        return True
