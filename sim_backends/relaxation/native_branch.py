"""Proof by certified segments that a nudged state continues its free state (compiled kernels)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from . import _native
from .arguments import real_parts
from .branch import HOP_DISTANCE, largest_turn
from .interface import Relaxation, RelaxationStatus

__all__ = ["CertifiedBranch"]

SMALLEST_STEP: Final = 1e-5
"""Fraction of a field change below which continuation takes the branch to end in a fold."""


@final
class CertifiedBranch:
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
        theta: float,
        threads: int,
    ) -> None:
        self._engine = engine
        self._settle = settle
        self._coupling = coupling
        self._theta = theta
        self._threads = threads

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
        met = largest_turn(phases - np.concatenate([there, here])) <= HOP_DISTANCE
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
                real_parts(old),
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
                real_parts(0.5 * (old + new)),
                0.5 * (here + there),
                0.5 * (there - here),
                0.5 * np.abs(new - old),
                self._theta,
                out,
                self._threads,
            )
        return out > 0.5
