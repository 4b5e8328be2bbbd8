"""Coupled learning: outputs clamped a little nearer to their targets."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.interleave import joined
from eqp_hw.physics.averaging import wrap
from eqp_hw.substrate import Measurement

from .base import Estimate, Estimator, Round

__all__ = ["Coupled"]


@final
class Coupled(Estimator):
    """[G(clamped) − G(free)]/η, outputs clamped at φ + η·Δ, Δ = wrap(y − φ), with η = β.

    Stern, Hexner, Rocks and Liu, Phys. Rev. X 11, 021045 (2021). It does **not** estimate the
    gradient of the chosen cost. To first order in η the clamp displaces the phases as a torque
    K·Δ on the outputs would, with K = H_oo − H_oh·H_hh⁻¹·H_ho the stiffness of the network seen
    from its outputs (the Schur complement of the Hessian). So the limit η → 0 is the exact
    gradient of a cost with ∂C/∂φ_o = −K·Δ, that is of C_CL = ½·ΔᵀKΔ with K held fixed, which
    is the contrast E(clamped) − E(free) divided by η². For one output this is the gradient of
    ½·Δ² times a positive number. The cost of the experiment is used for scores only.

    η is at most 1, where the clamp has reached the target; `check` refuses more.

    Parameters
    ----------
    two_sided
        Clamp at φ ± η·Δ and take half the difference: bias of order η² instead of η.
    """

    name = "coupled"
    description = "coupled learning: outputs clamped nearer to their targets; a cost of its own"
    requirements = Requirements(phase_clamp=True, state_restore=True)

    def __init__(self, two_sided: bool = False) -> None:
        self._sides = (1.0, -1.0) if two_sided else (1.0,)

    @override
    def check(self, one: Round) -> None:
        """Refuse a clamp beyond the target.

        Raises
        ------
        ConfigurationError
            β, which is η here, is above 1.
        """
        if one.beta.max() > 1.0:
            raise ConfigurationError(
                "outputs would be held beyond their targets: beta is the fraction of the way",
                field="estimator.beta",
                value=float(one.beta.max()),
                allowed="0 < beta <= 1 with coupled learning",
            )

    @override
    def measure(self, one: Round) -> Estimate:
        measured = _clamped(one, self._sides)
        phases, errors = one.stack(measured)
        if len(self._sides) == 2:
            weights = np.outer([0.5, -0.5], 1 / one.beta)
        else:
            phases = np.concatenate([phases, one.free.phases[None]])
            errors = np.concatenate([errors, one.free_errors[None]])
            weights = np.outer([1.0, -1.0], 1 / one.beta)
        strength = np.tile(one.beta, (len(measured), 1))
        return one.estimate(phases, errors, weights, measured, strength)


def _clamped(one: Round, sides: tuple[float, ...]) -> list[Measurement]:
    """Measure each clamp, to and fro if asked; ends at the free state."""
    if one.interleave and len(sides) > 1:
        found = [_one_clamp(one, side, (one.repeats + 1) // 2) for side in (*sides, *sides[::-1])]
        pairs = zip(found, reversed(found), strict=True)
        return [joined(there, back) for there, back in pairs][: len(sides)]
    return [_one_clamp(one, side, one.repeats) for side in sides]


def _one_clamp(one: Round, side: float, repeats: int) -> Measurement:
    substrate = one.substrate
    outputs = one.free.phases[:, one.network.outputs]
    eta = np.zeros(one.batch) if one.nothing else side * one.beta * one.active
    substrate.restore_state(one.token)
    substrate.clamp_outputs(outputs + eta[:, None] * wrap(one.targets - outputs))
    outcome = substrate.settle()
    reading = substrate.read_phases(repeats)
    returned = substrate.restore_state(one.token)
    return Measurement(dataclasses.replace(outcome, hop=outcome.hop | ~returned), reading)
