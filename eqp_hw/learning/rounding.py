"""Stochastic rounding of couplings to the grid of a substrate."""

from __future__ import annotations

import dataclasses

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import Parameters

__all__ = ["stochastically_rounded"]


def stochastically_rounded(
    parameters: Parameters, capabilities: Capabilities, rng: np.random.Generator
) -> Parameters:
    """Return couplings on the grid of ``capabilities``, whose mean over draws is ``parameters``.

    Each goes to one of its two neighbours, with a probability that falls linearly with the
    distance (ep_methods §8). Couplings outside the range are returned as they are: the
    substrate refuses them. Without a grid nothing is changed.
    """
    low, high = capabilities.coupling_range
    bits = capabilities.coupling_bits
    if bits is None or not (np.isfinite(low) and np.isfinite(high)):
        return parameters
    step = (high - low) / (2**bits - 1)

    def rounded(values: FloatArray) -> FloatArray:
        position = (values - low) / step
        below = np.floor(position)
        up = rng.random(values.shape) < position - below
        inside = (values >= low) & (values <= high)
        grid = np.minimum(low + (below + up) * step, high)
        return np.where(inside, grid, values)

    reverse = parameters.coupling_reverse
    return dataclasses.replace(
        parameters,
        coupling=rounded(parameters.coupling),
        coupling_reverse=None if reverse is None else rounded(reverse),
    )
