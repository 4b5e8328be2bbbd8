"""Running an experiment into a run file, and continuing one that was interrupted."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import ConfigurationError, DataError, RecordError
from eqp_hw.learning.state import TrainingState
from eqp_hw.learning.training import PartScore
from eqp_hw.records.atomic_file import refuse_existing
from eqp_hw.records.checkpoint import checkpoint_path, load_checkpoint
from eqp_hw.records.failures import record_failures
from eqp_hw.records.provenance import collect_provenance
from eqp_hw.records.reader import RunData, read_run
from eqp_hw.records.run_file import RunWriter

from .assemble import Assembly, Experiment, split_kind
from .listener import Listener, RunPlan
from .origin import Origin
from .outcome import RunOutcome, read_outcome, summarise
from .recommended import calibration_record, with_stated_beta
from .recording import RunFileRecorder
from .rig_changes import (
    accepted_calibration,
    accepted_rig,
    refuse_changed_calibration,
    refuse_changed_rig,
)
from .schema import ExperimentSettings

__all__ = ["Listener", "default_output", "resume_run", "run_experiment"]

_log = logging.getLogger("eqp_hw.experiment.run")

Stop = Callable[[], bool]


def default_output(experiment: Experiment, folder: str | Path = "runs") -> Path:
    """Return ``runs/<experiment>-<UTC time>.h5``, making the folder.

    Raises
    ------
    RecordError
        The folder cannot be made.
    """
    place = Path(folder)
    with record_failures(place, "the folder of run files cannot be made"):
        place.mkdir(parents=True, exist_ok=True)
    return place / f"{experiment.origin.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.h5"


def run_experiment(
    experiment: Experiment,
    output: str | Path | None = None,
    *,
    force: bool = False,
    listener: Listener | None = None,
    stop: Stop | None = None,
) -> RunOutcome:
    """Train and record.

    Parameters
    ----------
    experiment
        What to do.
    output
        Run file; by default `default_output`.
    force
        Replace an existing run file.
    listener
        Told of steps and epochs.
    stop
        Asked after each step whether to stop there, resumable.

    Raises
    ------
    EqpError
        Something cannot be used, or the record cannot be written; nothing is overwritten.
    RunInterrupted
        ``stop`` said so.
    """
    if output is not None:
        refuse_existing(Path(output), force)  # before any time is spent
    with experiment.build() as assembly:
        assembly.trainer().rehearse(assembly.initial)
        path = default_output(experiment) if output is None else Path(output)
        writer = RunWriter.create(
            path,
            experiment=experiment.origin.text,
            resolved={**assembly.settings.resolved(), "derived": _derived(experiment, assembly)},
            provenance=_provenance(assembly),
            network=assembly.network,
            force=force,
        )
        with writer, closing(_recorder(assembly, writer, listener, stop)) as recorder:
            state = TrainingState(assembly.initial)
            return _train(assembly, writer, recorder, state, listener, earlier_s=0.0)


def resume_run(
    path: str | Path,
    *,
    experiment: Experiment | None = None,
    accept_changed_rig: bool = False,
    listener: Listener | None = None,
    stop: Stop | None = None,
) -> RunOutcome:
    """Continue a run from its checkpoint, with the experiment that its file holds.

    On an emulator the result is bit-identical to that of a run never interrupted. A finished
    run is left alone; its outcome says `RunOutcome.already_finished`.

    Parameters
    ----------
    path
        Run file; its checkpoint stands beside it.
    experiment
        Needed where the run was made from Python objects: the same experiment again.
    accept_changed_rig
        Go on although the rig file no longer says what it said, or the rig has another
        calibration, and note the new ones in the run file.
    listener, stop
        As in `run_experiment`.

    Raises
    ------
    RecordError
        No run file, one of another version or in use, or its checkpoint is missing.
    ConfigurationError
        The rig file has changed, or the calibration in force.
    DataError
        The data are no longer those that the run began with.
    EqpError
        Otherwise as in `run_experiment`.
    """
    target = Path(path)
    data = read_run(target)
    if data.finished:
        checkpoint_path(target).unlink(missing_ok=True)  # left by a run killed at its very end
        return read_outcome(data)
    if experiment is None:
        experiment = _stored_experiment(data)
    else:
        experiment = _with_beta_of(data, experiment)
        if experiment.settings.resolved() != _settings_of(data):
            raise ConfigurationError(
                "the experiment is not the one that the run was begun with",
                source=target,
                allowed="the same settings",
            )
    rig = _substrate_file(experiment)
    if rig is not None and not accept_changed_rig:
        refuse_changed_rig(data, *rig)
    with experiment.build(data.network) as assembly:
        _check_data(data, assembly)
        provenance = _provenance(assembly)
        if rig is not None and rig[0] != accepted_rig(data):
            provenance["substrate_file"] = rig[0]
        if not accept_changed_rig:
            refuse_changed_calibration(data, _calibration(assembly))
        elif _calibration(assembly) != accepted_calibration(data):
            provenance["calibration"] = _calibration(assembly)
        with RunWriter.reopen(target, provenance=provenance) as writer:
            state = _restore(writer, assembly)
            writer.truncate(state.step, epoch=state.epoch)
            before = read_run(target)
            earlier_s = float(before.steps["duration_total_s"].sum())
            with closing(_recorder(assembly, writer, listener, stop, before)) as recorder:
                return _train(assembly, writer, recorder, state, listener, earlier_s=earlier_s)


def _recorder(
    assembly: Assembly,
    writer: RunWriter,
    listener: Listener | None,
    stop: Stop | None,
    before: RunData | None = None,
) -> RunFileRecorder:
    return RunFileRecorder(
        writer,
        assembly.task,
        checkpoint_every_steps=assembly.settings.run.checkpoint_every_steps,
        listener=listener,
        stop=stop,
        before=before,
    )


def _train(
    assembly: Assembly,
    writer: RunWriter,
    recorder: RunFileRecorder,
    state: TrainingState,
    listener: Listener | None,
    *,
    earlier_s: float,
) -> RunOutcome:
    started = time.perf_counter()
    if listener is not None:
        listener.on_begin(_plan(assembly, writer.path, state))
    result = assembly.trainer(recorder).run(state)
    summary = summarise(
        result,
        seconds=earlier_s + time.perf_counter() - started,
        hops=recorder.hops,
        excluded=recorder.excluded,
        unsettled=recorder.unsettled,
        validation_accuracy=recorder.validation_accuracy,
        engine=assembly.engine,
        title=_title(assembly),
    )
    writer.finish(summary, **_test_arrays(assembly, result.test), parameters=result.parameters)
    recorder.close()
    checkpoint_path(writer.path).unlink(missing_ok=True)
    return RunOutcome(writer.path, {**summary, "finished": True}, result)


def _test_arrays(assembly: Assembly, test: PartScore) -> dict[str, npt.NDArray[Any]]:
    """Return what the file keeps of the test: all random starts, one after the other."""
    read_out, n_classes = assembly.task.read_out, assembly.dataset.n_classes
    starts = len(test.predictions)
    labels = np.tile(assembly.task.labels[assembly.task.split.test], starts)
    predictions = test.predictions.ravel()
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    scores = np.zeros((0, n_classes))
    if len(labels):
        outputs = test.output_phases.reshape(len(labels), -1)
        scores = read_out.scores(outputs)
    return {
        "confusion": confusion,
        "predictions": predictions,
        "labels": labels,
        "scores": scores,
    }


def _plan(assembly: Assembly, path: Path, state: TrainingState) -> RunPlan:
    split, run = assembly.task.split, assembly.settings.run
    return RunPlan(
        run_file=path,
        title=_title(assembly),
        engine=assembly.engine,
        epochs=run.epochs,
        steps_per_epoch=math.ceil(len(split.train) / (run.batch_size or len(split.train))),
        n_train=len(split.train),
        n_validation=len(split.validation),
        n_test=len(split.test),
        start=state,
    )


def _title(assembly: Assembly) -> str:
    return f"{assembly.dataset.name} on {assembly.network.name}"


def _derived(experiment: Experiment, assembly: Assembly) -> dict[str, Any]:
    """Return what followed from the settings, for readers of the run file and for `resume_run`."""
    dataset, split, task = assembly.dataset, assembly.task.split, assembly.task
    rig = _substrate_file(experiment)
    return {
        "title": _title(assembly),
        "base": str(experiment.origin.base),
        "dataset": dataset.name,
        "data_sha256": dataset.fingerprint(),
        "class_names": list(dataset.class_names),
        "feature_names": list(dataset.feature_names),
        "image_shape": dataset.image_shape,
        "split_kind": split_kind(assembly.settings.task.split, dataset),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "input_encoder": assembly.encoder.to_config(),
        "target_encoding": task.read_out.to_config(),
        **_of_beta(experiment, assembly),
        "snapshot_epochs": list(assembly.settings.run.snapshots),
        **({} if rig is None else {"substrate_file": rig[0]}),
        **({} if _calibration(assembly) is None else {"calibration": _calibration(assembly)}),
    }


def _of_beta(experiment: Experiment, assembly: Assembly) -> dict[str, Any]:
    """Say so where β is the calibration's: the run file's settings then state it."""
    if assembly.settings.estimator == experiment.settings.estimator:
        return {}
    return {"beta_from": "calibration"}


def _calibration(assembly: Assembly) -> dict[str, Any] | None:
    return calibration_record(assembly.substrate)


def _with_beta_of(data: RunData, experiment: Experiment) -> Experiment:
    """Return the experiment with the β that the run took from its calibration, if it did."""
    beta = _settings_of(data)["estimator"]["beta"]
    if "beta" in experiment.settings.estimator.model_fields_set or not isinstance(beta, float):
        return experiment
    settings = with_stated_beta(experiment.settings, beta)
    return dataclasses.replace(experiment, settings=settings)


def _substrate_file(experiment: Experiment) -> tuple[str, Path] | None:
    """Return text and path of the file that describes the substrate, as a rig file does."""
    name = experiment.settings.substrate.options.get("file")
    if not isinstance(name, str) or experiment.parts.substrate is not None:
        return None
    path = experiment.origin.base / Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8", errors="replace"), path
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"cannot be read: {reason}", source=path) from error


def _provenance(assembly: Assembly) -> dict[str, Any]:
    return collect_provenance(
        engine=assembly.engine,
        seeds={"run": assembly.settings.run.seed},
        data=assembly.dataset.fingerprint(),
    )


def _settings_of(data: RunData) -> Mapping[str, Any]:
    return {name: table for name, table in data.resolved.items() if name != "derived"}


def _stored_experiment(data: RunData) -> Experiment:
    base = Path(str(data.resolved.get("derived", {}).get("base", ".")))
    origin = Origin(base, str(data.path), data.experiment)
    with origin.named_in_errors():
        return Experiment(ExperimentSettings.parse(_settings_of(data)), origin)


def _check_data(data: RunData, assembly: Assembly) -> None:
    known, now = data.provenance.get("data_sha256"), assembly.dataset.fingerprint()
    if known != now:
        raise DataError(
            f"the data set {assembly.dataset.name!r} is no longer the one that the run began "
            "with, so the run cannot be continued",
            source=data.path,
            field="data_sha256",
            value=now[:12],
            allowed=f"{str(known)[:12]}..., the data as they were; or a new run",
        )
    before = data.provenance.get("engine")
    if before != assembly.engine:
        _log.warning(
            "the run began on %s and goes on with %s: the result is as exact, but not "
            "bit-identical",
            before,
            assembly.engine,
        )


def _restore(writer: RunWriter, assembly: Assembly) -> TrainingState:
    path, last = checkpoint_path(writer.path), writer.last_step or 0
    if not path.exists():
        if last > assembly.settings.run.checkpoint_every_steps:
            raise RecordError(
                f"{path}: the checkpoint is missing, so the run cannot be continued after step "
                f"{last}; put it back beside the run file, or start a new run"
            )
        return TrainingState(assembly.initial)  # killed before its first checkpoint
    checkpoint = load_checkpoint(path, run_id=writer.run_id)
    if checkpoint.step > last:
        _log.warning(
            "%s: steps %d to %d are not in the file (power failure?); training itself goes on "
            "exactly from its checkpoint",
            writer.path,
            last + 1,
            checkpoint.step,
        )
    return TrainingState.restore(checkpoint.arrays, checkpoint.state)
