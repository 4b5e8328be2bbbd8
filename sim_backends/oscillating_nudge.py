"""The exact emulator under an oscillating nudge: the free state, the drive, and the way back."""

from __future__ import annotations

from typing import Final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import OscillatingReading, Oscillation

from .bound_network import BoundNetwork, State
from .relaxation.driven import follow_oscillation
from .relaxation.oscillation import checked_oscillation
from .verbs import oscillating_reading

__all__ = ["driven_reading"]

_RETURNED_RAD: Final = 1e-6


def driven_reading(
    bound: BoundNetwork,
    state: State,
    free_field: ComplexArray,
    nudge: ComplexArray,
    inputs: FloatArray,
    oscillation: Oscillation,
) -> OscillatingReading:
    """Integrate the flow under ``nudge``·cos(ωt) from the free equilibrium and read it.

    `relaxation.oscillation` says how the nudge begins. A sample counts as settled where it began
    at rest, could be integrated to the end, and returns to its free state, not to another nor
    turned by 2π, once the nudge is gone.

    Parameters
    ----------
    bound
        The network as programmed.
    state
        The free equilibrium.
    free_field, nudge
        (batch, n_free) static field, and the nudge at its crest.
    inputs
        (batch, n_inputs) rad.
    oscillation
        Frequency, and the times of the reads.

    Raises
    ------
    ConfigurationError
        The oscillation has no frequency or no reads.
    """
    checked_oscillation(oscillation)
    path = follow_oscillation(bound.phase_flow(), free_field, nudge, state.phases, oscillation)
    unknown = np.full_like(free_field, np.nan)
    result, rests = bound.relax(free_field, path.phases[-1], unknown)
    returned = np.abs(result.phases - state.phases).max(axis=1) <= _RETURNED_RAD
    # Whoever returns was at rest when it began.
    settled = path.finished & rests & returned
    return oscillating_reading(bound.network, path.phases, inputs, oscillation, settled)
