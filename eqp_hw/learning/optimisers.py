"""Optimisers over `Parameters`: pure functions of (parameters, gradient, state).

The state is explicit, lives through epochs, and is made of `Parameters` alone, so that a
checkpoint can hold it exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters

__all__ = ["Adam", "GradientDescent", "Momentum", "Optimiser", "OptimiserState", "RateTable"]


@final
@dataclass(frozen=True, eq=False)
class OptimiserState:
    """What an optimiser remembers between steps.

    Attributes
    ----------
    count
        Steps taken.
    memory
        Named running averages, each in the shape of the parameters.
    """

    count: int = 0
    memory: Mapping[str, Parameters] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class RateTable:
    """Learning rates: one base rate, factors by kind of coupling and for the bias, decay.

    Attributes
    ----------
    learning_rate
        Base rate η > 0.
    factors
        Multiplies η for couplings of a kind (`Network.kind_names`) or for ``"bias"``; 0
        freezes them.
    decay
        η is multiplied by this after each epoch, 0 < decay ≤ 1.
    """

    learning_rate: float
    factors: Mapping[str, float] = field(default_factory=dict)
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigurationError(
                "not a usable rate",
                field="optimiser.learning_rate",
                value=self.learning_rate,
                allowed="a finite number > 0",
            )
        if not 0 < self.decay <= 1:
            raise ConfigurationError(
                "not a usable decay", field="optimiser.decay", value=self.decay, allowed="(0, 1]"
            )

    def check(self, network: Network) -> None:
        """Refuse factors for kinds that the network does not have."""
        known = {*network.kind_names, "bias"}
        for name, factor in self.factors.items():
            if name not in known:
                raise ConfigurationError(
                    "no such kind of parameter",
                    field="optimiser.rate_factors",
                    value=name,
                    allowed=", ".join(sorted(known)),
                )
            if not (np.isfinite(factor) and factor >= 0):
                raise ConfigurationError(
                    "not a usable factor",
                    field=f"optimiser.rate_factors.{name}",
                    value=factor,
                    allowed="a finite number >= 0",
                )

    def rates(self, network: Network, parameters: Parameters, epoch: int) -> Parameters:
        """Return the rate of each parameter, in the shape of ``parameters``."""
        base = self.learning_rate * self.decay**epoch
        by_kind = np.array([self.factors.get(name, 1.0) for name in network.kind_names])
        coupling: FloatArray = base * by_kind[network.group_kind]
        bias = np.full(network.n_nodes, base * self.factors.get("bias", 1.0), dtype=complex)
        return Parameters(coupling, bias, coupling if parameters.directed else None)


class Optimiser(ABC):
    """Turns a gradient into new parameters."""

    name: ClassVar[str]
    description: ClassVar[str]

    @abstractmethod
    def direction(
        self, gradient: Parameters, state: OptimiserState
    ) -> tuple[Parameters, OptimiserState]:
        """Return the descent direction (before the rate) and the next state."""

    def step(
        self,
        parameters: Parameters,
        gradient: Parameters,
        rates: Parameters,
        state: OptimiserState,
    ) -> tuple[Parameters, OptimiserState]:
        """Return parameters − rate·direction, and the next state."""
        direction, state = self.direction(gradient, state)
        moved = parameters.map(lambda p, d, r: p - r.real * d, direction, rates)
        return moved, state


@final
class GradientDescent(Optimiser):
    """Plain gradient descent."""

    name = "gradient-descent"
    description = "parameters - rate * gradient"

    @override
    def direction(
        self, gradient: Parameters, state: OptimiserState
    ) -> tuple[Parameters, OptimiserState]:
        return gradient, OptimiserState(state.count + 1)


@final
class Momentum(Optimiser):
    """Heavy-ball momentum v ← μ·v + g; the velocity survives epochs.

    Parameters
    ----------
    momentum
        0 ≤ μ < 1.
    """

    name = "momentum"
    description = "heavy-ball momentum; the velocity survives epochs"

    def __init__(self, momentum: float = 0.9) -> None:
        self.momentum = _fraction("momentum", momentum)

    @override
    def direction(
        self, gradient: Parameters, state: OptimiserState
    ) -> tuple[Parameters, OptimiserState]:
        if "velocity" not in state.memory:
            velocity = gradient
        else:
            velocity = gradient.map(lambda g, v: self.momentum * v + g, state.memory["velocity"])
        return velocity, OptimiserState(state.count + 1, {"velocity": velocity})


@final
class Adam(Optimiser):
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1); Re b and Im b are scaled apart.

    Parameters
    ----------
    beta1, beta2
        Decay of the first and second moment, in [0, 1).
    epsilon
        Added to the root of the second moment.
    """

    name = "adam"
    description = "Adam, with bias-corrected moments"

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1 = _fraction("beta1", beta1)
        self.beta2 = _fraction("beta2", beta2)
        self.epsilon = epsilon

    @override
    def direction(
        self, gradient: Parameters, state: OptimiserState
    ) -> tuple[Parameters, OptimiserState]:
        count = state.count + 1
        zero = gradient.map(np.zeros_like)
        first = gradient.map(
            lambda g, m: self.beta1 * m + (1 - self.beta1) * g, state.memory.get("first", zero)
        )
        second = gradient.map(
            lambda g, v: self.beta2 * v + (1 - self.beta2) * _square(g),
            state.memory.get("second", zero),
        )
        scale1, scale2 = 1 - self.beta1**count, 1 - self.beta2**count
        direction = first.map(lambda m, v: _divide(m / scale1, v / scale2, self.epsilon), second)
        return direction, OptimiserState(count, {"first": first, "second": second})


def _square(g: FloatArray) -> FloatArray:
    """Square real and imaginary parts apart: a complex bias is two real parameters."""
    if np.iscomplexobj(g):
        return np.asarray(g.real**2 + 1j * g.imag**2)
    return np.asarray(g**2)


def _divide(m: FloatArray, v: FloatArray, epsilon: float) -> FloatArray:
    if np.iscomplexobj(m):
        real = m.real / (np.sqrt(v.real) + epsilon)
        return np.asarray(real + 1j * m.imag / (np.sqrt(v.imag) + epsilon))
    return np.asarray(m / (np.sqrt(v) + epsilon))


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ConfigurationError(
            "outside its range", field=f"optimiser.{name}", value=value, allowed="[0, 1)"
        )
    return value
