"""How the next gradients are measured, as chosen by hand or by a planner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self, final

from eqp_hw.learning.controller import Controller
from eqp_hw.network.graph import FloatArray

__all__ = ["NudgePlan", "Planner"]


@final
@dataclass(frozen=True)
class NudgePlan:
    """One choice of estimator and its settings.

    Attributes
    ----------
    kind, options
        Estimator by name, and its own options.
    beta, repeats, interleave, attenuation, nudge_limit
        As in `ControllerOptions`.
    reason
        Why, in one sentence.
    """

    kind: str
    beta: float
    repeats: int
    interleave: bool = False
    attenuation: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    nudge_limit: float | None = None

    def to_scalars(self) -> dict[str, Any]:
        """Return it for JSON; floats as exact hexadecimal text."""
        scalars = asdict(self)
        scalars["beta"] = self.beta.hex()
        return scalars

    @classmethod
    def from_scalars(cls, scalars: Mapping[str, Any]) -> Self:
        """Rebuild what `to_scalars` returned."""
        return cls(**{**scalars, "beta": float.fromhex(scalars["beta"])})


class Planner(ABC):
    """Chooses a `NudgePlan` from measurements on the substrate itself."""

    @abstractmethod
    def due(self, epoch: int) -> bool:
        """Return whether to choose anew before ``epoch`` (counted from 0)."""

    @abstractmethod
    def plan(
        self,
        controller: Controller,
        inputs: FloatArray,
        targets: FloatArray,
        address: tuple[int, ...],
        before: NudgePlan | None,
    ) -> NudgePlan:
        """Probe a few samples and choose.

        Parameters
        ----------
        controller
            Of the substrate, with the present parameters programmed.
        inputs, targets
            Probe samples, (n, n_inputs) and (n, n_outputs) rad.
        address
            Counters that address random draws.
        before
            The plan in force, None at first.
        """
