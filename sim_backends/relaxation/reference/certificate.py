"""Certificate: a proof that the flow from a state can end in one point only.

At φ let g = ∂F/∂φ, H₀ = H(φ) positive definite, d = −H₀⁻¹g the Newton step, λ² = gᵀH₀⁻¹g;
at the Newton point c = φ + d let λ_c² = g_cᵀH₀⁻¹g_c; and 0 < θ < 1. Suppose H ≥ θH₀ in the ball
‖x−c‖_{H₀} ≤ R, which contains φ (R ≥ λ). Convexity on the way from φ to c gives
F(φ) − F(c) ≤ λ²(1 − θ/2), and at radius r from c F(x) ≥ F(c) − λ_c·r + θr²/2. So with

    R = (λ_c + √(λ_c² + θ(2−θ)λ²))/θ

F is at least F(φ) at the ball's edge: the flow, along which F falls, cannot leave the ball, in
which F is strictly convex and has one critical point. (A ball around φ itself would need
R = 2λ/θ, more than twice as much where λ_c ≪ λ.)

H ≥ θH₀ is shown bond by bond. In the ball the phase difference across bond (i, j) differs from
that at c by at most D_ij = R√(G_ii+G_jj−2G_ij), G = H₀⁻¹, so its stiffness J cos falls by at most
w_ij = |J_ij|·min(2, |sin(c_i−c_j)|·D_ij + D_ij²/2); likewise each field's. With W the Laplacian
of the w's, it is enough that H(c) − θH₀ − W is positive definite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.phase_flow import BondMatrix, BoolArray, NodeSums, PhaseFlow

from .linear_algebra import SymmetricSolver

__all__ = ["Certificate", "certify", "hessian_norm", "in_ball", "weakened", "weakening"]


@final
@dataclass(frozen=True, eq=False)
class Certificate:
    """Outcome of `certify` for a batch, and the ball that it speaks of.

    Attributes
    ----------
    holds
        (batch,) the proof succeeded.
    positive
        (batch,) H₀ is positive definite.
    centre
        (batch, n) the Newton point c; φ where H₀ is not positive definite.
    hessian
        H₀.
    radius
        (batch,) R, in the norm of H₀; infinite where H₀ is not positive definite.
    factorisations
        (batch,) factorisations spent.
    """

    holds: BoolArray
    positive: BoolArray
    centre: FloatArray
    hessian: BondMatrix
    radius: FloatArray
    factorisations: IntArray

    def take(self, rows: IntArray) -> Certificate:
        """Return the certificates of the samples ``rows``."""
        return Certificate(
            self.holds[rows],
            self.positive[rows],
            self.centre[rows],
            self.hessian.take(rows),
            self.radius[rows],
            self.factorisations[rows],
        )


def certify(
    solver: SymmetricSolver,
    sums: NodeSums,
    flow: PhaseFlow,
    field: ComplexArray,
    phases: FloatArray,
    force: FloatArray,
    hessian: BondMatrix,
    theta: float,
) -> Certificate:
    """Try the certificate at ``phases``, where the flow is ``force`` and H₀ is ``hessian``."""
    batch = len(phases)
    holds = np.zeros(batch, dtype=np.bool_)
    radius = np.full(batch, np.inf)
    bond_width = np.full((batch, len(flow.i)), np.inf)
    node_width = np.full_like(phases, np.inf)

    factors = solver.factor(hessian)
    positive = factors.usable
    centre = phases.copy()
    for sample in np.flatnonzero(positive).tolist():
        centre[sample] += factors.solve_one(sample, force[sample])
    rest, there = flow.force_and_jacobian(centre, field)
    for sample in np.flatnonzero(positive).tolist():
        before, after = (
            max(g @ factors.solve_one(sample, g), 0.0) for g in (force[sample], rest[sample])
        )
        reach = np.sqrt(after + theta * (2.0 - theta) * before)
        radius[sample] = (np.sqrt(after) + reach) / theta
        ball = factors.unit_ball(sample)
        bond_width[sample] = radius[sample] * ball.bond
        node_width[sample] = radius[sample] * ball.node

    rows = np.flatnonzero(positive)
    if len(rows):
        widths = (bond_width[rows], node_width[rows])
        change, w_node = weakening(flow, field[rows], centre[rows], *widths)
        w_bond = np.abs(flow.forward) * change
        left = weakened(sums, there.take(rows), 1.0, w_bond, w_node)
        base = hessian.take(rows)
        off = left.upper - theta * base.upper
        left = BondMatrix(off, off, left.diagonal - theta * base.diagonal)
        holds[rows] = solver.factor(left).usable
    return Certificate(
        holds,
        positive,
        centre,
        hessian,
        radius,
        1 + positive.astype(np.int64),
    )


def weakening(
    flow: PhaseFlow,
    field: ComplexArray,
    phases: FloatArray,
    bond_width: FloatArray,
    node_width: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Bound by how much stiffness may change while phases move within the given widths.

    Returns
    -------
    The change of cos(φ_i−φ_j) of each bond, (batch, n_bonds), and of Re(b_i* exp(iφ_i)) of
    each node, (batch, n).
    """
    slope = np.abs(np.sin(phases[:, flow.i] - phases[:, flow.j]))
    bond = np.minimum(2.0, slope * bond_width + 0.5 * bond_width**2)
    size = np.abs(field)
    # |b sin(φ−ψ)| = |Im(b* exp(iφ))|, which needs no ψ.
    torque = np.abs(field.real * np.sin(phases) - field.imag * np.cos(phases))
    node = np.minimum(2.0 * size, torque * node_width + 0.5 * size * node_width**2)
    return bond, node


def in_ball(certificate: Certificate, flow: PhaseFlow, phases: FloatArray) -> BoolArray:
    """Return whether ``phases`` lie in the certificate's ball, (batch,).

    A critical point there is the only one, hence the end of the flow.
    """
    length = hessian_norm(certificate.hessian, flow, phases - certificate.centre)
    # R = 0 at an exact equilibrium, where the distance is rounding only.
    inside: BoolArray = length <= certificate.radius + 1e-12
    return inside


def hessian_norm(hessian: BondMatrix, flow: PhaseFlow, x: FloatArray) -> FloatArray:
    """Return √(xᵀHx) of each sample, (batch,)."""
    cross = (hessian.upper * x[:, flow.i] * x[:, flow.j]).sum(axis=1)
    square = (hessian.diagonal * x * x).sum(axis=1) + 2.0 * cross
    norm: FloatArray = np.sqrt(np.maximum(square, 0.0))
    return norm


def weakened(
    sums: NodeSums, hessian: BondMatrix, factor: float, w_bond: FloatArray, w_node: FloatArray
) -> BondMatrix:
    """Return factor·H − W, W the Laplacian of ``w_bond`` plus the diagonal ``w_node``."""
    off = factor * hessian.upper + w_bond
    return BondMatrix(off, off, factor * hessian.diagonal - sums(w_bond, w_bond) - w_node)
