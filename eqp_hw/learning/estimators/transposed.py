"""Nudges on the transposed network: exact for J_ij ≠ J_ji, open loop (ep_methods §3)."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.nonreciprocal import replacement_field, transposed_parameters
from eqp_hw.physics.parameters import ComplexArray, Parameters

from .base import Estimate, Estimator, Round

__all__ = ["Transposed"]


@final
class Transposed(Estimator):
    """(φ^β − φ^−β)/2β of the network programmed with Jᵀ, held at φ⁰ by static fields.

    The static field (J − Jᵀ)·exp(iφ⁰) at all free nodes keeps φ⁰ a fixed point and makes the
    Jacobian there exactly Aᵀ, so the displacement is the δ that the gradient
    dC/dJ_ij = δ_i·sin(φ⁰_i−φ⁰_j) needs; bias of order β². The parameters are written back before
    `measure` returns or raises.

    Parameters
    ----------
    drift_limit
        The phases are first settled in the static field alone. A sample of which a phase then
        moves by more than this, rad, counts as hopped: φ⁰ was no stable fixed point there.
    """

    name = "transposed"
    description = "nudges on the network of transposed couplings: exact where J_ij != J_ji"
    requirements = Requirements(
        signed_nudge=True,
        state_restore=True,
        hidden_nudge=True,
        directed_couplings=True,
        fast_reprogramming=True,
        analogue_nudge=True,
    )

    def __init__(self, drift_limit: float = 0.05) -> None:
        if not 0 < drift_limit < np.pi:
            raise ConfigurationError(
                "not a usable limit",
                field="estimator.drift_limit",
                value=drift_limit,
                allowed="0 < drift_limit < pi, rad",
            )
        self.drift_limit = drift_limit

    @override
    def check(self, one: Round) -> None:
        capabilities = one.substrate.capabilities
        if not one.parameters.directed:
            return
        transposed = transposed_parameters(one.network, one.parameters)
        field = one.everywhere(
            replacement_field(one.network, one.parameters, transposed, one.free.phases)
        )
        largest = float(np.abs(field[one.active] + one.sites(one.crest)[one.active]).max(initial=0))
        if largest > capabilities.nudge_maximum:
            raise CapabilityError(
                f"the static fields that hold the transposed network, {largest:.3g}, are stronger "
                "than this substrate's nudges",
                field="capabilities.nudge_maximum",
                value=capabilities.nudge_maximum,
                allowed="a network nearer to J_ij = J_ji (optimiser.homeostasis), or the "
                "estimator asymmetric",
            )

    @override
    def measure(self, one: Round) -> Estimate:
        original = one.parameters
        if not original.directed:
            return self._nudged(one, np.zeros_like(one.sites(one.crest)))
        try:
            held = one.substrate.write_parameters(transposed_parameters(one.network, original))
            return self._held_at_rest(one, original, held)
        finally:
            one.substrate.write_parameters(original)

    def _held_at_rest(self, one: Round, original: Parameters, held: Parameters) -> Estimate:
        """Settle in the static field alone, then nudge from there."""
        field = replacement_field(one.network, original, held, one.free.phases)
        static = one.everywhere(field)
        possible = one.possible(static)
        static[~possible] = 0.0
        one.substrate.restore_state(one.token)
        one.substrate.apply_nudge(static)
        outcome = one.substrate.settle()
        reading = one.substrate.read_phases(one.repeats)
        rest = one.substrate.store_state()
        drift = np.abs(wrap(reading.phases - one.free.phases)).max(axis=1)
        found = self._nudged(dataclasses.replace(one, token=rest), static)
        return dataclasses.replace(
            found,
            settled=found.settled & outcome.settled & possible,
            hopped=found.hopped | (drift > self.drift_limit),
        )

    def _nudged(self, one: Round, static: ComplexArray) -> Estimate:
        crest = one.sites(one.crest)
        fields = [static + crest, static - crest]
        possible = one.possible(fields[0]) & one.possible(fields[1])
        measured = one.measure([(np.where(possible[:, None], f, static), 1.0) for f in fields])
        phases, errors = one.stack(measured)
        half = 0.5 / one.beta
        found = one.estimate(
            phases,
            errors,
            np.stack([half, -half]),
            measured,
            np.stack([one.beta, one.beta]),
            statistic="displacement",
        )
        return dataclasses.replace(found, settled=found.settled & possible)
