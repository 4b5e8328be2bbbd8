"""Who listens to a training run: the run file, a progress bar, a test."""

from __future__ import annotations

from typing import Protocol, final

from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.learning.state import TrainingState
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.rows import EpochRow, StepRow

__all__ = ["NullRecorder", "Recorder"]


class Recorder(Protocol):
    """Receives what happens, in order; must not change it."""

    def on_step(self, row: StepRow, state: TrainingState) -> None:
        """One step is done and the new parameters are programmed."""

    def on_epoch(self, row: EpochRow, state: TrainingState) -> None:
        """One epoch is done and evaluated."""

    def on_parameters(
        self, epoch: int, step: int, master: Parameters, effective: Parameters
    ) -> None:
        """Parameters at a chosen epoch."""

    def on_gradients(
        self, epoch: int, step: int, mean: Parameters, standard_error: Parameters
    ) -> None:
        """Mean gradient over the epoch that ends at a chosen one, and its standard error."""

    def on_plan(self, epoch: int, step: int, plan: NudgePlan) -> None:
        """Note that a planner chose how gradients are measured from here on."""

    def on_response(
        self, epoch: int, response: FloatArray, phases: FloatArray, rows: IntArray
    ) -> None:
        """Responses χ (N, n_outputs), rms over the probe samples ``rows``, and their phases."""


@final
class NullRecorder:
    """Keeps nothing."""

    def on_step(self, row: StepRow, state: TrainingState) -> None:
        """Ignore."""

    def on_epoch(self, row: EpochRow, state: TrainingState) -> None:
        """Ignore."""

    def on_parameters(
        self, epoch: int, step: int, master: Parameters, effective: Parameters
    ) -> None:
        """Ignore."""

    def on_gradients(
        self, epoch: int, step: int, mean: Parameters, standard_error: Parameters
    ) -> None:
        """Ignore."""

    def on_plan(self, epoch: int, step: int, plan: NudgePlan) -> None:
        """Ignore."""

    def on_response(
        self, epoch: int, response: FloatArray, phases: FloatArray, rows: IntArray
    ) -> None:
        """Ignore."""
