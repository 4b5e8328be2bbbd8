"""`ReferenceEngine`: relaxation of reciprocal networks in NumPy and SciPy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.branch import HOP_DISTANCE, largest_turn, leaves_branch
from eqp_hw.sim_backends.relaxation.interface import (
    Bonds,
    Relaxation,
    RelaxationEngine,
    RelaxationOptions,
    RelaxationStatus,
)
from eqp_hw.sim_backends.relaxation.phase_flow import BondMatrix, BoolArray, NodeSums, PhaseFlow

from .certificate import certify, in_ball
from .continuation import continue_branch
from .flow import FlowEnd, FlowStop, run_flow
from .linear_algebra import Factors, SymmetricSolver, choose_general, choose_symmetric
from .newton import polish
from .parts import in_parts

__all__ = ["ReferenceEngine"]


@final
class ReferenceEngine(RelaxationEngine):
    """Readable engine; same algorithm as the compiled one.

    Dense or sparse linear algebra is chosen once, by the estimated cost of a step on this
    graph. Samples go through NumPy together, each with its own step and its own fate.

    Parameters
    ----------
    bonds
        Graph of the free nodes.
    """

    def __init__(self, bonds: Bonds) -> None:
        self.bonds = Bonds(bonds.n, np.asarray(bonds.edges, dtype=np.int64).reshape(-1, 2))
        self._solver = choose_symmetric(self.bonds)
        self._general = choose_general(self.bonds)
        self._sums = NodeSums(self.bonds)

    def relax(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
    ) -> Relaxation:
        """See `RelaxationEngine.relax`."""
        flow = PhaseFlow(self.bonds, coupling)
        return in_parts(
            lambda phases, fields: self._relax(flow, fields[0], phases, options),
            [flow.forward],
            start,
            [field],
            self._bytes_a_sample,
        )

    def follow(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> Relaxation:
        """See `RelaxationEngine.follow`."""
        flow = PhaseFlow(self.bonds, coupling)
        return in_parts(
            lambda phases, fields: self._follow(flow, fields[0], phases, options, fields[1]),
            [flow.forward],
            start,
            [field, previous_field],
            self._bytes_a_sample,
        )

    def solve(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        """See `RelaxationEngine.solve`."""
        flow = PhaseFlow(self.bonds, coupling)
        result = np.empty_like(rhs)
        for sample in range(len(phases)):
            one = slice(sample, sample + 1)
            _, hessian = flow.force_and_jacobian(phases[one], field[one])
            # H need not be positive definite here, so LU rather than Cholesky.
            result[one] = self._general.factor(hessian).solve(rhs[one])
        return result

    def smallest_eigenvalue(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> FloatArray:
        """See `RelaxationEngine.smallest_eigenvalue`."""
        flow = PhaseFlow(self.bonds, coupling)
        result = np.empty(len(phases))
        for sample in range(len(phases)):
            one = slice(sample, sample + 1)
            _, hessian = flow.force_and_jacobian(phases[one], field[one])
            result[one] = self._solver.smallest_eigenvalue(hessian)
        return result

    @property
    def _bytes_a_sample(self) -> int:
        return 2 * self._solver.bytes_a_sample + 200 * (self.bonds.n + len(self.bonds.edges))

    def _relax(
        self,
        flow: PhaseFlow,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
    ) -> Relaxation:
        ends = _CertifiedEnds(self._solver, self._sums, flow, field, start, options)
        state = run_flow(
            flow,
            field,
            start,
            options,
            self._factor_step,
            ends if options.certificate else None,
        )
        # Only a state at rest is polished further; one that met a limit is returned as it is.
        for stop, max_newton in ((FlowStop.AT_REST, options.max_newton), (FlowStop.LIMIT, 0)):
            rows = np.flatnonzero(state.stop == stop)
            if len(rows):
                end = polish(self._solver, flow, field[rows], state.phases[rows], max_newton)
                ends.phases[rows], ends.residual[rows] = end.phases, end.residual
                ends.positive[rows] = end.usable
                state.factorisations[rows] += end.factorisations
        return Relaxation(
            phases=ends.phases,
            status=_status(state, ends.residual, ends.positive, options),
            residual=ends.residual,
            positive_definite=ends.positive,
            certified=state.stop == FlowStop.CERTIFIED,
            hop=np.zeros(len(start), dtype=np.bool_),
            steps=state.steps,
            rejected=state.rejected,
            factorisations=state.factorisations,
        )

    def _follow(
        self,
        flow: PhaseFlow,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> Relaxation:
        # The certificate is tried at the start, however large the force of the new field.
        result = self._relax(flow, field, start, replace(options, certificate_gradient=np.inf))
        moved = np.flatnonzero(~(result.certified & (result.steps + result.rejected == 0)))
        if not len(moved):
            return result
        old, new = previous_field[moved], field[moved]
        here, there = start[moved], result.phases[moved]
        if options.hop_test == "certified":
            branch = continue_branch(self._solver, self._sums, flow, old, new, here, options)
            apart = largest_turn(branch.phases - there) > HOP_DISTANCE
            result.hop[moved] = ~branch.complete | apart
            result.factorisations[moved] += branch.factorisations
        else:
            solve = partial(self.solve, flow.forward)
            result.hop[moved] = leaves_branch(flow, solve, old, new, here, there)
            result.hop[moved] |= result.status[moved] != RelaxationStatus.EQUILIBRIUM
        return result

    def _factor_step(self, hessian: BondMatrix, shift: FloatArray) -> tuple[Factors, BoolArray]:
        factors = self._solver.factor(hessian.shifted(shift))
        return factors, factors.usable.copy()


@final
class _CertifiedEnds:
    """Tries the certificate for `run_flow`, polishes where it holds, and keeps the end points."""

    def __init__(
        self,
        solver: SymmetricSolver,
        sums: NodeSums,
        flow: PhaseFlow,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
    ) -> None:
        self._solver, self._sums, self._flow = solver, sums, flow
        self._field, self._options = field, options
        self.phases = start.copy()
        self.residual = np.full(len(start), np.nan)
        self.positive = np.zeros(len(start), dtype=np.bool_)

    def __call__(
        self, samples: IntArray, phases: FloatArray, force: FloatArray, hessian: BondMatrix
    ) -> tuple[BoolArray, IntArray]:
        field, options = self._field[samples], self._options
        proof = certify(
            self._solver, self._sums, self._flow, field, phases, force, hessian, options.theta
        )
        holds, spent = proof.holds.copy(), proof.factorisations.copy()
        rows = np.flatnonzero(holds)
        if len(rows):
            end = polish(self._solver, self._flow, field[rows], phases[rows], options.max_newton)
            spent[rows] += end.factorisations
            # The proof speaks of the one critical point in its ball: Newton must stay there.
            reached = in_ball(proof.take(rows), self._flow, end.phases)
            reached &= end.usable & (end.residual <= options.residual)
            holds[rows] = reached
            done = samples[rows[reached]]
            self.phases[done] = end.phases[reached]
            self.residual[done] = end.residual[reached]
            self.positive[done] = True
        return holds, spent


def _status(
    state: FlowEnd, residual: FloatArray, positive: BoolArray, options: RelaxationOptions
) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    status = np.full(len(residual), RelaxationStatus.STEP_LIMIT, dtype=np.uint8)
    status[(state.stop == FlowStop.AT_REST) & ~positive] = RelaxationStatus.UNSTABLE
    status[positive & (residual <= options.residual)] = RelaxationStatus.EQUILIBRIUM
    status[state.stop == FlowStop.NOT_FINITE] = RelaxationStatus.NOT_FINITE
    return status
