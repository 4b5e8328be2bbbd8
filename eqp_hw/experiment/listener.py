"""Who watches a run from outside, and how it is asked to stop."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, final

from eqp_hw.learning.state import TrainingState
from eqp_hw.records.rows import EpochRow, StepRow

__all__ = ["Listener", "RunInterrupted", "RunPlan", "StopSignals"]


@final
@dataclass(frozen=True)
class RunPlan:
    """What is about to happen.

    Attributes
    ----------
    run_file
        Where it is recorded.
    title
        Task and network, in one line.
    engine
        What relaxes the phases.
    epochs, steps_per_epoch
        Size of the run.
    n_train, n_validation, n_test
        Samples of each part.
    start
        State that training starts from; of a later epoch in a resumed run.
    """

    run_file: Path
    title: str
    engine: str
    epochs: int
    steps_per_epoch: int
    n_train: int
    n_validation: int
    n_test: int
    start: TrainingState


class Listener(ABC):
    """Hears of a run what a person would want to see. Must change nothing."""

    @abstractmethod
    def on_begin(self, plan: RunPlan) -> None:
        """Training is about to start."""

    @abstractmethod
    def on_step(self, row: StepRow, state: TrainingState) -> None:
        """One step is done, recorded and in the checkpoint."""

    @abstractmethod
    def on_epoch(self, row: EpochRow, state: TrainingState) -> None:
        """One epoch is done, evaluated and recorded."""


@final
class RunInterrupted(KeyboardInterrupt):
    """A run stopped between two steps because it was asked to; it can be resumed.

    Attributes
    ----------
    run_file
        The run file.
    """

    def __init__(self, run_file: Path) -> None:
        super().__init__(f"interrupted; to go on: eqp-hw resume {run_file}")
        self.run_file = run_file


@final
class StopSignals:
    """While open, the first SIGINT or SIGTERM asks for a stop and the second one forces it.

    The old handlers come back at the end. Outside the main thread it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not the main thread
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.requested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
