"""What an estimator study looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from eqp_hw.errors import ConfigurationError

__all__ = ["StudyOptions"]


@final
@dataclass(frozen=True)
class StudyOptions:
    """Grid of an estimator study.

    Attributes
    ----------
    estimators
        Names; all that the substrate can serve if empty.
    displacements
        Largest phase shifts max_i |φ_i^β − φ_i⁰| of a sample, rad; β of each sample follows.
    noises
        Read-out noise of a single read, rad; 0 for exact reads, which show the bias alone.
    reads
        Reads of one sample, shared out equally among the states of an estimate.
    samples
        Training samples looked at.
    draws
        Noise draws of each estimate.
    """

    estimators: tuple[str, ...] = ()
    displacements: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2, 0.4)
    noises: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2)
    reads: int = 16
    samples: int = 12
    draws: int = 12

    def __post_init__(self) -> None:
        for name, low in (("reads", 1), ("samples", 1), ("draws", 2)):
            if getattr(self, name) < low:
                raise ConfigurationError(
                    "too small",
                    field=f"--{name}",
                    value=getattr(self, name),
                    allowed=f">= {low}",
                )
        for value in self.displacements:
            if not 0 < value <= math.pi / 2:
                raise ConfigurationError(
                    "not a phase shift that a nudge makes without leaving the basin",
                    field="--displacements",
                    value=value,
                    allowed="0 < shift <= pi/2 rad",
                )
        for value in self.noises:
            if not (math.isfinite(value) and value >= 0):
                raise ConfigurationError(
                    "not a standard deviation", field="--noise", value=value, allowed=">= 0 rad"
                )
        if not (self.displacements and self.noises):
            raise ConfigurationError(
                "nothing to look at",
                field="--noise" if self.displacements else "--displacements",
                value="",
                allowed="at least one number",
            )
