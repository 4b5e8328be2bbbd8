"""What an estimator is: a recipe of nudges, and the weights that turn reads into a gradient.

With G(β) = ∂E/∂θ at the equilibrium under nudge β, dC/dθ = G′(0) (ep_methods §0). Each
estimator approximates that derivative from reads at a few β. Estimators that fit no weighted
sum of reads (lock-in, coupled learning) derive from `Estimator` directly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from eqp_hw.capabilities import Requirements
from eqp_hw.network.graph import FloatArray

__all__ = ["Contrast", "Estimator", "LinearContrast"]


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
    """A way to estimate dC/dθ with what a substrate can do."""

    name: ClassVar[str]
    description: ClassVar[str]
    requirements: ClassVar[Requirements]


class LinearContrast(Estimator):
    """An estimator that is a weighted sum of statistics at fixed multiples of β."""

    @abstractmethod
    def contrast(self, batch: int, rng: np.random.Generator) -> Contrast:
        """Return the recipe for ``batch`` samples; ``rng`` serves random signs and the like."""
