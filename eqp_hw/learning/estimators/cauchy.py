"""Cauchy-N: holomorphic equilibrium propagation, complex nudges on a circle."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.errors import CapabilityError, ConfigurationError

from .base import Contrast, LinearContrast, Round

__all__ = ["Cauchy"]

_MOST_NODES: Final = 64


@final
class Cauchy(LinearContrast):
    """(1/N)·Σ_k Re[G(β_k)/β_k] with β_k = β·e^{2πik/N}; bias of order β^N.

    Cauchy's formula for G′(0) by the trapezium rule (Laborieux and Zenke, NeurIPS 2022). As
    G(β*) = G(β)*, the lower half of the circle repeats the upper one: ⌈(N+1)/2⌉ equilibria
    are enough. Only emulators can continue phases to complex β.

    Parameters
    ----------
    nodes
        N from 2 to 64, points on the whole circle.
    """

    name = "cauchy"
    description = "holomorphic: N complex nudges on a circle, bias of order b^N; emulators only"
    requirements = Requirements(complex_nudge=True, signed_nudge=True, state_restore=True)

    def __init__(self, nodes: int = 8) -> None:
        if not 2 <= nodes <= _MOST_NODES:
            raise ConfigurationError(
                f"too {'few' if nodes < 2 else 'many'} points on the circle",
                field="estimator.nodes",
                value=nodes,
                allowed=f"2 to {_MOST_NODES}",
            )
        self.order = nodes
        upper = np.arange(nodes // 2 + 1)
        self._factors = np.exp(2j * np.pi * upper / nodes)
        # e^{0} and e^{iπ} exactly real: there the substrate needs no continuation.
        self._factors[0] = 1.0
        mirrored = (upper > 0) & (2 * upper < nodes)
        if nodes % 2 == 0:
            self._factors[-1] = -1.0
        self._weights = np.where(mirrored, 2.0, 1.0) * np.conj(self._factors) / nodes

    @override
    def check(self, one: Round) -> None:
        """Refuse couplings whose phases cannot be continued: try one complex nudge.

        Raises
        ------
        CapabilityError
            The substrate cannot make it with the parameters that it holds.
        """
        try:
            one.nudge(np.full((1, one.batch), 1j))
        except CapabilityError as error:
            if error.field is None:
                error.field, error.value = "estimator.kind", self.name
            raise

    @override
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        ones = np.ones(batch)
        return Contrast(
            np.outer(self._factors, ones), np.outer(self._weights, ones), np.zeros(batch)
        )
