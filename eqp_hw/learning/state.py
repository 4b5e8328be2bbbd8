"""Everything that training has to remember from one step to the next, and its exact storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eqp_hw.learning.epoch_gradient import EpochGradient
from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.learning.optimisers import OptimiserState
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import Parameters

__all__ = ["EpochSums", "TrainingState"]

_SUBSTRATE = "substrate/"


@final
@dataclass(frozen=True)
class EpochSums:
    """Sums over the steps of the running epoch, from which its means are made."""

    n_samples: int = 0
    cost: float = 0.0
    distance: float = 0.0
    correct: float = 0.0
    hops: int = 0
    excluded: int = 0

    def add(
        self, n: int, cost: float, distance: float, accuracy: float, hops: int, excluded: int
    ) -> EpochSums:
        """Return the sums after one more step with means over ``n`` samples."""
        return EpochSums(
            self.n_samples + n,
            self.cost + n * cost,
            self.distance + n * distance,
            self.correct + n * accuracy,
            self.hops + hops,
            self.excluded + excluded,
        )


@final
@dataclass(frozen=True, eq=False)
class TrainingState:
    """State of a training run between two steps. Randomness needs none: it is addressed.

    Attributes
    ----------
    master
        Float master parameters.
    optimiser
        The optimiser's memory.
    epoch, batch, step
        Whole epochs done, mini-batches done in the running epoch, steps done in all.
    sums
        Of the running epoch.
    best, best_epoch, best_accuracy, best_distance
        Parameters that did best on the validation set, and how well; None before the first
        validation.
    stale_epochs
        Epochs since then.
    epoch_distance
        Mean distance C_sim over the last whole epoch.
    plan
        How gradients are measured, where a planner chooses; None before its first choice.
    null
        The null contrast that is subtracted from gradients; None before the first.
    gradients
        Sums of the gradients of the running epoch, where they are to be recorded.
    substrate
        What the substrate asks to be reminded of (`Substrate.store_memory`).
    """

    master: Parameters
    optimiser: OptimiserState = field(default_factory=OptimiserState)
    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    best: Parameters | None = None
    best_epoch: int = 0
    best_accuracy: float = float("-inf")
    best_distance: float = float("inf")
    stale_epochs: int = 0
    epoch_distance: float = float("inf")
    plan: NudgePlan | None = None
    null: Parameters | None = None
    gradients: EpochGradient | None = None
    substrate: Mapping[str, FloatArray] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all parameter-shaped parts by name, bit for bit."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        parts = {"master": self.master, **{f"memory/{k}": v for k, v in self._memory()}}
        if self.best is not None:
            parts["best"] = self.best
        if self.null is not None:
            parts["null"] = self.null
        if self.gradients is not None:
            parts["gradients/total"] = self.gradients.total
            parts["gradients/variance"] = self.gradients.variance
        arrays |= {f"{_SUBSTRATE}{name}": np.asarray(v) for name, v in self.substrate.items()}
        for name, parameters in parts.items():
            arrays[f"{name}/coupling"] = parameters.coupling
            arrays[f"{name}/bias"] = parameters.bias
            if parameters.coupling_reverse is not None:
                arrays[f"{name}/coupling_reverse"] = parameters.coupling_reverse
        return arrays

    def to_scalars(self) -> dict[str, Any]:
        """Return all numbers, fit for JSON (floats as exact hexadecimal text)."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "optimiser_count": self.optimiser.count,
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy.hex(),
            "best_distance": self.best_distance.hex(),
            "stale_epochs": self.stale_epochs,
            "epoch_distance": self.epoch_distance.hex(),
            "gradient_steps": 0 if self.gradients is None else self.gradients.steps,
            "plan": None if self.plan is None else self.plan.to_scalars(),
            "sums": {
                name: value.hex() if isinstance(value, float) else value
                for name, value in dataclasses.asdict(self.sums).items()
            },
        }

    @classmethod
    def restore(
        cls, arrays: Mapping[str, npt.NDArray[Any]], scalars: Mapping[str, Any]
    ) -> TrainingState:
        """Rebuild what `to_arrays` and `to_scalars` returned."""
        names = {key.rsplit("/", 1)[0] for key in arrays if not key.startswith(_SUBSTRATE)}
        plan = scalars["plan"]
        parts = {
            name: Parameters(
                np.array(arrays[f"{name}/coupling"]),
                np.array(arrays[f"{name}/bias"]),
                np.array(arrays[f"{name}/coupling_reverse"])
                if f"{name}/coupling_reverse" in arrays
                else None,
            )
            for name in names
        }
        memory = {
            name.removeprefix("memory/"): parts[name]
            for name in sorted(names)
            if name.startswith("memory/")
        }
        sums: dict[str, Any] = {
            name: float.fromhex(value) if isinstance(value, str) else value
            for name, value in scalars["sums"].items()
        }
        return cls(
            master=parts["master"],
            optimiser=OptimiserState(scalars["optimiser_count"], memory),
            epoch=scalars["epoch"],
            batch=scalars["batch"],
            step=scalars["step"],
            sums=EpochSums(**sums),
            best=parts.get("best"),
            best_epoch=scalars["best_epoch"],
            best_accuracy=float.fromhex(scalars["best_accuracy"]),
            best_distance=float.fromhex(scalars["best_distance"]),
            stale_epochs=scalars["stale_epochs"],
            epoch_distance=float.fromhex(scalars["epoch_distance"]),
            plan=None if plan is None else NudgePlan.from_scalars(plan),
            null=parts.get("null"),
            gradients=EpochGradient(
                parts["gradients/total"], parts["gradients/variance"], scalars["gradient_steps"]
            )
            if scalars["gradient_steps"]
            else None,
            substrate={
                key.removeprefix(_SUBSTRATE): np.array(value)
                for key, value in arrays.items()
                if key.startswith(_SUBSTRATE)
            },
        )

    def _memory(self) -> list[tuple[str, Parameters]]:
        return sorted(self.optimiser.memory.items())
