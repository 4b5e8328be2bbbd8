"""Chebyshev-M: the order of holomorphic equilibrium propagation with real nudges alone."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray

from .base import Contrast, LinearContrast
from .contrasts import constant_contrast

__all__ = ["Chebyshev", "slope_weights"]

_MOST_NODES: Final = 64


def slope_weights(angles: FloatArray, harmonics: int) -> FloatArray:
    """Return weights w with Σ_k w_k·G(β·cos θ_k) ≈ β·G′(0) from evenly spaced angles.

    G(β·cos θ) = Σ_m a_m·cos mθ, and β·G′(0) = Σ_m a_m·T_m′(0) = a₁ − 3a₃ + 5a₅ − …, cut off
    after the harmonic ``harmonics``; a_m = (2/n)·Σ_k G(β·cos θ_k)·cos mθ_k.

    Parameters
    ----------
    angles
        (n,) θ_k, evenly spaced over half a period at its midpoints, or over whole periods.
    harmonics
        Highest odd harmonic that is used.
    """
    odd = np.arange(1, harmonics + 1, 2)
    slopes = odd * np.where(odd % 4 == 1, 1.0, -1.0)
    weights: FloatArray = 2 / len(angles) * np.cos(np.outer(angles, odd)) @ slopes
    return weights


@final
class Chebyshev(LinearContrast):
    """Real nudges at β·cos(π(k+½)/M), and the slope at 0 of their interpolation: bias β^M.

    Σ_k (−1)^k·(2k+1)·a_{2k+1}/β over the odd Chebyshev coefficients a of G (ep_methods §2);
    holomorphic equilibrium propagation (Laborieux and Zenke 2022) with its contour laid flat
    on the real axis.

    Parameters
    ----------
    nodes
        M, even, at most 64: the number of nudges and the order of the bias. Odd M would have
        the node 0, which gets no weight.
    """

    name = "chebyshev"
    description = "real nudges at M Chebyshev nodes: M nudges, bias of order b^M"

    def __init__(self, nodes: int = 8) -> None:
        if not 2 <= nodes <= _MOST_NODES or nodes % 2:
            reason = "too few Chebyshev nodes"
            if nodes > _MOST_NODES:
                reason = "more Chebyshev nodes than double precision can use"
            elif nodes > 2:
                reason = (
                    "not a number of Chebyshev nodes: an odd number has the node 0, which is the "
                    "free state and would get no weight"
                )
            raise ConfigurationError(
                reason,
                field="estimator.nodes",
                value=nodes,
                allowed=f"even numbers from 2 to {_MOST_NODES}",
            )
        self.order = nodes
        angles = np.pi * (np.arange(nodes) + 0.5) / nodes
        # The lower half mirrored: exactly odd, so that what is even in β cancels exactly.
        upper = nodes // 2
        factors, weights = np.cos(angles)[:upper], slope_weights(angles, nodes - 1)[:upper]
        self._factors = [*factors, *-factors[::-1]]
        self._weights = [*weights, *-weights[::-1]]
        self.requirements = Requirements(
            signed_nudge=True,
            state_restore=True,
            amplitudes=tuple(float(factor) for factor in factors[::-1]),
        )

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        return constant_contrast(self._factors, self._weights, 0.0, batch)
