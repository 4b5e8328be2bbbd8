"""Relaxation with non-reciprocal couplings J_ij ≠ J_ji, where no energy exists.

The flow is followed by the same Rosenbrock method with the nonsymmetric Jacobian. What
replaces the energy certificate is **contraction**: with A = −∂f/∂φ and S its symmetric part,
let S(x) ≥ μ/2 > 0 in the Euclidean ball of radius r = 2|f(φ)|/μ around φ. Along the flow
d|f|²/dt = −2fᵀAf ≤ −μ|f|², so the path is no longer than r, stays in the ball, and
ends in its only fixed point. S(x) ≥ μ/2 is shown with the bounds of the reciprocal
certificate and Gershgorin's rows: in the ball each cosine changes by a known amount at most.
With a phase lag (complex couplings) the two cosines of a bond, cos(φ_j − φ_i + α_ij) and
cos(φ_i − φ_j + α_ji), differ, and each has its own bound.

A fixed point may be stable although S is not positive definite (A far from normal). It is then
reached by the flow alone and reported as an equilibrium that is not certified. A network need
not have a fixed point at all: what still moves at ``t_max`` or after ``max_steps`` is
`RelaxationStatus.NO_FIXED_POINT`; choose both with the network's own times in mind
(`DIRECTED_OPTIONS`). Source for contraction: W. Lohmiller,
J.-J. Slotine, Automatica 34, 683 (1998).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, final

import numpy as np
from scipy.sparse.linalg import ArpackError, eigs

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from .branch import HOP_DISTANCE, largest_turn
from .interface import Bonds, Relaxation, RelaxationOptions, RelaxationStatus
from .phase_flow import BondMatrix, BoolArray, NodeSums, PhaseFlow
from .reference.certificate import weakening
from .reference.flow import FlowStop, run_flow
from .reference.linear_algebra import Factors, choose_general, choose_symmetric, to_dense, to_sparse
from .reference.newton import polish
from .reference.parts import in_parts

__all__ = ["DIRECTED_OPTIONS", "follow_directed", "relax_directed", "solve_directed"]

DIRECTED_OPTIONS: Final = RelaxationOptions(t_max=2e3, max_steps=5_000)
"""Limits that let a limit cycle return within a second on small networks."""

_LARGEST_STEP_RAD: Final = 0.1
_SMALLEST_STEP: Final = 1e-4
_DENSE_SPECTRUM: Final = 600


def relax_directed(
    bonds: Bonds,
    coupling: FloatArray | ComplexArray,
    coupling_reverse: FloatArray | ComplexArray,
    field: ComplexArray,
    start: FloatArray,
    options: RelaxationOptions = DIRECTED_OPTIONS,
) -> Relaxation:
    """Follow dφ_i/dt = Im(exp(−iφ_i)(Σ_j J_ij exp(iφ_j) + b_i)) to its fixed point.

    Parameters
    ----------
    bonds
        Graph of the free nodes.
    coupling, coupling_reverse
        (n_bonds,) J_ij (i driven by j) and J_ji of bond (i, j); complex with a phase lag.
    field
        (batch, n) complex total field.
    start
        (batch, n) initial phases, rad.
    options
        Accuracy and limits; θ is not used.

    Returns
    -------
    `Relaxation`; ``positive_definite`` says that all eigenvalues of A have positive real part.
    """
    task = _Directed(PhaseFlow(bonds, coupling, coupling_reverse))
    return in_parts(
        lambda phases, fields: task.relax(fields[0], phases, options),
        [task.flow.forward_size, task.flow.reverse_size],
        start,
        [field],
        task.bytes_a_sample,
    )


def follow_directed(
    bonds: Bonds,
    coupling: FloatArray | ComplexArray,
    coupling_reverse: FloatArray | ComplexArray,
    field: ComplexArray,
    start: FloatArray,
    options: RelaxationOptions,
    previous_field: ComplexArray,
) -> Relaxation:
    """Relax from a fixed point of ``previous_field`` after the field changed to ``field``.

    Same end as `relax_directed`. Unless the certificate holds at the start, the branch of fixed
    points is traced from field to field by Newton steps of at most .1 rad; ``hop`` is set where
    it ends or leads elsewhere. This tracing is careful but, unlike the reciprocal one, no proof.
    """
    task = _Directed(PhaseFlow(bonds, coupling, coupling_reverse))
    return in_parts(
        lambda phases, fields: task.follow(fields[0], phases, options, fields[1]),
        [task.flow.forward_size, task.flow.reverse_size],
        start,
        [field, previous_field],
        task.bytes_a_sample,
    )


def solve_directed(
    bonds: Bonds,
    coupling: FloatArray | ComplexArray,
    coupling_reverse: FloatArray | ComplexArray,
    field: ComplexArray,
    phases: FloatArray,
    rhs: FloatArray,
    *,
    transpose: bool = False,
) -> FloatArray:
    """Return A⁻¹·rhs, or A⁻ᵀ·rhs, of each sample, (batch, n); NaN where A is singular.

    A⁻¹τ is the response of the fixed point to a small torque τ. With δ = −A⁻ᵀ·∇C the exact
    gradient is dC/dJ_ij = δ_i·sin(φ_i−φ_j), i driven by j (ep_methods §3).
    """
    flow = PhaseFlow(bonds, coupling, coupling_reverse)
    solver = choose_general(bonds)
    result = np.empty_like(rhs)
    for sample in range(len(phases)):
        one = slice(sample, sample + 1)
        _, a = flow.force_and_jacobian(phases[one], field[one])
        if transpose:
            a = BondMatrix(a.lower, a.upper, a.diagonal)
        result[one] = solver.factor(a).solve(rhs[one])
    return result


@final
class _Directed:
    """The flow of one set of couplings with its solvers."""

    def __init__(self, flow: PhaseFlow) -> None:
        self.flow = flow
        self.general = choose_general(flow.bonds)
        self.symmetric = choose_symmetric(flow.bonds)
        self.sums = NodeSums(flow.bonds)

    @property
    def bytes_a_sample(self) -> int:
        entries = self.flow.bonds.n + len(self.flow.bonds.edges)
        return 2 * self.general.bytes_a_sample + 200 * entries

    def relax(
        self, field: ComplexArray, start: FloatArray, options: RelaxationOptions
    ) -> Relaxation:
        phases = start.copy()
        residual = np.full(len(start), np.nan)
        stable = np.zeros(len(start), dtype=np.bool_)

        def try_contraction(
            samples: IntArray, here: FloatArray, force: FloatArray, a: BondMatrix
        ) -> tuple[BoolArray, IntArray]:
            holds, radius, spent = self.contraction(field[samples], here, force, a)
            rows = np.flatnonzero(holds)
            if len(rows):
                end = polish(
                    self.general, self.flow, field[samples[rows]], here[rows], options.max_newton
                )
                spent[rows] += end.factorisations
                distance = np.sqrt(((end.phases - here[rows]) ** 2).sum(axis=1))
                reached = (distance <= radius[rows] + 1e-12) & (end.residual <= options.residual)
                holds[rows] = reached
                done = samples[rows[reached]]
                phases[done], residual[done] = end.phases[reached], end.residual[reached]
                stable[done] = True
            return holds, spent

        certify = try_contraction if options.certificate else None
        state = run_flow(self.flow, field, start, options, self.factor_step, certify)
        for stop, max_newton in ((FlowStop.AT_REST, options.max_newton), (FlowStop.LIMIT, 0)):
            rows = np.flatnonzero(state.stop == stop)
            if not len(rows):
                continue
            end = polish(self.general, self.flow, field[rows], state.phases[rows], max_newton)
            phases[rows], residual[rows] = end.phases, end.residual
            state.factorisations[rows] += end.factorisations
            if stop == FlowStop.AT_REST:
                stable[rows] = self.is_stable(field[rows], end.phases)

        status = np.full(len(start), RelaxationStatus.NO_FIXED_POINT, dtype=np.uint8)
        status[state.stop == FlowStop.NOT_FINITE] = RelaxationStatus.NOT_FINITE
        at_rest = (state.stop == FlowStop.AT_REST) | (state.stop == FlowStop.CERTIFIED)
        fixed = at_rest & (residual <= options.residual)
        status[at_rest & ~fixed] = RelaxationStatus.STEP_LIMIT
        status[at_rest & ~stable] = RelaxationStatus.UNSTABLE
        status[fixed & stable] = RelaxationStatus.EQUILIBRIUM
        return Relaxation(
            phases=phases,
            status=status,
            residual=residual,
            positive_definite=stable,
            certified=state.stop == FlowStop.CERTIFIED,
            hop=np.zeros(len(start), dtype=np.bool_),
            steps=state.steps,
            rejected=state.rejected,
            factorisations=state.factorisations,
        )

    def follow(
        self,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> Relaxation:
        result = self.relax(field, start, replace(options, certificate_gradient=np.inf))
        for sample in np.flatnonzero(~(result.certified & (result.steps + result.rejected == 0))):
            one = slice(sample, sample + 1)
            end, spent = self.branch(previous_field[one], field[one], start[one], options)
            result.factorisations[sample] += spent
            settled = result.status[sample] == RelaxationStatus.EQUILIBRIUM
            result.hop[sample] = (
                not settled
                or end is None
                or largest_turn(end - result.phases[one])[0] > HOP_DISTANCE
            )
        return result

    def branch(
        self, old: ComplexArray, new: ComplexArray, start: FloatArray, options: RelaxationOptions
    ) -> tuple[FloatArray | None, int]:
        """Trace one sample's fixed point from field to field; None where the branch ends."""
        origin = polish(self.general, self.flow, old, start, options.max_newton)
        spent = int(origin.factorisations[0])
        phases, position, step = origin.phases, 0.0, 0.5
        if not (origin.residual[0] <= options.residual and self.is_stable(old, phases)[0]):
            return None, spent
        while position < 1.0:
            to = min(1.0, position + step)
            field = old + to * (new - old)
            end = polish(self.general, self.flow, field, phases, options.max_newton)
            spent += int(end.factorisations[0])
            moved = np.abs(end.phases - phases).max()
            if end.residual[0] <= options.residual and moved <= _LARGEST_STEP_RAD:
                phases, position, step = end.phases, to, 2.0 * step
            else:
                step *= 0.5
                if step < _SMALLEST_STEP:
                    return None, spent
        return phases, spent

    def factor_step(self, a: BondMatrix, shift: FloatArray) -> tuple[Factors, BoolArray]:
        """Factorise 1/(γh) + A, allowed where no motion grows faster than 1/(γh).

        Beyond that an L-stable method would damp what really grows, and so rest at unstable
        fixed points; 1/(γh) + S positive definite excludes it.
        """
        factors = self.general.factor(a.shifted(shift))
        bounded = self.symmetric.factor(a.symmetric_part().shifted(shift)).usable
        return factors, factors.usable & bounded

    def contraction(
        self, field: ComplexArray, phases: FloatArray, force: FloatArray, a: BondMatrix
    ) -> tuple[BoolArray, FloatArray, IntArray]:
        """Try to prove contraction: (holds, radius of the ball, factorisations)."""
        flow = self.flow
        holds = np.zeros(len(phases), dtype=np.bool_)
        radius = np.full(len(phases), np.inf)
        part = a.symmetric_part()
        positive = self.symmetric.factor(part).usable
        rows = np.flatnonzero(positive)
        if len(rows):
            part = part.take(rows)
            # Any 0 < μ < λ_min(S) would do: the proof is the factorisation at the end.
            mu = self.symmetric.smallest_eigenvalue(part)
            r = 2.0 * np.sqrt((force[rows] ** 2).sum(axis=1)) / mu
            bond_width = np.repeat(np.sqrt(2.0) * r[:, None], len(flow.i), axis=1)
            node_width = np.repeat(r[:, None], flow.bonds.n, axis=1)
            change, w_node = weakening(flow, field[rows], phases[rows], bond_width, node_width)
            forward, reverse = flow.forward_size, flow.reverse_size
            if flow.forward_turned is None or flow.reverse_turned is None:
                off = 0.5 * (forward + reverse)
                at_i, at_j = (off + forward) * change, (off + reverse) * change
            else:
                turn = phases[rows][:, flow.j] - phases[rows][:, flow.i]
                by_i = _lagged_change(flow.forward, flow.forward_turned, turn, bond_width)
                by_j = _lagged_change(flow.reverse, flow.reverse_turned, -turn, bond_width)
                off = 0.5 * (by_i + by_j)
                at_i, at_j = off + by_i, off + by_j
            row_sums = self.sums(at_i, at_j) + w_node
            left = BondMatrix(part.upper, part.lower, part.diagonal - row_sums)
            holds[rows] = self.symmetric.factor(left.shifted(-0.5 * mu)).usable
            radius[rows] = r
        return holds, radius, 1 + positive.astype(np.int64)

    def is_stable(self, field: ComplexArray, phases: FloatArray) -> BoolArray:
        """Return whether all eigenvalues of A have positive real part, (batch,)."""
        _, a = self.flow.force_and_jacobian(phases, field)
        # A positive definite symmetric part suffices, and is cheaper to see.
        stable = self.symmetric.factor(a.symmetric_part()).usable.copy()
        for sample in np.flatnonzero(~stable).tolist():
            stable[sample] = self._smallest_real_part(a.take(np.array([sample]))) > 0.0
        return stable

    def _smallest_real_part(self, a: BondMatrix) -> float:
        if self.flow.bonds.n <= _DENSE_SPECTRUM:
            return float(np.linalg.eigvals(to_dense(self.flow.bonds, a)[0]).real.min())
        start = np.ones(self.flow.bonds.n)
        matrix = to_sparse(self.flow.bonds, a)
        try:
            values = eigs(matrix, k=4, which="SR", v0=start, return_eigenvectors=False)
        except ArpackError:
            return float("nan")
        return float(values.real.min())


def _lagged_change(
    real: FloatArray, imaginary: FloatArray, turn: FloatArray, width: FloatArray
) -> FloatArray:
    """Bound by how much J·cos(turn + α) changes while ``turn`` moves within ``width``."""
    slope = np.abs(real * np.sin(turn) + imaginary * np.cos(turn))
    size = np.hypot(real, imaginary)
    bound: FloatArray = np.minimum(2.0 * size, slope * width + 0.5 * size * width**2)
    return bound
