"""The stochastic Heun scheme for dφ = f(φ, t)·dt + √(2T)·dW.

    y = φ + h·f(φ, t) + √(2Th)·ξ,    φ' = φ + h/2·(f(φ, t) + f(y, t + h)) + √(2Th)·ξ,

ξ standard normal, the same in both lines. With noise of constant size it is of weak order 2, on
finite times and for the stationary law, with or without an energy; at T = 0 it is Heun's method
of order 2. Stable for h·λ < 2. For a phase of stiffness λ the stationary variance is
T/λ·(1 − (hλ)²/4 + …), so that a step of .3/ρ leaves an error of at most 2.6 %, and usually far
less, since ρ bounds all λ from above. Source: P. E. Kloeden, E. Platen, Numerical Solution of
Stochastic Differential Equations (1992), ch. 15; R. Mannella, Int. J. Mod. Phys. C 13, 1177 (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.forces import Force

__all__ = ["Motion", "StepObserver"]

StepObserver = Callable[[FloatArray, FloatArray, FloatArray, float], None]
"""(phases before, phases after, mean force in between, h), called after each step."""


@final
@dataclass(frozen=True, eq=False)
class Motion:
    """How phases move.

    Attributes
    ----------
    force
        dφ/dt without noise.
    temperature
        T ≥ 0.
    step
        Longest step.
    rng
        Source of ξ; untouched at T = 0.
    still
        Columns of nodes that are held: no force and no noise.
    """

    force: Force
    temperature: float
    step: float
    rng: np.random.Generator
    still: IntArray | None = None

    def advance(
        self,
        phases: FloatArray,
        field: ComplexArray | Callable[[float], ComplexArray],
        span: float,
        observe: StepObserver | None = None,
    ) -> FloatArray:
        """Return the phases after ``span``, in equal steps no longer than `step`.

        Parameters
        ----------
        phases
            (batch, n) rad.
        field
            (batch, n), or a function of the time since the beginning that returns it.
        span
            Time to pass; nothing happens for 0.
        observe
            Sees every step.
        """
        x = phases.copy()
        steps = self.steps(span)
        if not steps:
            return x
        h = span / steps
        kick = np.sqrt(2.0 * self.temperature * h)
        noise = np.zeros_like(x)
        for number in range(steps):
            now = field(number * h) if callable(field) else field
            later = field((number + 1) * h) if callable(field) else field
            if self.temperature > 0.0:
                self.rng.standard_normal(out=noise)
                noise *= kick
            before = self.force(x, now)
            if self.still is not None:
                before[:, self.still] = noise[:, self.still] = 0.0
            mean = self.force(x + h * before + noise, later)
            mean += before
            mean *= 0.5
            if self.still is not None:
                mean[:, self.still] = 0.0
            new = x + h * mean + noise
            if observe is not None:
                observe(x, new, mean, h)
            x = new
        return x

    def steps(self, span: float) -> int:
        """Return the number of steps that `advance` takes; 0 only where no time passes."""
        return max(1, int(np.ceil(span / self.step * (1.0 - 1e-12)))) if span > 0.0 else 0
