r"""Relaxation of large graphs (10⁴ … 10⁶ free nodes), a few samples at a time.

The flow is followed by the same Rosenbrock methods as in the other engines. What differs is
how a step's systems (I/(γh) + H)·K = r are solved; the cheaper of two ways is taken each step,
by estimated cost:

- **Conjugate gradients** with an incomplete Cholesky preconditioner, while the step h is short
  and the matrix well conditioned. Every residual is brought below 1 % of the step tolerance;
  a direction of negative curvature rejects the step (h × .3), as a failed factorisation does.
- **Multifrontal Cholesky** over a nested dissection, once h is long. On a planar lattice it
  costs O(N^{3/2}) operations and O(N log N) memory, whatever the condition of H.

Certificate. With H₀ = H(φ), g = ∂F/∂φ, λ² = gᵀH₀⁻¹g and R = 2λ/θ, F is strictly convex in a
ball that its sublevel set cannot leave if H ≥ θH₀ for ‖x−φ‖_{H₀} ≤ R (docs: relaxation
certificate). With μ the smallest eigenvalue of H₀, a displacement d in the ball obeys
μ‖d‖² ≤ dᵀH₀d ≤ R², hence |d_i − d_j| ≤ √2·‖d‖ ≤ D = R·√(2/μ) on each bond, and
|d_i| ≤ D/√2 at each field. A bond's curvature J·cos(φ_i−φ_j+δ) then changes by at most
w_ij = |J_ij|·min(2, |sin(φ_i−φ_j)|·D + D²/2), a field's by w_i likewise, so that H ≥ H₀ − W with
W the weighted Laplacian of the w_ij plus diag(w_i), and H ≥ θH₀ follows from
(1−θ)H₀ − W > 0. This needs no entries of the inverse, at the price of a smaller |g|; as the
method is L-stable and h grows, that is a few more steps.

Where a factor fits into memory both facts are **proven**: H₀ − μI > 0 (μ = .8 of a Ritz value)
and (1−θ)H₀ − W > 0, each by a Cholesky factorisation (Sylvester's law of inertia). Where it does
not, ``certified`` rests on an **estimate**: μ is half a Ritz value of H₀ (which bounds the
smallest eigenvalue from above only) and ‖W‖ ≤ max_i(2Σ_j w_ij + w_i) < (1−θ)μ is asked for.
`KrylovEngine.rigorous` says which holds.

Hops are decided by certified steps along the branch of equilibria, whatever
`RelaxationOptions.hop_test` says.

Sums run over fixed blocks: results depend neither on the number of threads nor on the batch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, final

import numpy as np

from eqp_hw.errors import UnavailableError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from .arguments import (
    check_options,
    checked_bonds,
    checked_state,
    complex_array,
    real_array,
    worker_threads,
)
from .interface import Bonds, Relaxation, RelaxationEngine, RelaxationOptions

if TYPE_CHECKING:
    from . import _krylov

__all__ = ["KrylovEngine", "KrylovReport"]

FACTOR_BYTES = 4e9
"""Largest sparse factor held in memory; above, conjugate gradients alone."""


@final
@dataclass(frozen=True, eq=False)
class KrylovReport:
    """What the samples of the last `relax` or `follow` cost; each field is (batch,).

    Attributes
    ----------
    flow_time
        Flow time at which the flow was left.
    iterations
        Iterations of conjugate gradients, all purposes.
    direct_steps
        Steps that used a factorisation; the other steps used conjugate gradients.
    """

    flow_time: FloatArray
    iterations: IntArray
    direct_steps: IntArray


@final
class KrylovEngine(RelaxationEngine):
    """Relaxes large reciprocal networks, one sample after the other.

    Parameters
    ----------
    bonds
        Bonds among the free nodes.
    factor_bytes
        Largest sparse factor, bytes; 0 forbids factorisations.

    Attributes
    ----------
    rigorous
        Whether ``certified`` is a proof (a factor fits into ``factor_bytes``) or rests on an
        estimated eigenvalue.
    factor_entries, factor_flops
        Numbers held by a factor, and operations of a factorisation.

    Raises
    ------
    UnavailableError
        The package was installed without its compiled part.
    SubstrateError
        A bond that leaves the graph, joins a node to itself or is listed twice.
    """

    def __init__(self, bonds: Bonds, factor_bytes: float = FACTOR_BYTES) -> None:
        bonds = checked_bonds(bonds)
        self.bonds = bonds
        self._compiled = _load()
        self._solver: _krylov.Solver = self._compiled.Solver(bonds.n, bonds.edges, factor_bytes)
        self.rigorous = self._solver.direct
        self.factor_entries = self._solver.factor_entries
        self.factor_flops = self._solver.factor_flops
        self.report: KrylovReport | None = None

    def relax(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
    ) -> Relaxation:
        """Follow the flow until its end is certain, then polish; see the base class."""
        return self._run(coupling, field, start, options, None)

    def follow(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> Relaxation:
        """Relax after a change of field; see the base class."""
        return self._run(coupling, field, start, options, previous_field)

    def solve(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        """Return H(φ)⁻¹·rhs, (batch, n); NaN where H is singular."""
        coupling, field, phases = checked_state(self.bonds, coupling, field, phases)
        out = np.empty_like(phases)
        rhs = real_array("rhs", rhs, phases.shape)
        self._solver.solve(coupling, field, phases, rhs, out, worker_threads())
        return out

    def smallest_eigenvalue(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> FloatArray:
        """Return the smallest eigenvalue of H(φ), (batch,), to 1e-6."""
        coupling, field, phases = checked_state(self.bonds, coupling, field, phases)
        out = np.empty(len(phases))
        self._solver.smallest_eigenvalue(coupling, field, phases, out, worker_threads())
        return out

    def _run(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous: ComplexArray | None,
    ) -> Relaxation:
        coupling, field, start = checked_state(self.bonds, coupling, field, start)
        phases = start.copy()
        if previous is not None:
            previous = complex_array("previous_field", previous, phases.shape)
        reals = np.empty((len(phases), 2))
        integers = np.empty((len(phases), 9), dtype=np.int64)
        self._solver.relax(
            coupling,
            field,
            field if previous is None else previous,
            previous is not None,
            phases,
            reals,
            integers,
            self._translate(options),
            worker_threads(options.threads),
        )
        status, definite, certified, hop, steps, rejected, factorisations, iterations, direct = (
            integers.T.copy()
        )
        self.report = KrylovReport(reals[:, 1].copy(), iterations, direct)
        return Relaxation(
            phases=phases,
            status=status.astype(np.uint8),
            residual=reals[:, 0].copy(),
            positive_definite=definite.astype(bool),
            certified=certified.astype(bool),
            hop=hop.astype(bool),
            steps=steps,
            rejected=rejected,
            factorisations=factorisations,
        )

    def _translate(self, options: RelaxationOptions) -> _krylov.Options:
        check_options(options)
        result: _krylov.Options = self._compiled.Options()
        result.rodas4 = options.method == "rodas4"
        for name in (
            "tolerance",
            "certificate",
            "certificate_gradient",
            "certificate_backoff",
            "theta",
            "residual",
            "flow_residual",
            "t_max",
            "max_steps",
            "max_newton",
        ):
            setattr(result, name, getattr(options, name))
        return result


def _load() -> ModuleType:
    try:
        return importlib.import_module("eqp_hw.sim_backends.relaxation._krylov")
    except ImportError as error:
        raise UnavailableError(
            "relaxing large networks needs the compiled part of eqp_hw: install it where a C++17 "
            f"compiler is at hand ({error})"
        ) from error
