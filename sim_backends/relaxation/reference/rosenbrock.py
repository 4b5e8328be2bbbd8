"""Linearly implicit Rosenbrock methods for dφ/dt = f(φ) with the exact Jacobian −A.

In transformed, autonomous form stage s solves

    (I/(γh) + A)·K_s = f(φ + Σ_{r<s} a_sr K_r) + (1/h)·Σ_{r<s} c_sr K_r,

the step is φ + Σ_s m_s K_s, and the last K estimates the error. Both methods are L-stable and
stiffly accurate. Source: E. Hairer, G. Wanner, *Solving Ordinary Differential Equations II*,
section IV.7; A. Sandu et al., Atmos. Environ. 31, 3459 (1997).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eqp_hw.network.graph import FloatArray

__all__ = ["METHODS", "RODAS3", "RODAS4", "RosenbrockMethod", "rosenbrock_step"]

Row = tuple[float, ...]


@final
@dataclass(frozen=True)
class RosenbrockMethod:
    """Coefficients of a method.

    Attributes
    ----------
    order
        Order p of the step; the embedded one is of order p − 1, so the estimated error of a
        step falls as h^p.
    gamma
        γ, the diagonal coefficient.
    a, c
        One row a stage, entries for the stages before it.
    m
        Weights of the step.
    """

    order: int
    gamma: float
    a: tuple[Row, ...]
    c: tuple[Row, ...]
    m: Row


RODAS3: Final = RosenbrockMethod(
    order=3,
    gamma=0.5,
    a=((), (0.0,), (2.0, 0.0), (2.0, 0.0, 1.0)),
    c=((), (4.0,), (1.0, -1.0), (1.0, -1.0, -8.0 / 3.0)),
    m=(2.0, 0.0, 1.0, 1.0),
)

_A5: Final = (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950)

RODAS4: Final = RosenbrockMethod(
    order=4,
    gamma=0.25,
    a=(
        (),
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        _A5,
        (*_A5, 1.0),
    ),
    c=(
        (),
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
        (
            8.083246795921522,
            -7.981132988064893,
            -31.52159432874371,
            16.31930543123136,
            -6.058818238834054,
        ),
    ),
    m=(*_A5, 1.0, 1.0),
)

METHODS: Final = {"rodas3": RODAS3, "rodas4": RODAS4}


def rosenbrock_step(
    method: RosenbrockMethod,
    force: Callable[[FloatArray], FloatArray],
    solve: Callable[[FloatArray], FloatArray],
    phases: FloatArray,
    force_here: FloatArray,
    h: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Take one step of each sample.

    Parameters
    ----------
    force
        f of (batch, n) phases.
    solve
        Solves with I/(γh) + A, A taken at ``phases``.
    phases, force_here
        (batch, n) state and f there.
    h
        (batch,) step.

    Returns
    -------
    New phases and the embedded error estimate, both (batch, n).
    """
    stages: list[FloatArray] = []
    for a_row, c_row in zip(method.a, method.c, strict=True):
        # A row of zeros is a stage at the start of the step, where f is known.
        rhs = force(phases + _combine(a_row, stages)) if any(a_row) else force_here
        if stages:
            rhs = rhs + _combine(c_row, stages) / h[:, None]
        stages.append(solve(rhs))
    return phases + _combine(method.m, stages), stages[-1]


def _combine(weights: Row, stages: list[FloatArray]) -> FloatArray:
    total = np.zeros_like(stages[0])
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0.0:
            total += weight * stage
    return total
