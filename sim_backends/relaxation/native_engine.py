"""`NativeEngine`: the compiled relaxation engine, with checked and typed arguments.

The kernels (native/) keep 2 to 8 samples in the lanes of one vector register and follow each
with its own step. A sample's result depends on no other sample, on no batch size and on no
thread count, to the last bit. Importing this module raises ImportError where the extension
was not compiled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from . import _native
from .interface import (
    Bonds,
    Relaxation,
    RelaxationEngine,
    RelaxationOptions,
    RelaxationStatus,
)

__all__ = ["HOP_DISTANCE", "Isa", "NativeEngine", "usable_isas"]

HOP_DISTANCE: Final = 1e-6
"""Two polished equilibria farther apart than this (rad, modulo 2π) are different states."""

SMALLEST_STEP: Final = 1e-5
"""Fraction of a field change below which continuation takes the branch to end in a fold."""

NEEDS_FLOW: Final = 255
"""Internal status: the certificate failed at the start."""

Isa = Literal["avx512", "avx2", "baseline"]


def usable_isas() -> list[str]:
    """Return the instruction sets usable on this processor, best first."""
    return _native.isas()


@final
class _Branch:
    """Certified continuation of an equilibrium while the field moves to another one.

    A step from (b, φ) to (b′, φ′), both equilibria, is taken where the segment form of the
    certificate (native/certificate.hpp) holds: one smooth branch joins the two. The bound on
    the residual along the chord is twice its value in the middle, right to leading order in
    the chord's length; all else is rigorous.
    """

    def __init__(
        self,
        engine: _native.Engine,
        settle: Callable[[ComplexArray, FloatArray], Relaxation],
        coupling: FloatArray,
        options: RelaxationOptions,
    ) -> None:
        self._engine = engine
        self._settle = settle
        self._coupling = coupling
        self._options = options
        self._threads = options.threads or _usable_cores()

    def leaves(
        self,
        previous_field: ComplexArray,
        field: ComplexArray,
        start: FloatArray,
        end: FloatArray,
    ) -> npt.NDArray[np.bool_]:
        """Return where the branch from ``start`` does not lead to ``end``."""
        hop = np.ones(len(start), dtype=np.bool_)
        finite = np.isfinite(previous_field).all(axis=1) & np.isfinite(field).all(axis=1)
        finite &= np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1)
        rows = np.flatnonzero(finite)
        # Mostly one segment from end to end proves it.
        hop[rows] = ~self._joined(previous_field[rows], field[rows], start[rows], end[rows])
        rows = rows[hop[rows]]
        if not len(rows):
            return hop
        # Branches are traced from both ends: one that comes through settles the matter, and
        # where there is a fold it lies mostly on one of the two only.
        old, new, here, there = previous_field[rows], field[rows], start[rows], end[rows]
        phases, complete = self._trace(
            np.concatenate([old, new]), np.concatenate([new, old]), np.concatenate([here, there])
        )
        met = _largest_turn(phases - np.concatenate([there, here])) <= HOP_DISTANCE
        hop[rows] = ~(complete & met).reshape(2, -1).any(axis=0)
        return hop

    def _trace(
        self, previous_field: ComplexArray, field: ComplexArray, start: FloatArray
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Return the last equilibrium of each branch, and whether it came through.

        The second half of the batch holds the same samples traced backwards; a sample ends
        with the first of its two branches that comes through.
        """
        partner = np.roll(np.arange(len(start)), len(start) // 2)
        change = field - previous_field
        phases = start.copy()
        position = np.zeros(len(start))
        step = np.full(len(start), 0.5)
        active = np.arange(len(start))
        while len(active):
            here, at = phases[active], position[active, None]
            to = np.minimum(at + step[active, None], 1.0)
            old = previous_field[active] + at * change[active]
            new = previous_field[active] + to * change[active]
            torque = ((to - at) * np.exp(-1j * here) * change[active]).imag
            tangent = np.empty_like(here)
            self._engine.solve(
                self._coupling,
                _parts(old),
                here,
                np.ascontiguousarray(torque),
                tangent,
                self._threads,
            )
            # Steps of more than half a radian cannot be proven; NaN is no step at all.
            good = np.flatnonzero(np.abs(tangent).max(axis=1) < 0.5)
            end = self._settle(new[good], here[good] + tangent[good])
            good = good[end.status == RelaxationStatus.EQUILIBRIUM]
            there = end.phases[end.status == RelaxationStatus.EQUILIBRIUM]
            proven = self._joined(old[good], new[good], here[good], there)
            good, there = good[proven], there[proven]
            advanced = np.zeros(len(active), dtype=np.bool_)
            advanced[good] = True
            phases[active[good]] = there
            position[active[good]] = to[good, 0]
            # Near a fold the provable step shrinks: doubling would fail every other time.
            step[active] *= np.where(advanced, 1.5, 0.5)
            open_ends = np.maximum(position, position[partner])[active] < 1.0
            active = active[open_ends & (step[active] >= SMALLEST_STEP)]
        return phases, position >= 1.0

    def _joined(
        self, old: ComplexArray, new: ComplexArray, here: FloatArray, there: FloatArray
    ) -> npt.NDArray[np.bool_]:
        """Return where one segment proves that the branch at ``here`` leads ``there``."""
        out = np.zeros(len(here))
        if len(here):
            self._engine.segment(
                self._coupling,
                _parts(0.5 * (old + new)),
                0.5 * (here + there),
                0.5 * (there - here),
                0.5 * np.abs(new - old),
                self._options.theta,
                out,
                self._threads,
            )
        return out > 0.5


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
        edges = np.ascontiguousarray(bonds.edges, dtype=np.int64).reshape(-1, 2)
        if bonds.n < 1:
            raise SubstrateError(f"bonds.n = {bonds.n}: a network needs at least one free node")
        if len(edges) and (edges.min() < 0 or edges.max() >= bonds.n):
            raise SubstrateError(f"bonds.edges: a bond leaves the free nodes 0..{bonds.n - 1}")
        if (edges[:, 0] == edges[:, 1]).any():
            raise SubstrateError("bonds.edges: a bond joins a node to itself")
        if len(np.unique(np.sort(edges, axis=1), axis=0)) != len(edges):
            raise SubstrateError("bonds.edges: a bond is listed twice")
        if isa is not None and isa not in usable_isas():
            raise SubstrateError(
                f"isa = {isa!r}: not usable here (allowed: {', '.join(usable_isas())})"
            )
        self.bonds = Bonds(bonds.n, edges)
        self._engine = _native.Engine(bonds.n, edges, isa or "")

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
        coupling, field, start = self._checked(coupling, field, start)
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
        coupling, field, start = self._checked(coupling, field, start)
        previous_field = self._complex("previous_field", previous_field, len(start))
        result = self._run(coupling, field, start, options, follow=True)
        slow = np.flatnonzero(result.status == NEEDS_FLOW)
        if len(slow):
            self._follow_flow(result, slow, coupling, field, start, options, previous_field)
        return result

    def solve(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        """See `RelaxationEngine.solve`."""
        coupling, field, phases = self._checked(coupling, field, phases)
        rhs = self._real("rhs", rhs, phases.shape)
        out = np.empty_like(phases)
        self._engine.solve(coupling, _parts(field), phases, rhs, out, _usable_cores())
        # Pivots are not exchanged: an indefinite H may meet a zero pivot without being singular.
        for sample in np.flatnonzero(~np.isfinite(out).all(axis=1)):
            out[sample] = self._solve_dense(coupling, field[sample], phases[sample], rhs[sample])
        return out

    def smallest_eigenvalue(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> FloatArray:
        """See `RelaxationEngine.smallest_eigenvalue`.

        The value lies between a shift with which H still factorises and a Rayleigh quotient,
        1e-10 apart relative to it (or by rounding).
        """
        coupling, field, phases = self._checked(coupling, field, phases)
        out = np.empty(len(phases))
        self._engine.smallest_eigenvalue(coupling, _parts(field), phases, out, _usable_cores())
        return out

    def selected_inverse(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the entries of H⁻¹ at the nodes (batch, n) and at the bonds (batch, n_bonds).

        H must be positive definite; elsewhere the numbers are meaningless.
        """
        coupling, field, phases = self._checked(coupling, field, phases)
        diagonal = np.empty_like(phases)
        bonds = np.empty((len(phases), len(coupling)))
        self._engine.selected_inverse(coupling, _parts(field), phases, diagonal, bonds)
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
        coupling, field, start = self._checked(coupling, field, start)
        out = np.empty_like(start)
        self._engine.integrate(coupling, _parts(field), start, h, n_steps, method, out)
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
    ) -> Relaxation:
        batch = len(start)
        phases = np.empty_like(start)
        status = np.zeros(batch, dtype=np.uint8)
        residual = np.zeros(batch)
        positive, certified = (np.zeros(batch, dtype=np.uint8) for _ in range(2))
        steps, rejected, factorisations = (np.zeros(batch, dtype=np.int64) for _ in range(3))
        _check_options(options)
        if np.isfinite(coupling).all():
            self._engine.relax(
                coupling,
                _parts(field),
                start,
                asdict(options),
                follow,
                options.threads or _usable_cores(),
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
        # The force of the new field was large there; the next trial comes when it has fallen.
        eager = replace(options, certificate_gradient=np.inf)
        flow = self._run(coupling, field[slow], start[slow], eager)
        for name in ("phases", "status", "residual", "positive_definite", "certified"):
            getattr(result, name)[slow] = getattr(flow, name)
        result.steps[slow], result.rejected[slow] = flow.steps, flow.rejected
        result.factorisations[slow] += flow.factorisations
        branch = _Branch(
            self._engine,
            partial(self._run, coupling, options=options, follow=True),
            coupling,
            options,
        )
        result.hop[slow] = branch.leaves(
            previous_field[slow], field[slow], start[slow], flow.phases
        )

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

    def _checked(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> tuple[FloatArray, ComplexArray, FloatArray]:
        if np.ndim(phases) != 2:
            raise SubstrateError(f"phases: {np.ndim(phases)} dimensions (allowed: batch, node)")
        batch = len(phases)
        return (
            self._real("coupling", coupling, (len(self.bonds.edges),)),
            self._complex("field", field, batch),
            self._real("phases", phases, (batch, self.bonds.n)),
        )

    def _real(self, name: str, array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        _check_shape(name, array, shape)
        if np.iscomplexobj(array):
            raise SubstrateError(f"{name}: complex numbers (allowed: real)")
        return np.ascontiguousarray(array, dtype=np.float64)

    def _complex(self, name: str, array: ComplexArray, batch: int) -> ComplexArray:
        _check_shape(name, array, (batch, self.bonds.n))
        return np.ascontiguousarray(array, dtype=np.complex128)


def _check_shape(name: str, array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise SubstrateError(f"{name}: shape {np.shape(array)} (allowed: {shape})")


def _parts(field: ComplexArray) -> FloatArray:
    """Return the field as (batch, 2n) real numbers, re and im in turn; no copy."""
    return field.view(np.float64)


def _largest_turn(difference: FloatArray) -> FloatArray:
    """Return the largest |difference| modulo 2π of each sample, rad."""
    wrapped: FloatArray = np.abs(np.remainder(difference + np.pi, 2 * np.pi) - np.pi)
    return wrapped.max(axis=1)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _check_options(options: RelaxationOptions) -> None:
    positive = ("tolerance", "residual", "flow_residual", "t_max", "certificate_gradient")
    for name in positive:
        if not getattr(options, name) > 0:
            raise SubstrateError(f"options.{name} = {getattr(options, name)!r} (allowed: > 0)")
    for name in ("theta", "certificate_backoff"):
        if not 0 < getattr(options, name) < 1:
            raise SubstrateError(f"options.{name} = {getattr(options, name)!r} (allowed: 0..1)")
    for name in ("max_steps", "max_newton", "threads"):
        if getattr(options, name) < 0:
            raise SubstrateError(f"options.{name} = {getattr(options, name)!r} (allowed: >= 0)")
    if options.method not in ("rodas4", "rodas3"):
        raise SubstrateError(f"options.method = {options.method!r} (allowed: 'rodas4', 'rodas3')")
