"""Does a nudged state continue its free state? The branch of equilibria, traced by Newton.

A nudged equilibrium carries the gradient only if it is the continuation of the free one:
moving the field slowly from old to new must lead there. `leaves_branch` moves it in steps,
each corrected by Newton from the state before, and halves a step where Newton does not
converge quickly and nearby. At a fold the steps shrink without end, which is reported as a
hop; so is a branch that ends in another state than the flow did. A branch so crooked that
steps of `SMALLEST_STEP` fail counts as a hop as well, on the safe side.

The certified steps of `RelaxationOptions.hop_test = "certified"` prove the same; nudged
settling then takes 2 to 4 times as long on small networks and ten times and more on soft
ones (64-200-10). docs/exactness.md compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .phase_flow import PhaseFlow

__all__ = ["HOP_DISTANCE", "RULES", "SMALLEST_STEP", "Solve", "largest_turn", "leaves_branch"]

HOP_DISTANCE: Final = 1e-6
"""Two polished equilibria farther apart than this (rad, modulo 2π) are different states."""

SMALLEST_STEP: Final = 1 / 256
"""Fraction of the field change below which the branch counts as ended."""

AT_REST: Final = 1e-6
"""Largest |∂F/∂φ| of a start that is an equilibrium of the previous field."""

FIRST_CORRECTION: Final = 1.0
"""Largest first Newton correction of a step, rad."""

SECOND_CORRECTION: Final = 0.3
"""Largest second correction, rad; each further one may be half as large."""

CONVERGED: Final = 1e-7
"""A correction below this (rad) ends Newton: the next would be of the order of its square."""

MAX_CORRECTIONS: Final = 5

RULES: Final = {
    "hop_distance": HOP_DISTANCE,
    "smallest_step": SMALLEST_STEP,
    "at_rest": AT_REST,
    "first_correction": FIRST_CORRECTION,
    "second_correction": SECOND_CORRECTION,
    "converged": CONVERGED,
    "max_corrections": MAX_CORRECTIONS,
}
"""The same numbers for the compiled form (native/branch.hpp)."""

Solve = Callable[[ComplexArray, FloatArray, FloatArray], FloatArray]
"""Maps (field, phases, right-hand side), all (batch, n), to H⁻¹·rhs; NaN where singular."""


def leaves_branch(
    flow: PhaseFlow,
    solve: Solve,
    previous_field: ComplexArray,
    field: ComplexArray,
    start: FloatArray,
    end: FloatArray,
) -> npt.NDArray[np.bool_]:
    """Return, (batch,), where the branch from ``start`` does not lead to ``end``.

    Parameters
    ----------
    flow
        Couplings and force.
    solve
        Linear solver of the engine.
    previous_field, field
        (batch, n) complex fields between which the branch is traced.
    start
        (batch, n) equilibria of ``previous_field``; what is none counts as a hop.
    end
        (batch, n) states that the flow reached under ``field``.
    """
    resting = np.abs(flow.force(start, previous_field)).max(axis=1, initial=0.0) <= AT_REST
    phases, complete = _trace(flow, solve, previous_field, field, start, resting)
    same = largest_turn(phases - end) <= HOP_DISTANCE
    return np.asarray(~(complete & same))


def largest_turn(difference: FloatArray) -> FloatArray:
    """Return the largest |difference| modulo 2π of each sample, rad."""
    wrapped: FloatArray = np.abs(np.remainder(difference + np.pi, 2 * np.pi) - np.pi)
    return np.asarray(wrapped.max(axis=1, initial=0.0))


def _trace(
    flow: PhaseFlow,
    solve: Solve,
    previous_field: ComplexArray,
    field: ComplexArray,
    start: FloatArray,
    usable: npt.NDArray[np.bool_],
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the last equilibrium met on each branch, and whether it came through."""
    change = field - previous_field
    phases = start.copy()
    position, step = np.zeros(len(start)), np.ones(len(start))
    active = np.flatnonzero(usable & np.isfinite(change).all(axis=1))
    while len(active):
        to = np.minimum(position[active] + step[active], 1.0)
        there = previous_field[active] + to[:, None] * change[active]
        corrected, converged = _newton(flow, solve, there, phases[active])
        arrived = active[converged]
        phases[arrived], position[arrived] = corrected[converged], to[converged]
        step[active] *= np.where(converged, 2.0, 0.5)
        active = active[(position[active] < 1.0) & (step[active] >= SMALLEST_STEP)]
    return phases, position >= 1.0


def _newton(
    flow: PhaseFlow, solve: Solve, field: ComplexArray, start: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Correct ``start`` to an equilibrium of ``field`` if one is close; say where it was."""
    phases = start.copy()
    converged = np.zeros(len(start), dtype=np.bool_)
    rows = np.arange(len(start))
    allowed = FIRST_CORRECTION
    for count in range(MAX_CORRECTIONS):
        force = flow.force(phases[rows], field[rows])
        correction = solve(field[rows], phases[rows], force)
        size = np.abs(correction).max(axis=1)
        # Both are False for NaN too: a singular Hessian ends the step. A correction uphill
        # (δᵀHδ = δᵀf < 0) makes for a saddle, which no branch of stable states leads to.
        near = (size <= allowed) & ((correction * force).sum(axis=1) >= 0.0)
        rows, correction, size = rows[near], correction[near], size[near]
        phases[rows] += correction
        converged[rows[size < CONVERGED]] = True
        rows = rows[size >= CONVERGED]
        if not len(rows):
            break
        allowed = SECOND_CORRECTION / 2**count
    return phases, converged
