"""The training loop: what is shuffled, what is used, what is selected, what survives a resume."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from eqp_hw.data.dataset import Split
from eqp_hw.errors import ConfigurationError, SubstrateError
from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.encodings import BinaryTarget
from eqp_hw.learning.estimators import Centred
from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.learning.optimisers import Adam, Momentum, Optimiser, RateTable
from eqp_hw.learning.recorder import NullRecorder
from eqp_hw.learning.state import TrainingState
from eqp_hw.learning.task import Task
from eqp_hw.learning.training import Trainer, TrainingOptions, TrainingResult
from eqp_hw.learning.update import Update, UpdateOptions
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.records.rows import EpochRow, StepRow
from eqp_hw.sim_backends.emulator import XYEmulator

NETWORK = Network.create(5, list(itertools.combinations(range(5), 2)), inputs=[0, 1], outputs=[4])
BITS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
LABELS = BITS[:, 0] ^ BITS[:, 1]


def _task(split: Split | None = None, copies: int = 1) -> Task:
    bits, labels = np.tile(BITS, (copies, 1)), np.tile(LABELS, copies)
    rows = np.arange(len(labels))
    read_out = BinaryTarget(2)
    return Task(
        inputs=np.where(bits == 1, np.pi / 2, -np.pi / 2),
        targets=read_out.encode(labels),
        labels=labels,
        split=Split(rows, rows, rows, disjoint=False) if split is None else split,
        read_out=read_out,
    )


class _Log:
    """Keeps everything, and may stop the run by an exception after some steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[StepRow] = []
        self.epochs: list[EpochRow] = []
        self.parameters: list[int] = []
        self.gradients: list[tuple[int, Parameters, Parameters]] = []
        self.plans: list[tuple[int, NudgePlan]] = []
        self.responses: list[tuple[int, FloatArray]] = []
        self.state: TrainingState | None = None
        self._stop_after = stop_after

    def on_step(self, row: StepRow, state: TrainingState) -> None:
        self.steps.append(row)
        self.state = state
        if row.step == self._stop_after:
            raise KeyboardInterrupt

    def on_epoch(self, row: EpochRow, state: TrainingState) -> None:
        self.epochs.append(row)
        self.state = state

    def on_parameters(
        self, epoch: int, step: int, master: Parameters, effective: Parameters
    ) -> None:
        self.parameters.append(epoch)

    def on_gradients(
        self, epoch: int, step: int, mean: Parameters, standard_error: Parameters
    ) -> None:
        self.gradients.append((epoch, mean, standard_error))

    def on_plan(self, epoch: int, step: int, plan: NudgePlan) -> None:
        self.plans.append((epoch, plan))

    def on_response(
        self, epoch: int, response: FloatArray, phases: FloatArray, rows: IntArray
    ) -> None:
        self.responses.append((epoch, response))


def _initial(seed: int = 1) -> TrainingState:
    rng = np.random.default_rng(seed)
    bias = np.zeros(5, complex)
    bias[NETWORK.free] = rng.uniform(-0.5, 0.5, 3) * np.exp(1j * rng.uniform(-np.pi, np.pi, 3))
    return TrainingState(Parameters(rng.normal(0, 0.7, NETWORK.n_couplings), bias))


def _run(
    state: TrainingState,
    options: TrainingOptions,
    recorder: _Log | NullRecorder,
    *,
    task: Task | None = None,
    optimiser: Optimiser | None = None,
    update: UpdateOptions | None = None,
    seed: int = 5,
) -> TrainingResult:
    streams = RandomStreams(seed)
    emulator = XYEmulator(NETWORK)
    controller = Controller(emulator, LogCosine(), Centred(), ControllerOptions(beta=0.1), streams)
    trainer = Trainer(
        controller,
        _task() if task is None else task,
        Update(
            NETWORK,
            emulator.capabilities,
            Adam() if optimiser is None else optimiser,
            RateTable(0.05),
            UpdateOptions() if update is None else update,
        ),
        options,
        streams,
        recorder,
    )
    return trainer.run(state)


def test_xor_is_learnt() -> None:
    log = _Log()
    result = _run(_initial(), TrainingOptions(epochs=120, validate_every=0), log)
    assert log.epochs[0].train_distance > 0.2
    assert result.train.distance < 0.01
    assert result.test.accuracy == 1.0


def test_same_seed_same_run_other_seed_other_run() -> None:
    options = TrainingOptions(epochs=6, batch_size=3)
    first = _run(_initial(), options, NullRecorder()).parameters.flatten()
    again = _run(_initial(), options, NullRecorder()).parameters.flatten()
    other = _run(_initial(), options, NullRecorder(), seed=6).parameters.flatten()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("stop_after", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("optimiser", [Adam(), Momentum()], ids=lambda o: o.name)
def test_a_run_stopped_anywhere_resumes_bit_for_bit(stop_after: int, optimiser: Optimiser) -> None:
    options = TrainingOptions(epochs=5, batch_size=3, snapshot_epochs=(0, 2))
    whole = _Log()
    expected = _run(_initial(), options, whole, optimiser=optimiser)
    first = _Log(stop_after)
    with pytest.raises(KeyboardInterrupt):
        _run(_initial(), options, first, optimiser=optimiser)
    assert first.state is not None
    # Through the very form in which a checkpoint keeps it.
    scalars = json.loads(json.dumps(first.state.to_scalars()))
    state = TrainingState.restore(first.state.to_arrays(), scalars)
    rest = _Log()
    result = _run(state, options, rest, optimiser=optimiser)
    assert np.array_equal(result.parameters.flatten(), expected.parameters.flatten())
    assert result.selected_epoch == expected.selected_epoch
    assert np.array_equal(result.test.output_phases, expected.test.output_phases)
    for name in ("cost", "distance", "gradient_norm_coupling", "residual_max", "hops"):
        resumed = [getattr(row, name) for row in first.steps + rest.steps]
        assert resumed == [getattr(row, name) for row in whole.steps]
    last = dataclasses.replace(rest.epochs[-1], duration_s=0)
    assert last == dataclasses.replace(whole.epochs[-1], duration_s=0)


def test_every_sample_is_used_once_an_epoch_in_a_fresh_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = _task(copies=3)
    seen: list[FloatArray] = []
    original = Controller.gradient

    def spy(
        self: Controller, inputs: FloatArray, targets: FloatArray, address: tuple[int, ...]
    ) -> object:
        seen.append(inputs)
        return original(self, inputs, targets, address)

    tagged = dataclasses.replace(task, inputs=task.inputs + 1e-3 * np.arange(12)[:, None])
    monkeypatch.setattr(Controller, "gradient", spy)
    log = _Log()
    _run(_initial(), TrainingOptions(epochs=2, batch_size=5), log, task=tagged)
    assert [row.n_samples for row in log.steps] == [5, 5, 2, 5, 5, 2]
    orders = []
    for epoch in range(2):
        rows = np.concatenate(seen[3 * epoch : 3 * epoch + 3])
        matches = [int(np.abs(tagged.inputs - row).sum(axis=1).argmin()) for row in rows]
        assert sorted(matches) == list(range(12))
        orders.append(matches)
    assert orders[0] != orders[1]


def test_input_noise_is_fresh_each_step_and_of_the_width_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = _task(copies=100)
    seen: list[FloatArray] = []
    original = Controller.gradient

    def spy(
        self: Controller, inputs: FloatArray, targets: FloatArray, address: tuple[int, ...]
    ) -> object:
        seen.append(inputs)
        return original(self, inputs, targets, address)

    monkeypatch.setattr(Controller, "gradient", spy)
    options = TrainingOptions(epochs=2, input_noise=0.2)
    _run(_initial(), options, _Log(), task=task)
    # Inputs of XOR are ∓π/2: what is left beside them is the noise.
    noise = [np.abs(inputs) - np.pi / 2 for inputs in seen]
    for one in noise:
        assert abs(one.std() - 0.2) < 0.02  # 800 draws: ± 2.5 %
        assert abs(one.mean()) < 0.04
    assert np.abs(np.sort(noise[0].ravel()) - np.sort(noise[1].ravel())).max() > 1e-3


def test_selection_takes_the_best_validation_and_early_stop_counts_from_it() -> None:
    rows = np.arange(4)
    task = _task(Split(rows, rows[:2], rows[2:], disjoint=False))
    log = _Log()
    options = TrainingOptions(epochs=2000, patience=8)
    result = _run(_initial(), options, log, task=task)
    scores = [(row.validation_accuracy, -row.validation_distance) for row in log.epochs]
    assert result.selected_epoch == int(np.argmax([a * 1e3 + d for a, d in scores])) + 1
    assert "no better validation for 8 epochs" in result.stopped_because
    assert len(log.epochs) == result.selected_epoch + 8


def test_stop_distance_ends_the_run() -> None:
    log = _Log()
    options = TrainingOptions(epochs=500, stop_distance=0.05, validate_every=0)
    result = _run(_initial(), options, log)
    assert "distance below 0.05" in result.stopped_because
    assert log.epochs[-1].train_distance < 0.05
    assert min(row.train_distance for row in log.epochs[:-1]) >= 0.05


def test_the_epoch_that_ends_the_run_early_is_validated() -> None:
    log = _Log()
    result = _run(_initial(), TrainingOptions(500, stop_distance=0.05, validate_every=499), log)
    assert len(log.epochs) < 499
    assert np.isfinite(log.epochs[-1].validation_accuracy)
    assert result.selected_epoch == len(log.epochs)


def test_snapshots_at_the_epochs_chosen_and_at_the_end() -> None:
    log = _Log()
    _run(_initial(), TrainingOptions(epochs=4, snapshot_epochs=(0, 2), probe_samples=2), log)
    assert log.parameters == [0, 2, 4]
    assert [epoch for epoch, _ in log.responses] == [0, 2, 4]
    assert all(chi.shape == (5, 1) for _, chi in log.responses)


def test_coupling_limit_projects_the_masters() -> None:
    options, update = TrainingOptions(epochs=30), UpdateOptions(coupling_limit=0.9)
    start = _initial()
    clipped = dataclasses.replace(start.master, coupling=np.clip(start.master.coupling, -0.9, 0.9))
    result = _run(TrainingState(clipped), options, NullRecorder(), update=update)
    assert np.abs(result.state.master.coupling).max() <= 0.9


def test_bias_limit_shortens_the_masters_and_keeps_their_angle() -> None:
    start = _initial()
    bias = start.master.bias.copy()
    free = np.flatnonzero(np.abs(bias) > 0)
    long = dataclasses.replace(start.master, bias=bias * (2 / np.abs(bias[free]).max()))
    options, update = TrainingOptions(epochs=1), UpdateOptions(bias_limit=0.05)
    result = _run(TrainingState(long), options, NullRecorder(), update=update)
    moved = result.state.master.bias[free]
    assert np.abs(moved).max() <= 0.05 * (1 + 1e-12)
    # One small step turns a field of length 2 by little.
    longest = np.abs(long.bias[free]).argmax()
    turned = np.angle(moved[longest] / long.bias[free][longest])
    assert abs(turned) < 0.2


@pytest.mark.parametrize("name", ["epochs", "batch_size", "evaluation_starts", "patience"])
def test_unusable_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"run\.{name} = 0"):
        TrainingOptions(**{"epochs": 3, name: 0})  # type: ignore[arg-type]


def test_a_run_that_left_the_range_of_settling_ends_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Controller.gradient

    def spoilt(
        self: Controller, inputs: FloatArray, targets: FloatArray, address: tuple[int, ...]
    ) -> object:
        found = original(self, inputs, targets, address)
        return dataclasses.replace(found, used=0, excluded=len(inputs))

    monkeypatch.setattr(Controller, "gradient", spoilt)
    with pytest.raises(SubstrateError, match=r"no sample of epoch 1 .*optimiser\.learning_rate"):
        _run(_initial(), TrainingOptions(epochs=3), _Log())


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_impossible_input_noise_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"run\.input_noise"):
        TrainingOptions(epochs=3, input_noise=value)
