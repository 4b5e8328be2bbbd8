"""Progress of a run on the terminal."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from typing_extensions import override

from eqp_hw.experiment.listener import Listener, RunPlan
from eqp_hw.learning.state import TrainingState
from eqp_hw.records.rows import EpochRow, StepRow

__all__ = ["ProgressBar"]


@final
class ProgressBar(Listener, AbstractContextManager["ProgressBar"]):
    """Bars of epochs and steps, with cost, accuracies and hops.

    Parameters
    ----------
    console
        Where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description:>6}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # A step may take milliseconds: drawing each one would cost more than the physics.
            refresh_per_second=4,
        )
        self._epochs: TaskID | None = None
        self._steps: TaskID | None = None
        self._hops = 0
        self._accuracy = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    @override
    def on_begin(self, plan: RunPlan) -> None:
        self._console.print(
            f"[bold]{escape(plan.title)}[/]  {plan.n_train} training, {plan.n_validation} "
            f"validation, {plan.n_test} test samples; {plan.engine}; "
            f"record: {escape(str(plan.run_file))}"
        )
        start = plan.start
        self._epochs = self._bar.add_task(
            "epoch", total=plan.epochs, completed=start.epoch, note=""
        )
        if plan.steps_per_epoch > 1:
            self._steps = self._bar.add_task(
                "step", total=plan.steps_per_epoch, completed=start.batch, note=""
            )

    @override
    def on_step(self, row: StepRow, state: TrainingState) -> None:
        self._hops += row.hops
        if self._steps is not None:
            note = f"C_sim {row.distance:.4g}  β-hops {self._hops}"
            self._bar.update(self._steps, completed=state.batch, note=note)

    @override
    def on_epoch(self, row: EpochRow, state: TrainingState) -> None:
        if not math.isnan(row.validation_accuracy):
            self._accuracy = f"  validation {row.validation_accuracy:.3f}"
        note = (
            f"C_sim {row.train_distance:.4g}  train {row.train_accuracy:.3f}{self._accuracy}"
            f"  β-hops {self._hops}"
        )
        if self._epochs is not None:
            self._bar.update(self._epochs, completed=state.epoch, note=note)
