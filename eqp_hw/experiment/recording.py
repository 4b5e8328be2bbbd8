"""From the training loop to the run file and its checkpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import final

from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.learning.state import TrainingState
from eqp_hw.learning.task import Task
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.checkpoint import Checkpoint, CheckpointFile, checkpoint_path
from eqp_hw.records.reader import RunData
from eqp_hw.records.rows import EpochRow, StepRow
from eqp_hw.records.run_file import RunWriter

from .listener import Listener, RunInterrupted

__all__ = ["RunFileRecorder"]

SYNC_EVERY_S = 1.0


@final
class RunFileRecorder:
    """Writes each step and then its checkpoint, in this order, so that either may be cut off.

    A checkpoint never runs ahead of the rows; rows after it are dropped and made again when
    the run is resumed. Both are handed to the operating system at each step, which a killed
    process needs, and forced to the disk about once a second and when the run is stopped, which
    a power failure needs.

    Parameters
    ----------
    writer
        The run file.
    task
        Targets and labels of the samples whose phases are recorded.
    checkpoint_every_steps
        Steps from one checkpoint to the next; each epoch ends with one.
    listener
        Told after all is written.
    stop
        Asked after each step whether to stop there.
    before
        What the file already holds, in a resumed run.
    """

    def __init__(
        self,
        writer: RunWriter,
        task: Task,
        *,
        checkpoint_every_steps: int = 1,
        listener: Listener | None = None,
        stop: Callable[[], bool] | None = None,
        before: RunData | None = None,
    ) -> None:
        self.hops = self.excluded = self.unsettled = 0
        self.validation_accuracy: dict[int, float] = {}
        self._writer = writer
        self._task = task
        self._every = checkpoint_every_steps
        self._listener = listener
        self._stop = stop
        self._step = 0
        self._record_s = 0.0
        self._synced = time.monotonic()
        self._checkpoints = CheckpointFile(checkpoint_path(writer.path))
        self._known: dict[str, int] = {}
        if before is not None:
            self._continue(before)

    def _continue(self, before: RunData) -> None:
        self.hops, self.excluded, self.unsettled = (
            int(before.steps[name].sum()) for name in ("hops", "excluded", "unsettled")
        )
        epochs = before.epochs
        self.validation_accuracy = dict(
            zip(epochs["epoch"].tolist(), epochs["validation_accuracy"].tolist(), strict=True)
        )
        recorded = {
            "parameters": [snapshot.epoch for snapshot in before.snapshots],
            "responses": [snapshot.epoch for snapshot in before.responses],
            "phases": [snapshot.epoch for snapshot in before.phases],
            "gradients": [snapshot.epoch for snapshot in before.gradients],
            "plans": [snapshot.epoch for snapshot in before.plans],
        }
        self._known = {name: max(known) for name, known in recorded.items() if known}

    def on_step(self, row: StepRow, state: TrainingState) -> None:
        """Record one step; stop here if asked to."""
        started = time.perf_counter()
        # A row cannot hold the time of its own writing: it has that of the row before.
        self._writer.record_step(dataclasses.replace(row, duration_record_s=self._record_s))
        self._step = state.step
        self.hops += row.hops
        self.excluded += row.excluded
        self.unsettled += row.unsettled
        stop = self._stop is not None and self._stop()
        if stop or state.step % self._every == 0:
            self._checkpoint(state, sync=stop)
        self._record_s = time.perf_counter() - started
        if self._listener is not None:
            self._listener.on_step(row, state)
        if stop:
            raise RunInterrupted(self._writer.path)

    def on_epoch(self, row: EpochRow, state: TrainingState) -> None:
        """Record one epoch; stop here if asked to."""
        self._writer.record_epoch(row)
        self.validation_accuracy[row.epoch] = row.validation_accuracy
        stop = self._stop is not None and self._stop()
        self._checkpoint(state, sync=stop)
        if self._listener is not None:
            self._listener.on_epoch(row, state)
        if stop:
            raise RunInterrupted(self._writer.path)

    def on_parameters(
        self, epoch: int, step: int, master: Parameters, effective: Parameters
    ) -> None:
        """Record parameters, unless the file has them from before an interruption."""
        self._step = step
        if self._known.get("parameters", -1) < epoch:
            self._writer.record_parameters(epoch, step, master, effective)

    def on_gradients(
        self, epoch: int, step: int, mean: Parameters, standard_error: Parameters
    ) -> None:
        """Record the mean gradient of an epoch, unless the file has it."""
        if self._known.get("gradients", -1) < epoch:
            self._writer.record_gradients(epoch, step, mean, standard_error)

    def on_plan(self, epoch: int, step: int, plan: NudgePlan) -> None:
        """Record a choice, unless the file has it."""
        if self._known.get("plans", -1) < epoch:
            self._writer.record_plan(epoch, step, dataclasses.asdict(plan))

    def on_response(
        self, epoch: int, response: FloatArray, phases: FloatArray, rows: IntArray
    ) -> None:
        """Record responses and phases, unless the file has them."""
        if self._known.get("responses", -1) < epoch:
            self._writer.record_response(epoch, self._step, response)
        if self._known.get("phases", -1) < epoch:
            self._writer.record_phases(
                epoch, self._step, phases, self._task.targets[rows], self._task.labels[rows]
            )

    def close(self) -> None:
        """Let go of the checkpoint; harmless if done twice."""
        self._checkpoints.close()

    def _checkpoint(self, state: TrainingState, *, sync: bool) -> None:
        sync = sync or time.monotonic() - self._synced >= SYNC_EVERY_S
        if sync:
            self._writer.sync()
            self._synced = time.monotonic()
        self._checkpoints.save(
            Checkpoint(
                state.step,
                state.epoch,
                state.to_arrays(),
                state.to_scalars(),
                self._writer.run_id,
            ),
            fsync=sync,
        )
