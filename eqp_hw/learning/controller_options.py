"""How gradients are measured: the settings of the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.errors import ConfigurationError

__all__ = ["ControllerOptions"]


@final
@dataclass(frozen=True)
class ControllerOptions:
    """How gradients are measured.

    Attributes
    ----------
    beta
        Nudge amplitude β > 0.
    repeats
        Reads averaged for each state.
    initial_states
        M, random initial states a sample (arXiv 2402.08579 calls it M_init).
    max_halvings
        How often β of a sample is halved after a hop.
    max_restarts
        How often a sample then gets a new random start.
    response_limit
        Largest response |φ^β − φ⁰|/β, rad, that a sample may enter the mean with; the weight
        of a sample beyond it is lowered in proportion. Near a fold a few soft samples else
        outweigh all others and learning jumps about. None for no limit.
    nudge_limit
        Largest field amplitude |β·f| at a node: β of a sample of a stronger field f, far from
        its target, is lowered to it. None for the substrate's own limit alone.
    interleave
        Measure the nudges of one estimate to and fro (+ − − +), each with half the reads: a
        linear drift then cancels (ep_methods §8).
    attenuation
        Divide out the attenuation of phasors by read-out noise (ep_methods §7).
    batch_size
        Most samples sent to the substrate at once; None leaves it to the substrate.
    """

    beta: float = 0.1
    repeats: int = 1
    initial_states: int = 1
    max_halvings: int = 4
    max_restarts: int = 3
    response_limit: float | None = None
    nudge_limit: float | None = None
    interleave: bool = False
    attenuation: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.response_limit is not None and not self.response_limit > 0:
            raise ConfigurationError(
                "no sample would count",
                field="estimator.response_limit",
                value=self.response_limit,
                allowed="> 0, or left out",
            )
        if not (np.isfinite(self.beta) and self.beta > 0):
            raise ConfigurationError(
                "not a usable nudge", field="estimator.beta", value=self.beta, allowed="> 0"
            )
        for name, low in (("repeats", 1), ("initial_states", 1)):
            if getattr(self, name) < low:
                raise ConfigurationError(
                    "too small",
                    field=f"estimator.{name}",
                    value=getattr(self, name),
                    allowed=f">= {low}",
                )
