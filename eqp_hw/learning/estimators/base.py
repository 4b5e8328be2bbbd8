"""What an estimator is: what it needs of a substrate, and how it measures one round.

With G(β) = ∂E/∂θ at the equilibrium under nudge β, dC/dθ = G′(0) (ep_methods §0). Most
estimators are a `LinearContrast`: a weighted sum of G at a few β. Those that need another
procedure (lock-in, clamped outputs, a transposed network) derive from `Estimator` directly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.learning.estimators.estimate import Estimate, Statistic
from eqp_hw.learning.estimators.round import Round
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.energy import PhaseArray

__all__ = ["Contrast", "Estimate", "Estimator", "LinearContrast", "Round", "Statistic"]


@final
@dataclass(frozen=True, eq=False)
class Contrast:
    """Estimate of each sample: (1/β)·[Σ_k weights_k·G(factors_k·β) + free_weight·G(0)].

    Attributes
    ----------
    factors
        (n_nudges, batch) real or complex multiples of β.
    weights
        (n_nudges, batch) real or complex; the real part of the sum is the estimate.
    free_weight
        (batch,) weight of the free phase.
    """

    factors: npt.NDArray[np.float64] | npt.NDArray[np.complex128]
    weights: npt.NDArray[np.float64] | npt.NDArray[np.complex128]
    free_weight: FloatArray


class Estimator(ABC):
    """A way to estimate dC/dθ with what a substrate can do.

    Attributes
    ----------
    name, description
        As in experiment files, and what it is in a line.
    requirements
        What a substrate must offer.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    requirements: Requirements

    @abstractmethod
    def measure(self, one: Round) -> Estimate:
        """Measure the nudged states of one round, starting from its free state.

        Leaves the substrate with the parameters it had; its phases may be anywhere.
        """

    def check(self, one: Round) -> None:  # noqa: B027 - most estimators have nothing to check
        """Refuse, before training, what a first free state shows to be impossible.

        Raises
        ------
        CapabilityError
            E.g. an oscillation too fast for the measured relaxation.
        """


class LinearContrast(Estimator):
    """An estimator that is a weighted sum of statistics at fixed multiples of β.

    Attributes
    ----------
    order
        p: the bias falls as β^p.
    statistic
        See `Statistic`.
    """

    order: int
    statistic: Statistic = "energy"

    @abstractmethod
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        """Return the recipe for ``batch`` samples; ``rng`` serves random signs and the like."""

    @override
    def measure(self, one: Round) -> Estimate:
        contrast = self.contrast(one.batch, one.rng)
        measured = one.nudge(contrast.factors)
        weights: PhaseArray = contrast.weights / one.beta
        phases, errors = one.stack(measured)
        if contrast.free_weight.any():
            phases = np.concatenate([phases, one.free.phases[None]])
            errors = np.concatenate([errors, one.free_errors[None]])
            weights = np.concatenate([weights, contrast.free_weight[None] / one.beta])
        strength = np.abs(contrast.factors) * one.beta
        return one.estimate(phases, errors, weights, measured, strength, statistic=self.statistic)
