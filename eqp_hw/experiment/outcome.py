"""What a run ended with: the summary that is stored, shown and printed as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from eqp_hw.learning.training import TrainingResult
from eqp_hw.records.reader import RunData

__all__ = ["RunOutcome", "read_outcome", "summarise"]


@final
@dataclass(frozen=True, eq=False)
class RunOutcome:
    """A finished run.

    Attributes
    ----------
    run_file
        Its record.
    summary
        Named figures, as `summarise` makes them.
    training
        Parameters and scores; None where the run had been finished before.
    """

    run_file: Path
    summary: Mapping[str, Any]
    training: TrainingResult | None = None

    @property
    def already_finished(self) -> bool:
        """Whether there was nothing left to do."""
        return self.training is None

    @property
    def test_accuracy(self) -> float:
        """Share of test samples that are read out correctly; NaN without a test part."""
        return self._number("test_accuracy")

    @property
    def train_accuracy(self) -> float:
        """The same of the training samples."""
        return self._number("train_accuracy")

    @property
    def final_cost(self) -> float:
        """Mean distance C_sim of the selected parameters on the training samples."""
        return self._number("final_cost")

    def to_json(self) -> dict[str, Any]:
        """Return the summary with the name of the run file, fit for JSON."""
        return {**self.summary, "run_file": str(self.run_file)}

    def _number(self, name: str) -> float:
        value = self.summary.get(name)
        return math.nan if value is None else float(value)


def summarise(
    result: TrainingResult,
    *,
    seconds: float,
    hops: int,
    excluded: int,
    unsettled: int,
    validation_accuracy: Mapping[int, float],
    engine: str,
    title: str,
) -> dict[str, Any]:
    """Return the figures of a finished run; what is not known is None.

    Parameters
    ----------
    result
        What training ended with.
    seconds
        Wall time, of all sessions of a resumed run.
    hops, excluded, unsettled
        Sums over all steps.
    validation_accuracy
        By epoch.
    engine, title
        What relaxed the phases; task and network.
    """
    figures: dict[str, Any] = {
        "title": title,
        "test_accuracy": result.test.accuracy,
        "validation_accuracy": validation_accuracy.get(result.selected_epoch, math.nan),
        "train_accuracy": result.train.accuracy,
        "final_cost": result.train.distance,
        "test_distance": result.test.distance,
        "train_cost": result.train.cost,
        "test_cost": result.test.cost,
        "selected_epoch": result.selected_epoch,
        "epochs": result.state.epoch,
        "steps": result.state.step,
        "seconds": round(seconds, 3),
        "hops": hops,
        "excluded": excluded,
        "unsettled": unsettled + result.train.unsettled + result.test.unsettled,
        "engine": engine,
        "stopped_because": result.stopped_because,
    }
    return {name: _known(value) for name, value in figures.items()}


def read_outcome(data: RunData) -> RunOutcome:
    """Return the outcome that a run file holds; that of an unfinished run is partial."""
    if data.result is not None:
        return RunOutcome(data.path, {**data.result.summary, "finished": True})
    epochs = data.epochs
    last = {name: _known(column[-1]) for name, column in epochs.items() if len(column)}
    derived = data.resolved.get("derived", {})
    return RunOutcome(
        data.path,
        {
            "title": derived.get("title"),
            "test_accuracy": None,
            "validation_accuracy": last.get("validation_accuracy"),
            "train_accuracy": last.get("train_accuracy"),
            "final_cost": None,
            "last_distance": last.get("train_distance"),
            "epochs": len(epochs["epoch"]),
            "steps": len(data.steps["step"]),
            "seconds": round(float(data.steps["duration_total_s"].sum()), 3),
            "hops": int(data.steps["hops"].sum()),
            "excluded": int(data.steps["excluded"].sum()),
            "unsettled": int(data.steps["unsettled"].sum()),
            "engine": data.provenance.get("engine"),
            "stopped_because": None,
            "finished": False,
        },
    )


def _known(value: Any) -> Any:
    """Return None in place of NaN, which JSON does not have; NumPy numbers as Python's."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
