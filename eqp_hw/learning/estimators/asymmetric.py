"""Asymmetric EP: feedback that turns the Jacobian into its transpose (arXiv 2602.03670)."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.nonreciprocal import transposing_torque
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import BoolArray, Measurement

from .acceleration import Anderson
from .base import Estimate, Estimator, Round

__all__ = ["AsymmetricEP"]

_FLOOR_RAD = 1e-9
"""Differences below this are none: what a null contrast on an exact emulator is left with."""
_NOISE = 3.0
"""Standard errors of a read by which two displacements may differ and count as equal."""


@final
class AsymmetricEP(Estimator):
    """(φ^β − φ^−β)/2β under the extra torque 2S·(φ − φ⁰) on hidden and output nodes.

    S is the antisymmetric part of the Jacobian A = −∂(force)/∂φ at the free phases, known from
    the held couplings bond by bond. With the torque the displacement obeys Aᵀδ = −∂C/∂φ, so it
    is what dC/dJ_ij = δ_i·sin(φ⁰_i−φ⁰_j) needs; bias of order β².

    The torque follows the phases by settle, read, set the field, and again. Plain repetition
    multiplies errors by the eigenvalues of 1 − A⁻¹Aᵀ, which pass 1 already where ‖S‖/‖A‖ is
    about .1; the displacements fed back are therefore extrapolated from those before
    (`Anderson`). A sample that has not converged counts as not settled.

    Parameters
    ----------
    tolerance
        Largest change from one round to the next, as a share of the largest displacement; three
        standard errors of the reads are allowed in any case.
    max_rounds
        Rounds before a sample is given up.
    memory
        Rounds that are extrapolated from; 0 repeats plainly.
    """

    name = "asymmetric"
    description = "feedback torque 2S(phi - phi0), iterated: exact where J_ij != J_ji"
    requirements = Requirements(
        signed_nudge=True, state_restore=True, hidden_nudge=True, analogue_nudge=True
    )

    def __init__(self, tolerance: float = 1e-3, max_rounds: int = 40, memory: int = 40) -> None:
        for field, value, good, allowed in (
            ("tolerance", tolerance, 0 < tolerance < 1, "0 < tolerance < 1"),
            ("max_rounds", max_rounds, max_rounds >= 2, ">= 2"),
            ("memory", memory, memory >= 0, ">= 0"),
        ):
            if not good:
                raise ConfigurationError(
                    "not usable", field=f"estimator.{field}", value=value, allowed=allowed
                )
        self.tolerance = tolerance
        self.max_rounds = max_rounds
        self.memory = memory

    @override
    def measure(self, one: Round) -> Estimate:
        directed = one.parameters.directed  # else S = 0, and the first round is the last
        free, nodes = one.free.phases, one.network.free
        rows = 2 * one.batch
        signs = np.repeat([1.0, -1.0], one.batch)
        crest: ComplexArray = signs[:, None] * np.tile(one.sites(one.crest), (2, 1))
        turned: ComplexArray = np.tile(1j * np.exp(1j * free), (2, 1))
        base = np.tile(free, (2, 1))

        assumed = np.zeros_like(base)
        pending = np.ones(rows, dtype=bool)
        converged = np.zeros(rows, dtype=bool)
        mixing = Anderson(self.memory)
        kept: list[Measurement] | None = None
        for _ in range(self.max_rounds):
            torque = transposing_torque(one.network, one.parameters, base, assumed)
            feedback: ComplexArray = turned * torque
            field = crest + one.everywhere(feedback)
            pending &= one.possible(field)
            field[~pending] = 0.0  # what is done rests, at no cost
            found = one.measure([(field[: one.batch], 1.0), (field[one.batch :], 1.0)])
            kept = found if kept is None else _replaced(kept, found, pending)
            shift = np.concatenate([wrap(m.reading.phases - free) for m in found])
            good = np.concatenate([m.outcome.settled & ~m.outcome.hop for m in found])
            pending &= good
            residual = shift - assumed
            near = np.abs(residual).max(axis=1) <= self._allowed(one, found, shift)
            converged |= pending & (near | (not directed))
            pending &= ~converged
            if not pending.any():
                break
            assumed[:, nodes] = mixing.next(assumed[:, nodes], residual[:, nodes])
        if kept is None:
            raise RuntimeError("at least one round is measured")
        plus, minus = np.split(converged, 2)
        return self._estimate(one, kept, plus & minus)

    def _allowed(self, one: Round, found: list[Measurement], shift: FloatArray) -> FloatArray:
        errors = np.concatenate([one.errors(m.reading).max(axis=1) for m in found])
        errors = np.hypot(errors, np.tile(one.free_errors.max(axis=1), 2))
        share = np.maximum(self.tolerance * np.abs(shift).max(axis=1), _FLOOR_RAD)
        allowed: FloatArray = np.maximum(share, _NOISE * errors)
        return allowed

    def _estimate(self, one: Round, measured: list[Measurement], good: BoolArray) -> Estimate:
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
        return dataclasses.replace(found, settled=found.settled & good)


def _replaced(
    kept: list[Measurement], found: list[Measurement], pending: BoolArray
) -> list[Measurement]:
    """Return ``kept`` with the rows that were measured now, (2·batch,), taken from ``found``."""
    parts = np.split(pending, 2)
    return [_merged(a, b, rows) for a, b, rows in zip(kept, found, parts, strict=True)]


def _merged(old: Measurement, new: Measurement, rows: BoolArray) -> Measurement:
    """Return ``old`` with the given rows of ``new``."""
    column = rows[:, None]
    a, b = old.outcome, new.outcome
    outcome = dataclasses.replace(
        b,
        status=np.where(rows, b.status, a.status),
        residual=np.where(rows, b.residual, a.residual),
        smallest_eigenvalue=np.where(rows, b.smallest_eigenvalue, a.smallest_eigenvalue),
        positive_definite=np.where(rows, b.positive_definite, a.positive_definite),
        certified=np.where(rows, b.certified, a.certified),
        hop=np.where(rows, b.hop, a.hop),
        steps=a.steps + b.steps,
        duration_s=a.duration_s + b.duration_s,
    )
    reading = dataclasses.replace(
        new.reading,
        phases=np.where(column, new.reading.phases, old.reading.phases),
        standard_error=np.where(column, new.reading.standard_error, old.reading.standard_error),
        started_s=old.reading.started_s,
    )
    return Measurement(outcome, reading)
