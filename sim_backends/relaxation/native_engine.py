"""`NativeEngine`: the compiled relaxation engine, with checked and typed arguments.

The kernels (native/) keep 2 to 8 samples in the lanes of one vector register and follow each
with its own step. A sample's result depends on no other sample, on no batch size and on no
thread count, to the last bit.

From a tolerance of 1e-3 on the flow runs in single precision, whose rounding (1e-7 a number, less
than 1e-5 in an error estimate) is far below the error that a step may make; where the force falls
to 1e-6 of the couplings it goes on in double. Certificates and Newton are always in double.

Importing this module raises ImportError where the extension was not compiled.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from . import _native
from .arguments import (
    check_options,
    checked_bonds,
    checked_state,
    complex_array,
    real_array,
    real_parts,
    worker_threads,
)
from .branch import RULES
from .interface import (
    Bonds,
    Relaxation,
    RelaxationEngine,
    RelaxationOptions,
    RelaxationStatus,
)
from .native_branch import CertifiedBranch

__all__ = ["Isa", "NativeEngine", "usable_isas"]

NEEDS_FLOW: Final = 255
"""Internal status: the certificate failed at the start."""

Isa = Literal["avx512", "avx2", "baseline"]


def usable_isas() -> list[str]:
    """Return the instruction sets usable on this processor, best first."""
    return _native.isas()


@final
class NativeEngine(RelaxationEngine):
    """Compiled engine; symbolic work is done here, once for the graph.

    Parameters
    ----------
    bonds
        Graph of the free nodes.
    isa
        Instruction set to use, by default the best of this processor. "avx2" and "avx512"
        agree to the last bit; "baseline" (no fused multiply-add on x86-64) to rounding.

    Raises
    ------
    SubstrateError
        A bond that leaves the graph or joins a node to itself, or an instruction set that
        this processor lacks.
    """

    def __init__(self, bonds: Bonds, *, isa: Isa | None = None) -> None:
        bonds = checked_bonds(bonds)
        if isa is not None and isa not in usable_isas():
            raise SubstrateError(
                f"isa = {isa!r}: not usable here (allowed: {', '.join(usable_isas())})"
            )
        self.bonds = bonds
        self._engine = _native.Engine(bonds.n, bonds.edges, isa or "")

    @property
    def isa(self) -> str:
        """Instruction set in use."""
        return self._engine.isa

    def relax(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
    ) -> Relaxation:
        """See `RelaxationEngine.relax`."""
        coupling, field, start = checked_state(self.bonds, coupling, field, start)
        return self._run(coupling, field, start, options)

    def follow(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> Relaxation:
        """See `RelaxationEngine.follow`."""
        coupling, field, start = checked_state(self.bonds, coupling, field, start)
        previous_field = complex_array("previous_field", previous_field, start.shape)
        result = self._run(coupling, field, start, options, follow=True)
        slow = np.flatnonzero(result.status == NEEDS_FLOW)
        if len(slow):
            self._follow_flow(result, slow, coupling, field, start, options, previous_field)
        return result

    def solve(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        """See `RelaxationEngine.solve`."""
        coupling, field, phases = checked_state(self.bonds, coupling, field, phases)
        rhs = real_array("rhs", rhs, phases.shape)
        out = self._solve(coupling, field, phases, rhs)
        # Pivots are not exchanged: an indefinite H may meet a zero pivot without being singular.
        for sample in np.flatnonzero(~np.isfinite(out).all(axis=1)):
            out[sample] = self._solve_dense(coupling, field[sample], phases[sample], rhs[sample])
        return out

    def leaves_branch(
        self,
        coupling: FloatArray,
        previous_field: ComplexArray,
        field: ComplexArray,
        start: FloatArray,
        end: FloatArray,
        threads: int = 0,
    ) -> npt.NDArray[np.bool_]:
        """Compiled `branch.leaves_branch`: (batch,), where the branch does not lead to ``end``."""
        coupling, field, start = checked_state(self.bonds, coupling, field, start)
        previous_field = complex_array("previous_field", previous_field, start.shape)
        end = real_array("end", end, start.shape)
        hop = np.ones(len(start), dtype=np.uint8)
        self._engine.leaves_branch(
            coupling,
            real_parts(previous_field),
            real_parts(field),
            start,
            end,
            RULES,
            hop,
            worker_threads(threads),
        )
        return hop.view(np.bool_)

    def smallest_eigenvalue(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> FloatArray:
        """See `RelaxationEngine.smallest_eigenvalue`.

        The value lies between a shift with which H still factorises and a Rayleigh quotient,
        1e-10 apart relative to it (or by rounding).
        """
        coupling, field, phases = checked_state(self.bonds, coupling, field, phases)
        out = np.empty(len(phases))
        self._engine.smallest_eigenvalue(coupling, real_parts(field), phases, out, worker_threads())
        return out

    def selected_inverse(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the entries of H⁻¹ at the nodes (batch, n) and at the bonds (batch, n_bonds).

        H must be positive definite; elsewhere the numbers are meaningless.
        """
        coupling, field, phases = checked_state(self.bonds, coupling, field, phases)
        diagonal = np.empty_like(phases)
        bonds = np.empty((len(phases), len(coupling)))
        self._engine.selected_inverse(coupling, real_parts(field), phases, diagonal, bonds)
        return diagonal, bonds

    def integrate(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        h: float,
        n_steps: int,
        method: Literal["rodas4", "rodas3"] = "rodas4",
    ) -> FloatArray:
        """Follow the flow for ``n_steps`` steps of fixed length ``h``, without error control.

        For convergence tests of the methods.
        """
        coupling, field, start = checked_state(self.bonds, coupling, field, start)
        out = np.empty_like(start)
        self._engine.integrate(coupling, real_parts(field), start, h, n_steps, method, out)
        return out

    def sincos(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the kernels' (sin x, cos x); |x| up to 1e5."""
        x = np.ascontiguousarray(x, dtype=np.float64)
        sine, cosine = np.empty_like(x), np.empty_like(x)
        self._engine.sincos(x, sine, cosine)
        return sine, cosine

    def describe(self) -> dict[str, int]:
        """Return sizes of the symbolic factorisation, for reports and benchmarks."""
        return self._engine.describe()

    def _run(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        *,
        follow: bool = False,
        tried: bool = False,
    ) -> Relaxation:
        """Run the kernels.

        ``follow``: certificate and Newton from the start only. ``tried``: the certificate failed
        at the start, so it is next tried when the force has fallen, however large it is.
        """
        batch = len(start)
        phases = np.empty_like(start)
        status = np.zeros(batch, dtype=np.uint8)
        residual = np.zeros(batch)
        positive, certified = (np.zeros(batch, dtype=np.uint8) for _ in range(2))
        steps, rejected, factorisations = (np.zeros(batch, dtype=np.int64) for _ in range(3))
        check_options(options)
        if np.isfinite(coupling).all():
            self._engine.relax(
                coupling,
                real_parts(field),
                start,
                vars(options),
                follow,
                tried,
                worker_threads(options.threads),
                phases,
                status,
                residual,
                positive,
                certified,
                steps,
                rejected,
                factorisations,
            )
        else:
            phases[:], residual[:] = start, np.nan
            status[:] = RelaxationStatus.NOT_FINITE
        return Relaxation(
            phases=phases,
            status=status,
            residual=residual,
            positive_definite=positive.view(np.bool_),
            certified=certified.view(np.bool_),
            hop=np.zeros(batch, dtype=np.bool_),
            steps=steps,
            rejected=rejected,
            factorisations=factorisations,
        )

    def _follow_flow(
        self,
        result: Relaxation,
        slow: IntArray,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> None:
        """Complete ``result`` for the samples whose certificate failed at the start."""
        flow = self._run(coupling, field[slow], start[slow], options, tried=True)
        for name in ("phases", "status", "residual", "positive_definite", "certified"):
            getattr(result, name)[slow] = getattr(flow, name)
        result.steps[slow], result.rejected[slow] = flow.steps, flow.rejected
        result.factorisations[slow] += flow.factorisations
        ends = previous_field[slow], field[slow], start[slow], flow.phases
        if options.hop_test == "certified":
            settle = partial(self._run, coupling, options=options, follow=True)
            threads = worker_threads(options.threads)
            branch = CertifiedBranch(self._engine, settle, coupling, options.theta, threads)
            result.hop[slow] = branch.leaves(*ends)
        else:
            hop = self.leaves_branch(coupling, *ends, threads=options.threads)
            result.hop[slow] = hop | (flow.status != RelaxationStatus.EQUILIBRIUM)

    def _solve(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        """`solve` without exchange of pivots: NaN where one vanishes."""
        out = np.empty_like(phases)
        self._engine.solve(coupling, real_parts(field), phases, rhs, out, worker_threads())
        return out

    def _solve_dense(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        nothing: FloatArray = np.full_like(rhs, np.nan)
        if not all(np.isfinite(a).all() for a in (coupling, field, phases, rhs)):
            return nothing
        i, j = self.bonds.edges.T
        weight = coupling * np.cos(phases[i] - phases[j])
        hessian = np.diag((np.conj(field) * np.exp(1j * phases)).real)
        np.add.at(hessian, (i, i), weight)
        np.add.at(hessian, (j, j), weight)
        hessian[i, j] -= weight
        hessian[j, i] -= weight
        try:
            solution: FloatArray = np.linalg.solve(hessian, rhs).astype(np.float64)
        except np.linalg.LinAlgError:
            return nothing
        return solution
