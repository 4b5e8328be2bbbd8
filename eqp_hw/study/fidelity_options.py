"""What a measurement of gradient fidelity does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from eqp_hw.errors import ConfigurationError

__all__ = ["FidelityOptions"]

_FINE_RAD = 5e-4
_FEWEST, _MOST = 4, 64
_STEPS = 4.0


@final
@dataclass(frozen=True)
class FidelityOptions:
    """What a measurement of gradient fidelity does.

    Attributes
    ----------
    samples
        Training samples looked at.
    bonds
        Couplings of each group, and nodes for bias fields, that are moved for finite
        differences; drawn at random.
    step
        δ, by which each is moved up and down, in units of couplings; from the read-out noise
        where None.
    reads
        Reads averaged for each state; from the read-out noise where None.
    replicates
        How often everything is measured at the same free states; their scatter shows errors
        that the read-out noise does not explain.
    hop_limit
        A phase that moves farther for ±δ has left its basin, rad.
    """

    samples: int = 6
    bonds: int = 8
    step: float | None = None
    reads: int | None = None
    replicates: int = 2
    hop_limit: float = 0.5

    def __post_init__(self) -> None:
        for name in ("samples", "bonds", "reads", "replicates"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(
                    "too small", field=f"--{name}", value=value, allowed=">= 1"
                )
        for name in ("step", "hop_limit"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigurationError(
                    "not a step that can be made",
                    field="--" + name.replace("_", "-"),
                    value=value,
                    allowed="> 0",
                )

    def reads_at(self, noise: float) -> int:
        """Return the reads of a state, so that a state is read to half a millirad if possible.

        Parameters
        ----------
        noise
            Standard deviation of one read, rad.
        """
        if self.reads is not None:
            return self.reads
        if noise == 0:
            return 1
        return min(max(math.ceil((noise / _FINE_RAD) ** 2), _FEWEST), _MOST)

    def step_at(self, error: float, stiffness: float, resolution: float = 0.0) -> float:
        """Return δ where truncation, δ²/stiffness², is about what noise leaves, error/δ.

        Parameters
        ----------
        error
            Standard error of the phases of a state, rad.
        stiffness
            Least curvature of the energy, in units of couplings.
        resolution
            Of the couplings; δ is several times as much.
        """
        if self.step is not None:
            return self.step
        smooth = stiffness * min(max(error ** (1 / 3), 1e-3), 0.2)
        return float(max(smooth, _STEPS * resolution))
