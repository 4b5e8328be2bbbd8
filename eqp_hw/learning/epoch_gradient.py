"""Gradients summed over the steps of an epoch: what each bond was told, and how surely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import numpy as np

from eqp_hw.learning.gradient_estimate import GradientEstimate
from eqp_hw.physics.parameters import Parameters

__all__ = ["EpochGradient", "real_root", "signal_to_noise"]


@final
@dataclass(frozen=True, eq=False)
class EpochGradient:
    """Sums over steps.

    Attributes
    ----------
    total, variance
        Sums of the gradients and of their squared standard errors; those of the two bias
        quadratures as real and imaginary part.
    steps
        How many.
    """

    total: Parameters
    variance: Parameters
    steps: int

    @classmethod
    def first(cls, estimate: GradientEstimate) -> Self:
        """Return the sums over one step."""
        return cls(estimate.gradient, estimate.standard_error.map(_square), 1)

    def add(self, estimate: GradientEstimate) -> EpochGradient:
        """Return the sums after one more step."""
        return EpochGradient(
            self.total.map(np.add, estimate.gradient),
            self.variance.map(np.add, estimate.standard_error.map(_square)),
            self.steps + 1,
        )

    def mean(self) -> Parameters:
        """Return the mean gradient of a step."""
        return self.total.map(lambda total: total / self.steps)

    def standard_error(self) -> Parameters:
        """Return the standard error of `mean`."""
        return self.variance.map(lambda variance: real_root(variance) / self.steps)


def signal_to_noise(gradient: Parameters, standard_error: Parameters) -> float:
    """Return the median of |g|/s over the couplings; NaN where reads are exact."""
    g, s = _couplings(gradient), _couplings(standard_error)
    noisy = s > 0
    return float(np.median(np.abs(g[noisy]) / s[noisy])) if noisy.any() else float("nan")


def _couplings(parameters: Parameters) -> np.ndarray:
    if parameters.coupling_reverse is None:
        return parameters.coupling
    return np.concatenate([parameters.coupling, parameters.coupling_reverse])


def _square(error: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(error):
        return np.asarray(error.real**2 + 1j * error.imag**2)
    return np.asarray(error**2)


def real_root(variance: np.ndarray) -> np.ndarray:
    """Return square roots, of real and imaginary part apart."""
    if np.iscomplexobj(variance):
        return np.asarray(np.sqrt(variance.real) + 1j * np.sqrt(variance.imag))
    return np.asarray(np.sqrt(variance))
