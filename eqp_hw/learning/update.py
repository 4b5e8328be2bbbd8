"""From a measured gradient to new parameters: corrections, optimiser, projection, rounding."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.gradient_estimate import GradientEstimate
from eqp_hw.learning.homeostasis import homeostatic_gradient
from eqp_hw.learning.optimisers import Optimiser, OptimiserState, RateTable
from eqp_hw.learning.rounding import stochastically_rounded
from eqp_hw.learning.shrinkage import shrunk
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

__all__ = ["Update", "UpdateOptions"]


@final
@dataclass(frozen=True)
class UpdateOptions:
    """What is done to gradients and parameters beside the optimiser's step.

    Attributes
    ----------
    coupling_limit
        Master couplings are kept within ± this by projection after each update, and in any
        case within the range that the substrate states: it never clips, and refuses what
        lies outside.
    bias_limit
        Likewise for the amplitude |b| of master bias fields; their angle is kept.
    homeostasis
        λ ≥ 0 of the homeostatic objective, which draws J_ij and J_ji of a directed network
        together (Laborieux and Zenke 2024; ep_methods §3).
    tied
        Directed networks: give J_ij and J_ji of a bond the same step, the sum of their two
        gradients, so that their difference stays what it is. That is how a network is trained
        whose couplings are taken for reciprocal and are not.
    noise_shrinkage
        Weaken the gradient of each parameter by g²/(g² + s²), s its standard error.
    master
        "float" keeps full-precision master parameters; "direct" goes on from what the
        substrate holds after rounding (ep_methods §8: the float master learns, direct
        rounding may not).
    rounding
        What is written where the substrate has a grid: the "nearest" point, or one of the two
        neighbours at random, "stochastic", such that the mean is the master.
    """

    coupling_limit: float | None = None
    bias_limit: float | None = None
    homeostasis: float = 0.0
    tied: bool = False
    noise_shrinkage: bool = False
    master: Literal["float", "direct"] = "float"
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.homeostasis) and self.homeostasis >= 0):
            raise ConfigurationError(
                "not a usable strength",
                field="optimiser.homeostasis",
                value=self.homeostasis,
                allowed="a finite number >= 0",
            )
        if self.tied and self.homeostasis:
            raise ConfigurationError(
                "J_ij and J_ji cannot be drawn together and take the same step as well",
                field="optimiser.tied",
                value=True,
                allowed="false, or optimiser.homeostasis = 0",
            )


@final
class Update:
    """Turns an estimate into the next master parameters, and those into what is written.

    Parameters
    ----------
    network, capabilities
        Of the substrate.
    optimiser, rates, options
        How parameters move.
    """

    def __init__(
        self,
        network: Network,
        capabilities: Capabilities,
        optimiser: Optimiser,
        rates: RateTable,
        options: UpdateOptions,
    ) -> None:
        rates.check(network)
        self.rates = rates
        self.options = options
        self._network = network
        self._capabilities = capabilities
        self._optimiser = optimiser

    def check(self, master: Parameters) -> None:
        """Refuse options that do nothing with parameters such as ``master``.

        Raises
        ------
        ConfigurationError
            `UpdateOptions.homeostasis` or `UpdateOptions.tied`, of a reciprocal network.
        """
        for name in ("homeostasis", "tied"):
            value = getattr(self.options, name)
            if value and not master.directed:
                raise ConfigurationError(
                    "has no effect: J_ij and J_ji of this network are one and the same",
                    field=f"optimiser.{name}",
                    value=value,
                    allowed="left out; or network.initial.directed = true",
                )

    def step(
        self,
        master: Parameters,
        memory: OptimiserState,
        estimate: GradientEstimate,
        null: Parameters | None,
        epoch: int,
    ) -> tuple[Parameters, OptimiserState]:
        """Return the next master parameters and the optimiser's memory.

        Parameters
        ----------
        master, memory
            As they are.
        estimate
            The measured gradient.
        null
            The null contrast to be subtracted, or None.
        epoch
            For the decay of rates.
        """
        gradient = estimate.gradient
        if null is not None:
            gradient = gradient.map(np.subtract, null)
        if self.options.noise_shrinkage:
            gradient = shrunk(gradient, estimate.standard_error)
        if self.options.homeostasis and master.directed:
            pull = homeostatic_gradient(self._network, master, estimate.free_phases)
            strength = self.options.homeostasis
            gradient = gradient.map(lambda g, h: g + strength * h, pull)
        if self.options.tied and gradient.coupling_reverse is not None:
            both = gradient.coupling + gradient.coupling_reverse
            gradient = Parameters(both, gradient.bias, both)
        rates = self.rates.rates(self._network, master, epoch)
        moved, memory = self._optimiser.step(master, self._trainable(gradient), rates, memory)
        return self._project(moved), memory

    def written(self, master: Parameters, rng: np.random.Generator) -> Parameters:
        """Return what to write for the master parameters ``master``."""
        if self.options.rounding == "stochastic":
            return stochastically_rounded(master, self._capabilities, rng)
        return master

    def _trainable(self, gradient: Parameters) -> Parameters:
        control = self._capabilities.bias_control
        if control == "complex":
            return gradient
        keep: ComplexArray = np.zeros_like(gradient.bias)
        if control == "amplitude":
            keep.real = gradient.bias.real
        return dataclasses.replace(gradient, bias=keep)

    def _project(self, parameters: Parameters) -> Parameters:
        low, high = self._capabilities.coupling_range
        limit, longest = self.options.coupling_limit, self._capabilities.bias_maximum
        if limit is not None:
            low, high = max(low, -limit), min(high, limit)
        if self.options.bias_limit is not None:
            longest = min(longest, self.options.bias_limit)
        reverse = parameters.coupling_reverse
        if np.isfinite(low) or np.isfinite(high):
            parameters = dataclasses.replace(
                parameters,
                coupling=np.clip(parameters.coupling, low, high),
                coupling_reverse=None if reverse is None else np.clip(reverse, low, high),
            )
        if np.isfinite(longest):
            shrink = np.minimum(1.0, longest / np.maximum(np.abs(parameters.bias), 1e-300))
            # Rounding must not carry a field past the limit that it is put on.
            shrink[shrink < 1.0] *= 1.0 - 1e-12
            parameters = dataclasses.replace(parameters, bias=parameters.bias * shrink)
        return parameters
