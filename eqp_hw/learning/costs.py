"""Costs on the output phases, and the nudge field that realises each one.

A cost enters the hardware as an injected complex field at the outputs (ep_methods §1). The
cosine cost *is* such a field; every other cost is linearised at the free phases: with
τ = ∂C/∂φ there, the field −iτ·exp(iφ⁰), in quadrature to φ⁰, exerts the torque −βτ, has no
curvature at φ⁰, and gives the same dC/dθ as β → 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

__all__ = ["Cosine", "Cost", "CrossEntropy", "FrozenTorque", "LogCosine", "distance"]


def distance(phases: FloatArray, targets: FloatArray) -> FloatArray:
    """Return C_sim = ½ Σ_out (1 − cos(φ − φ_target)) of each sample, (batch,).

    The figure that the XY papers report whatever they train on (arXiv 2402.08579).
    """
    total: FloatArray = 0.5 * (1.0 - np.cos(phases - targets)).sum(axis=1)
    return total


class Cost(ABC):
    """A differentiable cost of the output phases, given target phases.

    Attributes
    ----------
    equal_amplitudes
        Whether the nudge field has one amplitude |f|, or none, at all outputs of a sample, so
        that a substrate with few nudge levels can make it.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    equal_amplitudes: ClassVar[bool] = False

    @abstractmethod
    def value(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        """Return C of each sample, (batch,), from (batch, n_outputs) phases and targets."""

    @abstractmethod
    def gradient(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        """Return ∂C/∂φ_o, (batch, n_outputs)."""

    def nudge_field(self, free_phases: FloatArray, targets: FloatArray) -> ComplexArray:
        """Return the field f, (batch, n_outputs), to inject with amplitude β.

        By default the frozen torque at the free phases, in quadrature.
        """
        field: ComplexArray = -1j * self.gradient(free_phases, targets) * np.exp(1j * free_phases)
        return field


@final
class Cosine(Cost):
    """C = Σ (1 − cos(φ − φ_t)); a plain injected field, with a dead point at φ − φ_t = π."""

    name = "cosine"
    description = "sum of 1 - cos(phase error); itself an injected field, dead point at pi"
    equal_amplitudes = True

    @override
    def value(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        return 2.0 * distance(phases, targets)

    @override
    def gradient(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        torque: FloatArray = np.sin(phases - targets)
        return torque

    @override
    def nudge_field(self, free_phases: FloatArray, targets: FloatArray) -> ComplexArray:
        field: ComplexArray = np.exp(1j * targets)
        return field


@final
class LogCosine(Cost):
    """C = −Σ log((1 + ε + cos(φ − φ_t))/(2 + ε)), the seed paper's cost, regularised.

    Its torque sin Δ/(1 + ε + cos Δ) is tan(Δ/2) away from Δ = π and at most
    1/√(ε(2 + ε)) there.

    Parameters
    ----------
    regularisation
        ε > 0.
    """

    name = "log-cosine"
    description = "sum of -log(1 + cos(phase error)), regularised; no dead point (XY papers)"

    def __init__(self, regularisation: float = 0.01) -> None:
        if not regularisation > 0:
            raise ConfigurationError(
                "the torque would diverge at a phase error of pi",
                field="cost.regularisation",
                value=regularisation,
                allowed="a number > 0",
            )
        self.regularisation = regularisation

    @override
    def value(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        eps = self.regularisation
        ratio = (1.0 + eps + np.cos(phases - targets)) / (2.0 + eps)
        total: FloatArray = -np.log(ratio).sum(axis=1)
        return total

    @override
    def gradient(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        delta = phases - targets
        torque: FloatArray = np.sin(delta) / (1.0 + self.regularisation + np.cos(delta))
        return torque


@final
class CrossEntropy(Cost):
    """Cross-entropy on the phase read-out s_k = sin φ_k.

    Several outputs: softmax over κ·s_k against the class weights q_k ∝ (1 + sin φ_t)/2. One
    output: logistic of 2κ·s against q = (1 + sin φ_t)/2.

    Parameters
    ----------
    sharpness
        κ > 0, the inverse temperature of the read-out.
    """

    name = "cross-entropy"
    description = "cross-entropy of a softmax over sin(phase) at the outputs"

    def __init__(self, sharpness: float = 3.0) -> None:
        if not sharpness > 0:
            raise ConfigurationError(
                "the read-out needs a positive sharpness",
                field="cost.sharpness",
                value=sharpness,
                allowed="a number > 0",
            )
        self.sharpness = sharpness

    @override
    def value(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        logits, weights = self._logits(phases), self._weights(targets)
        shift = logits.max(axis=1, keepdims=True)
        log_sum = shift[:, 0] + np.log(np.exp(logits - shift).sum(axis=1))
        total: FloatArray = log_sum - (weights * logits).sum(axis=1)
        return total

    @override
    def gradient(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        logits, weights = self._logits(phases), self._weights(targets)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        excess = odds / odds.sum(axis=1, keepdims=True) - weights
        if phases.shape[1] == 1:
            excess = excess[:, 1:] - excess[:, :1]
        torque: FloatArray = self.sharpness * np.cos(phases) * excess
        return torque

    def _logits(self, phases: FloatArray) -> FloatArray:
        score: FloatArray = self.sharpness * np.sin(phases)
        return score if phases.shape[1] > 1 else np.concatenate([-score, score], axis=1)

    @staticmethod
    def _weights(targets: FloatArray) -> FloatArray:
        on: FloatArray = 0.5 * (1.0 + np.sin(targets))
        if targets.shape[1] == 1:
            return np.concatenate([1.0 - on, on], axis=1)
        # Targets that are all off single out no class: every class then counts alike.
        on = on + 1e-12
        weights: FloatArray = on / on.sum(axis=1, keepdims=True)
        return weights


@final
class FrozenTorque(Cost):
    """Any cost given by a function, for instance one whose gradient a digital network sends.

    Parameters
    ----------
    function
        Maps (phases, targets), both (batch, n_outputs), to the pair C, (batch,), and ∂C/∂φ,
        (batch, n_outputs).
    """

    name = "frozen-torque"
    description = "any function that returns cost and torque (Python API)"

    def __init__(
        self, function: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
    ) -> None:
        self._function = function

    @override
    def value(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        return self._function(phases, targets)[0]

    @override
    def gradient(self, phases: FloatArray, targets: FloatArray) -> FloatArray:
        return self._function(phases, targets)[1]
