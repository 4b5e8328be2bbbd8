"""The training loop: epochs, mini-batches, validation, selection, early stop.

Each epoch takes a fresh permutation of the training samples and uses the short last batch.
The test set is looked at once, at the end, with the parameters chosen on validation data.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.errors import SubstrateError
from eqp_hw.learning.controller import Controller, GradientEstimate
from eqp_hw.learning.costs import distance
from eqp_hw.learning.epoch_gradient import EpochGradient
from eqp_hw.learning.estimators import Estimator, make_estimator
from eqp_hw.learning.nudge_plan import NudgePlan, Planner
from eqp_hw.learning.recorder import NullRecorder, Recorder
from eqp_hw.learning.response import measure_response
from eqp_hw.learning.state import EpochSums, TrainingState
from eqp_hw.learning.step_report import step_row
from eqp_hw.learning.task import Task
from eqp_hw.learning.training_options import TrainingOptions
from eqp_hw.learning.update import Update
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.records.rows import EpochRow

__all__ = ["PartScore", "Trainer", "TrainingOptions", "TrainingResult"]

_log = logging.getLogger("eqp_hw.learning.training")


@final
@dataclass(frozen=True, eq=False)
class PartScore:
    """How one part of the samples is read out from random starts.

    Attributes
    ----------
    accuracy, cost, distance
        Means over samples and starts.
    predictions
        (n_starts, n) class numbers.
    output_phases
        (n_starts, n, n_outputs) rad.
    unsettled
        Free phases that did not settle.
    """

    accuracy: float
    cost: float
    distance: float
    predictions: IntArray
    output_phases: FloatArray
    unsettled: int


@final
@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training ended with.

    Attributes
    ----------
    parameters, selected_epoch
        The selected master parameters and the epoch they come from.
    state
        The last state.
    train, test
        Scores of the selected parameters.
    stopped_because
        Why training ended, in a few words.
    """

    parameters: Parameters
    selected_epoch: int
    state: TrainingState
    train: PartScore
    test: PartScore
    stopped_because: str


@final
class Trainer:
    """Trains one network on one task.

    Parameters
    ----------
    controller
        Measures gradients and free phases.
    task
        The samples.
    update
        How parameters move.
    options
        See `TrainingOptions`.
    streams
        All randomness.
    recorder
        Listens; nobody by default.
    planner
        Chooses how gradients are measured; the controller's own settings by default.
    """

    def __init__(
        self,
        controller: Controller,
        task: Task,
        update: Update,
        options: TrainingOptions,
        streams: RandomStreams,
        recorder: Recorder | None = None,
        planner: Planner | None = None,
    ) -> None:
        self._controller = controller
        self._substrate = controller.substrate
        self._task = task
        self._update = update
        self._planner = planner
        self._options = options
        self._streams = streams
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        self._copies = controller.options.initial_states
        self._effective: Parameters | None = None

    def run(self, state: TrainingState) -> TrainingResult:
        """Train from ``state`` (fresh, or as a checkpoint left it) to the end."""
        options = self._options
        if state.substrate:
            self._substrate.restore_memory(state.substrate)
        self._effective = self._controller.program(self._written(state))
        if state.plan is not None:
            self._follow(state.plan)
        reason = self._stop_reason(state)
        # A resumed run takes the snapshot of its checkpoint's epoch again: it may be missing.
        if state.batch == 0:
            self._snapshot_if_due(state, reason)
        while reason is None:
            state = self._epoch(state)
            reason = self._stop_reason(state)
            self._snapshot_if_due(state, reason)
        chosen, epoch = state.master, state.epoch
        if options.selection == "best-validation" and state.best is not None:
            chosen, epoch = state.best, state.best_epoch
        self._controller.program(chosen)
        return TrainingResult(
            parameters=chosen,
            selected_epoch=epoch,
            state=state,
            train=self.score(self._task.split.train, "final train", (epoch,)),
            test=self.score(self._task.split.test, "test", (epoch,)),
            stopped_because=reason,
        )

    def score(self, rows: IntArray, purpose: str, address: tuple[int, ...]) -> PartScore:
        """Read out samples ``rows`` with the programmed parameters; NaN where there are none."""
        task, starts = self._task, self._options.evaluation_starts
        if not len(rows):
            nothing = np.zeros((starts, 0), dtype=np.int64)
            outputs = np.zeros((starts, 0, len(self._substrate.network.outputs)))
            return PartScore(math.nan, math.nan, math.nan, nothing, outputs, 0)
        network = self._substrate.network
        phases = np.empty((starts, len(rows), len(network.outputs)))
        unsettled = 0
        for start in range(starts):
            evaluation = self._controller.evaluate(task.inputs[rows], (*address, start), purpose)
            phases[start] = evaluation.phases[:, network.outputs]
            unsettled += int((~evaluation.settled).sum())
        predictions = np.stack([task.read_out.decode(one) for one in phases])
        targets = task.targets[rows]
        return PartScore(
            accuracy=float((predictions == task.labels[rows]).mean()),
            cost=float(np.mean([self._controller.cost.value(p, targets) for p in phases])),
            distance=float(np.mean([distance(p, targets) for p in phases])),
            predictions=predictions,
            output_phases=phases,
            unsettled=unsettled,
        )

    def rehearse(self, master: Parameters) -> None:
        """Let the estimator look at first free states, before anything is recorded.

        Raises
        ------
        CapabilityError
            The estimator cannot work there, e.g. oscillates too fast for the relaxation.
        """
        estimator = self._controller.estimator
        if type(estimator).check is Estimator.check:
            return
        self._controller.program(master)
        rows = self._probes()[: self._substrate.capabilities.batch_limit]
        inputs, targets = self._task.inputs[rows], self._task.targets[rows]
        estimator.check(self._controller.free_round(inputs, targets, (0,), "rehearsal"))

    def _begin_epoch(self, state: TrainingState) -> TrainingState:
        """Choose anew how to measure, and measure the null contrast, where either is due."""
        rows = self._probes()
        inputs, targets = self._task.inputs[rows], self._task.targets[rows]
        address = (state.epoch,)
        planner = self._planner
        if planner is not None and (state.plan is None or planner.due(state.epoch)):
            plan = planner.plan(self._controller, inputs, targets, address, state.plan)
            _log.info("epoch %d: %s", state.epoch + 1, plan.reason)
            self._follow(plan)
            self._recorder.on_plan(state.epoch, state.step, plan)
            state = dataclasses.replace(state, plan=plan)
        every = self._options.null_every
        if every and state.epoch % every == 0:
            number = self._streams.number("null contrast", *address)
            found = self._controller.gradient(inputs, targets, (number,), nothing=True)
            if found.used:
                state = dataclasses.replace(state, null=found.gradient)
        return state

    def _follow(self, plan: NudgePlan) -> None:
        self._controller = self._controller.changed(
            make_estimator(plan.kind, plan.options),
            beta=plan.beta,
            repeats=plan.repeats,
            interleave=plan.interleave,
            attenuation=plan.attenuation,
            nudge_limit=plan.nudge_limit,
        )

    def _written(self, state: TrainingState) -> Parameters:
        return self._update.written(state.master, self._streams.generator("rounding", state.step))

    def _probes(self) -> IntArray:
        """Return training samples spread over the training part: files are often sorted."""
        train = self._task.split.train
        count = min(max(self._options.probe_samples, 1), len(train))
        return train[np.linspace(0, len(train) - 1, count).astype(np.int64)]

    def _epoch(self, state: TrainingState) -> TrainingState:
        started = time.perf_counter()
        if state.batch == 0:
            state = self._begin_epoch(state)
        train = self._task.split.train
        order = train[self._streams.generator("shuffle", state.epoch).permutation(len(train))]
        size = self._options.batch_size or len(order)
        for start in range(state.batch * size, len(order), size):
            state = self._step(state, order[start : start + size])
        return self._end_epoch(state, started)

    def _step(self, state: TrainingState, rows: IntArray) -> TrainingState:
        started = time.perf_counter()
        task = self._task
        inputs = self._noisy(task.inputs[rows], state.step)
        estimate = self._controller.gradient(inputs, task.targets[rows], (state.step,))
        update_started = time.perf_counter()
        moved, memory = state.master, state.optimiser
        if estimate.used:
            moved, memory = self._update.step(
                state.master, state.optimiser, estimate, state.null, state.epoch
            )
        else:
            # No gradient at all: momentum alone must not go on moving the parameters.
            _log.warning("step %d: no sample gave a gradient; nothing is changed", state.step + 1)
        asked = dataclasses.replace(state, master=moved, step=state.step + 1)
        self._effective = self._controller.program(self._written(asked))
        if self._update.options.master == "direct":
            moved = self._effective
        accuracy = task.accuracy(
            estimate.output_phases, np.tile(rows, self._controller.options.initial_states)
        )
        now = time.perf_counter()
        row = step_row(
            state,
            estimate,
            moved,
            self._controller.options,
            accuracy=accuracy,
            n_samples=len(rows),
        )
        row = dataclasses.replace(
            row,
            duration_update_s=estimate.duration_statistics_s + now - update_started,
            duration_total_s=now - started,
        )
        state = dataclasses.replace(
            state,
            master=moved,
            optimiser=memory,
            batch=state.batch + 1,
            step=state.step + 1,
            sums=state.sums.add(
                len(rows),
                estimate.cost,
                estimate.distance,
                accuracy,
                estimate.hops,
                estimate.excluded,
            ),
            gradients=self._summed(state, estimate),
            substrate=self._substrate.store_memory(),
        )
        self._recorder.on_step(row, state)
        return state

    def _summed(self, state: TrainingState, estimate: GradientEstimate) -> EpochGradient | None:
        """Return the gradients of this epoch so far, if its end may be a snapshot."""
        options = self._options
        may_end = options.patience is not None or options.stop_distance is not None
        epoch = state.epoch + 1
        if not (may_end or epoch in options.snapshot_epochs or epoch == options.epochs):
            return None
        sums = state.gradients if state.batch else None  # those of the last epoch are done with
        if not estimate.used:
            return sums
        return EpochGradient.first(estimate) if sums is None else sums.add(estimate)

    def _noisy(self, inputs: FloatArray, step: int) -> FloatArray:
        if not self._options.input_noise:
            return inputs
        rng = self._streams.generator("input noise", step)
        return inputs + rng.normal(0.0, self._options.input_noise, inputs.shape)

    def _end_epoch(self, state: TrainingState, started: float) -> TrainingState:
        options, sums, epoch = self._options, state.sums, state.epoch + 1
        if sums.n_samples and sums.excluded >= sums.n_samples * self._copies:
            raise SubstrateError(
                f"no sample of epoch {epoch} gave a gradient, so that nothing is learnt: the "
                "parameters have left the range where phases settle (lower "
                "optimiser.learning_rate or estimator.beta, or set run.coupling_limit)"
            )
        n, rates = max(sums.n_samples, 1), self._update.rates
        last = epoch == options.epochs or self._near_enough(sums.distance / n)
        due = options.validate_every and (epoch % options.validate_every == 0 or last)
        row = EpochRow(
            epoch=epoch,
            step=state.step,
            train_cost=sums.cost / n,
            train_distance=sums.distance / n,
            train_accuracy=sums.correct / n,
            validation_cost=math.nan,
            validation_distance=math.nan,
            validation_accuracy=math.nan,
            hops=sums.hops,
            excluded=sums.excluded,
            learning_rate=rates.learning_rate * rates.decay**state.epoch,
            duration_s=0.0,
        )
        stale = state.stale_epochs + 1
        state = dataclasses.replace(
            state,
            epoch=epoch,
            batch=0,
            sums=EpochSums(),
            stale_epochs=stale,
            epoch_distance=row.train_distance,
        )
        if due and len(self._task.split.validation):
            score = self.score(self._task.split.validation, "validation", (epoch,))
            row = dataclasses.replace(
                row,
                validation_cost=score.cost,
                validation_distance=score.distance,
                validation_accuracy=score.accuracy,
            )
            if (score.accuracy, -score.distance) > (state.best_accuracy, -state.best_distance):
                state = dataclasses.replace(
                    state,
                    best=state.master,
                    best_epoch=epoch,
                    best_accuracy=score.accuracy,
                    best_distance=score.distance,
                    stale_epochs=0,
                )
        state = dataclasses.replace(state, substrate=self._substrate.store_memory())
        row = dataclasses.replace(row, duration_s=time.perf_counter() - started)
        self._recorder.on_epoch(row, state)
        return state

    def _stop_reason(self, state: TrainingState) -> str | None:
        options = self._options
        if state.epoch >= options.epochs:
            return "all epochs done"
        if self._near_enough(state.epoch_distance):
            return f"distance below {options.stop_distance:g}"
        if options.patience is not None and state.stale_epochs >= options.patience:
            return f"no better validation for {options.patience} epochs"
        return None

    def _near_enough(self, distance: float) -> bool:
        limit = self._options.stop_distance
        return limit is not None and distance < limit

    def _snapshot_if_due(self, state: TrainingState, stop_reason: str | None) -> None:
        if state.epoch in self._options.snapshot_epochs or stop_reason is not None:
            self._snapshot(state)

    def _snapshot(self, state: TrainingState) -> None:
        if self._effective is None:
            raise RuntimeError("parameters are written before anything is recorded")
        if state.gradients is not None:
            sums = state.gradients
            self._recorder.on_gradients(state.epoch, state.step, sums.mean(), sums.standard_error())
        self._recorder.on_parameters(state.epoch, state.step, state.master, self._effective)
        if not (self._options.probe_samples and len(self._task.split.train)):
            return
        rows = self._probes()
        chi, phases = measure_response(self._controller, self._task.inputs[rows], (state.epoch,))
        good = np.isfinite(chi).all(axis=(1, 2))
        rms = np.full(chi.shape[1:], np.nan)
        if good.any():
            rms = np.sqrt((chi[good] ** 2).mean(axis=0))
        self._recorder.on_response(state.epoch, rms, phases, rows)
