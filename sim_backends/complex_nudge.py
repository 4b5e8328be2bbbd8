"""Settling under a complex nudge: the equilibrium continued analytically in β."""

from __future__ import annotations

import time

import numpy as np

from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.network.graph import IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import SettleOutcome, SettleStatus

from .bound_network import BoundNetwork, State
from .relaxation.complex_equilibrium import complex_equilibrium

__all__ = ["settle_complex"]


def settle_complex(
    bound: BoundNetwork,
    sites: IntArray,
    nudge: ComplexArray,
    beta: complex,
    free_field: ComplexArray,
    state: State,
) -> tuple[ComplexArray, SettleOutcome]:
    """Return the (batch, n_free) complex phases under the field β·nudge at ``sites``.

    Raises
    ------
    CapabilityError
        The network is not reciprocal.
    SubstrateError
        ``state`` is not the free equilibrium.
    """
    started = time.monotonic()
    if not bound.reciprocal:
        raise CapabilityError(
            "a complex nudge needs reciprocal couplings (J_ij = J_ji) without phase lag"
        )
    at_rest = np.isfinite(state.rest_field).all(axis=1)
    at_free = np.array_equal(state.rest_field[at_rest], free_field[at_rest])
    if state.held is not None or not at_free:
        raise SubstrateError("a complex nudge starts from the free equilibrium: settle first")
    field = np.zeros_like(free_field)
    field[:, sites] = nudge
    betas = np.full(len(free_field), beta)
    phases, residual, converged = complex_equilibrium(
        bound.bonds, bound.bond_coupling(), free_field, field, betas, state.phases
    )
    good = converged & at_rest
    unknown = np.zeros(len(phases), dtype=bool)
    outcome = SettleOutcome(
        status=np.where(good, SettleStatus.EQUILIBRIUM, SettleStatus.FAILED).astype(np.uint8),
        residual=residual,
        smallest_eigenvalue=np.full(len(phases), np.nan),
        positive_definite=unknown,
        certified=unknown,
        hop=unknown,
        steps=np.zeros(len(phases), dtype=np.int64),
        duration_s=time.monotonic() - started,
    )
    return phases, outcome
