"""The adaptive flow: followed until its end is certain, it stands still, or a limit is met."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.interface import RelaxationOptions
from eqp_hw.sim_backends.relaxation.phase_flow import BondMatrix, BoolArray, PhaseFlow

from .linear_algebra import Factors
from .rosenbrock import METHODS, rosenbrock_step

__all__ = ["Certify", "FactorStep", "FlowEnd", "FlowStop", "run_flow"]

Certify = Callable[[IntArray, FloatArray, FloatArray, BondMatrix], tuple[BoolArray, IntArray]]
"""(samples, phases, force, Jacobian) → (does the certificate hold, factorisations spent)."""

FactorStep = Callable[[BondMatrix, FloatArray], tuple[Factors, BoolArray]]
"""(A, 1/(γh)) → factors of 1/(γh) + A, and whether the step may be taken with them."""


class FlowStop(enum.IntEnum):
    """Why the flow of a sample stopped."""

    RUNNING = 0
    CERTIFIED = 1
    AT_REST = 2
    LIMIT = 3
    NOT_FINITE = 4


@final
@dataclass(eq=False)
class FlowEnd:
    """State of the flow of each sample.

    Attributes
    ----------
    phases
        (batch, n) state.
    stop
        (batch,) `FlowStop`.
    steps, rejected, factorisations
        (batch,) work done.
    """

    phases: FloatArray
    stop: npt.NDArray[np.uint8]
    steps: IntArray
    rejected: IntArray
    factorisations: IntArray

    @classmethod
    def at(cls, start: FloatArray) -> FlowEnd:
        """Return the flow before its first step."""
        batch = len(start)
        return cls(
            start.copy(),
            np.full(batch, FlowStop.RUNNING, dtype=np.uint8),
            *(np.zeros(batch, dtype=np.int64) for _ in range(3)),
        )


def run_flow(
    flow: PhaseFlow,
    field: ComplexArray,
    start: FloatArray,
    options: RelaxationOptions,
    factor_step: FactorStep,
    certify: Certify | None,
) -> FlowEnd:
    """Integrate dφ/dt = f(φ) for each sample with its own step.

    Step control: h ← h·clip(.9·err^(−1/p), .2, 8), err the largest component of the embedded
    error over the tolerance; a rejected step shrinks by .9 at least, and by .3 where the
    factorisation forbids it; the first step accepted after one does not let h grow. Negative
    curvature beyond 1/(γh) forbids a step: there an L-stable method would damp a motion that
    really grows.
    """
    method = METHODS[options.method]
    state = FlowEnd.at(start)
    time = np.zeros(len(start))
    threshold = np.full(len(start), options.certificate_gradient)
    stiffness = flow.stiffness(field)
    h = np.zeros(len(start))
    refused = np.zeros(len(start), dtype=np.bool_)

    while True:
        active = np.flatnonzero(state.stop == FlowStop.RUNNING)
        if not len(active):
            return state
        here = state.phases[active]
        force, jacobian = flow.force_and_jacobian(here, field[active])
        size = np.abs(force).max(axis=1)

        state.stop[active[size <= options.flow_residual]] = FlowStop.AT_REST
        state.stop[active[~np.isfinite(size)]] = FlowStop.NOT_FINITE
        due = np.flatnonzero(size < threshold[active])
        if certify is not None and len(due):
            samples = active[due]
            holds, spent = certify(samples, here[due], force[due], jacobian.take(due))
            state.factorisations[samples] += spent
            state.stop[samples[holds]] = FlowStop.CERTIFIED
            threshold[samples] = options.certificate_backoff * size[due]
        out_of_time = time[active] >= options.t_max
        out_of_steps = state.steps[active] + state.rejected[active] >= options.max_steps
        limit = (out_of_time | out_of_steps) & (state.stop[active] == FlowStop.RUNNING)
        state.stop[active[limit]] = FlowStop.LIMIT

        going = np.flatnonzero(state.stop[active] == FlowStop.RUNNING)
        if not len(going):
            continue
        active, here, force, jacobian = (
            active[going],
            here[going],
            force[going],
            jacobian.take(going),
        )
        fresh = h[active] == 0.0
        h[active[fresh]] = _first_step(stiffness[active], size[going], options.tolerance)[fresh]
        step = np.minimum(h[active], options.t_max - time[active])

        factors, allowed = factor_step(jacobian, 1.0 / (method.gamma * step))
        state.factorisations[active] += 1
        force_of = partial(flow.force, field=field[active])
        new, error = rosenbrock_step(method, force_of, factors.solve, here, force, step)
        ratio = np.abs(error).max(axis=1) / options.tolerance
        allowed &= np.isfinite(ratio)
        accepted = allowed & (ratio <= 1.0)
        growth = _growth(ratio, accepted, allowed, method.order)
        # What was too long a moment ago mostly still is.
        h[active] = step * np.where(refused[active], np.minimum(growth, 1.0), growth)
        refused[active] = ~accepted
        state.phases[active[accepted]] = new[accepted]
        time[active[accepted]] += step[accepted]
        state.steps[active] += accepted
        state.rejected[active] += ~accepted


def _first_step(stiffness: FloatArray, size: FloatArray, tolerance: float) -> FloatArray:
    tiny = np.finfo(np.float64).tiny
    by_rate = 1.0 / np.maximum(stiffness, tiny)
    by_accuracy = 0.5 * tolerance ** (1.0 / 3.0) / np.maximum(size, tiny)
    step: FloatArray = np.minimum(by_rate, by_accuracy)
    return step


def _growth(ratio: FloatArray, accepted: BoolArray, allowed: BoolArray, order: int) -> FloatArray:
    safe = np.where(allowed, np.maximum(ratio, 1e-12), 1.0)
    factor = np.clip(0.9 * safe ** (-1.0 / order), 0.2, 8.0)
    factor = np.where(accepted, factor, np.minimum(factor, 0.9))
    growth: FloatArray = np.where(allowed, factor, 0.3)
    return growth
