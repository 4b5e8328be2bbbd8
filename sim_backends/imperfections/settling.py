"""The simulated clock, and reads that come before the phases are at rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap

from .interface import (
    Draws,
    Fraction,
    Imperfection,
    ImperfectionOptions,
    Magnitude,
    Setup,
    option,
)

__all__ = ["Clock", "ClockOptions", "IncompleteSettlingOptions"]


@final
@dataclass(frozen=True)
class Clock:
    """Simulated time that things take, s; ``known`` where the user stated it."""

    settle_s: float = 1.0
    read_s: float = 0.0
    known: bool = False


@final
class ClockOptions(ImperfectionOptions):
    """``kind = "clock"``: how long things take on the simulated clock, which drives drift."""

    description = "simulated time that settling and reading take, for drift and time stamps"

    settle_s: Magnitude = option(1.0, "time of one settling, s")
    read_s: Magnitude = option(0.0, "time of one raw read, s")

    @property
    @override
    def only_one_of(self) -> str | None:
        return "clock"

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _Clock(setup)


@final
class _Clock(Imperfection):
    """Does nothing to signals; the substrate reads the options."""

    @override
    def truth(self) -> Draws:
        return {}


@final
class IncompleteSettlingOptions(ImperfectionOptions):
    """``kind = "incomplete-settling"``: φ = φ_eq + remaining·wrap(φ_before − φ_eq).

    φ_before are the phases as they stood when the last settling ended, or the random start.
    One exponential for all phases is a model; the langevin substrate has the true dynamics.
    """

    description = "phases are read before they are at rest (one exponential for all phases)"

    remaining: Fraction = option(
        0.0, "share of the way to the equilibrium that is left when a settling ends"
    )

    @property
    @override
    def only_one_of(self) -> str | None:
        return "incomplete settling"

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _IncompleteSettling(setup, self)


@final
class _IncompleteSettling(Imperfection):
    def __init__(self, setup: Setup, options: IncompleteSettlingOptions) -> None:
        super().__init__(setup)
        self._remaining = options.remaining

    @property
    @override
    def imaginary_noise(self) -> float | None:
        return None

    @override
    def settled(self, before: FloatArray, equilibrium: FloatArray) -> FloatArray:
        late: FloatArray = equilibrium + self._remaining * wrap(before - equilibrium)
        return late

    @override
    def truth(self) -> Draws:
        return {}
