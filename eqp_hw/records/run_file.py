"""The writer of a run file: one HDF5 file that can be read whatever happens to the run.

Two rules make it so. Recording overwrites space that the file has had since it was made
(`eqp_hw.records.table`). Whatever changes the file's structure, such as more space or the
result, is done on a copy, which then takes the file's name at once. Hence ``kill -9`` loses
at most the row in flight, at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import RecordError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters

from .atomic_file import build_file, publish_file, refuse_existing
from .checkpoint import checkpoint_path
from .contents import add_resume, store_origin, store_result
from .failures import record_failures
from .layout import (
    EPOCHS,
    PLANS,
    STEPS,
    encode_json,
    gradients_spec,
    load_network,
    open_run_file,
    parameters_spec,
    phases_spec,
    responses_spec,
    store_network,
)
from .live_file import LiveFile
from .rows import EpochRow, SnapshotRow, StepRow
from .table import RecordTable

__all__ = ["RunWriter"]


@final
class RunWriter:
    """Writes a run file, row by row; made by `create` or `reopen`.

    The file is locked while the writer is open: a second writer is refused, readers are not.

    Attributes
    ----------
    path
        The file.
    network
        The graph that is trained.
    run_id
        Random name of the run; a checkpoint carries it, so that it is never used for another
        run.
    """

    path: Path
    network: Network
    run_id: str

    def __init__(self, path: Path, file: Any, network: Network) -> None:
        """Use `create` or `reopen` instead."""
        self.path = path
        self.network = network
        self.run_id = str(file.attrs["run_id"])
        self._file = LiveFile(path, file, network)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        experiment: str,
        resolved: Mapping[str, object],
        provenance: Mapping[str, object],
        network: Network,
        force: bool = False,
    ) -> RunWriter:
        """Begin a new run file.

        Parameters
        ----------
        path
            Where; its folder must exist.
        experiment
            Experiment file, TOML text.
        resolved
            The experiment with all defaults filled in; anything JSON can hold.
        provenance
            See `eqp_hw.records.provenance.collect_provenance`.
        network
            The graph.
        force
            Replace an existing file (only once the new one is complete), and drop the
            checkpoint beside it.

        Raises
        ------
        RecordError
            The file exists and ``force`` is not set, it is in use by another process, or the
            place cannot be written.
        """
        target = Path(path)
        if target.is_dir():
            raise RecordError(f"{target}: a folder; the name of a run file is needed")
        refuse_existing(target, force)

        def fill(file: Any) -> None:
            store_origin(file, experiment, resolved, provenance)
            store_network(file, network)
            for spec in (STEPS, EPOCHS):
                RecordTable.create(file, spec)

        with record_failures(target, "the run file cannot be created"):
            file = build_file(target, fill, owned=False)
            publish_file(target, file, replace=force)
            if force:
                checkpoint_path(target).unlink(missing_ok=True)
        return cls(target, file, network)

    @classmethod
    def reopen(
        cls, path: str | Path, *, provenance: Mapping[str, object] | None = None
    ) -> RunWriter:
        """Open an existing run file to continue it.

        Parameters
        ----------
        path
            The file.
        provenance
            Recorded as one more entry of ``resumes``.

        Raises
        ------
        RecordError
            Not a run file, one of another version, damaged, or in use by another process.
        """
        target = Path(path)
        with record_failures(target, "the run file cannot be opened for writing"):
            file = open_run_file(target, "r+")
            try:
                writer = cls(target, file, load_network(file))
            except (KeyError, ValueError) as error:
                file.close()
                raise RecordError(f"{target}: damaged run file: {error}") from error
            except BaseException:
                file.close()
                raise
        try:
            if provenance is not None:
                writer._add_resume(provenance)
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def finished(self) -> bool:
        """Whether the file holds the result."""
        return self._file.finished

    @property
    def last_step(self) -> int | None:
        """Step number of the last step recorded, None before the first."""
        return self._file.last_step

    def record_step(self, row: StepRow) -> None:
        """Append one step.

        Raises
        ------
        RecordError
            Out of order, after `finish`, or the file cannot be written (for instance because
            the disk is full); the message says what is safe.
        """
        self._file.append(STEPS, row, {})

    def record_epoch(self, row: EpochRow) -> None:
        """Append one epoch; errors as in `record_step`."""
        self._file.append(EPOCHS, row, {})

    def record_parameters(
        self, epoch: int, step: int, master: Parameters, effective: Parameters
    ) -> None:
        """Append a snapshot of the parameters.

        Parameters
        ----------
        epoch, step
            Epochs and steps done.
        master
            What the optimiser holds.
        effective
            What the substrate says it holds.

        Raises
        ------
        RecordError
            As in `record_step`, or the parameters do not fit the network.
        """
        spec = parameters_spec(self.network, directed=master.directed)
        arrays = {
            f"{which}_{f.name}": getattr(part, f.name)
            for which, part in (("master", master), ("effective", effective))
            for f in fields(Parameters)
            if getattr(part, f.name) is not None
        }
        self._file.append(spec, SnapshotRow(epoch, step), arrays)

    def record_gradients(
        self, epoch: int, step: int, mean: Parameters, standard_error: Parameters
    ) -> None:
        """Append a mean gradient over an epoch and its standard error, as `record_parameters`."""
        spec = gradients_spec(self.network, directed=mean.directed)
        arrays = {
            f"{which}_{f.name}": getattr(part, f.name)
            for which, part in (("mean", mean), ("error", standard_error))
            for f in fields(Parameters)
            if getattr(part, f.name) is not None
        }
        self._file.append(spec, SnapshotRow(epoch, step), arrays)

    def record_plan(self, epoch: int, step: int, plan: Mapping[str, Any]) -> None:
        """Append how gradients are measured from here on; errors as in `record_step`."""
        (payload,) = PLANS.payload
        room = payload.shape[0]
        text = encode_json(plan).encode()
        if len(text) > room:
            text = encode_json({**plan, "reason": str(plan.get("reason", ""))[:200]}).encode()
        padded = np.zeros(room, np.uint8)
        padded[: len(text)] = np.frombuffer(text, np.uint8)
        self._file.append(PLANS, SnapshotRow(epoch, step), {"plan": padded})

    def record_response(self, epoch: int, step: int, chi: FloatArray) -> None:
        """Append node responses ``chi``, (N, n_outputs) in rad; errors as in `record_step`."""
        self._file.append(responses_spec(self.network), SnapshotRow(epoch, step), {"chi": chi})

    def record_phases(
        self,
        epoch: int,
        step: int,
        phases: FloatArray,
        targets: FloatArray,
        labels: npt.NDArray[Any],
    ) -> None:
        """Append free phases of chosen samples, the same number each time.

        Parameters
        ----------
        epoch, step
            Epochs and steps done.
        phases
            (k, N) rad.
        targets
            (k, n_targets) target phases, rad.
        labels
            (k,) classes.

        Raises
        ------
        RecordError
            As in `record_step`.
        """
        phases, targets = np.asarray(phases), np.asarray(targets)
        if phases.ndim != 2 or targets.ndim != 2:
            raise RecordError(
                f"{self.path}: phases and targets need one row a sample, not the shapes "
                f"{phases.shape} and {targets.shape}"
            )
        spec = phases_spec(self.network, len(phases), targets.shape[1])
        arrays = {"phases": phases, "targets": targets, "labels": labels}
        self._file.append(spec, SnapshotRow(epoch, step), arrays)

    def finish(
        self,
        result: Mapping[str, object],
        *,
        confusion: npt.NDArray[Any] | None = None,
        predictions: npt.NDArray[Any] | None = None,
        labels: npt.NDArray[Any] | None = None,
        scores: npt.NDArray[Any] | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """Write the result and give back the space that was not needed.

        Parameters
        ----------
        result
            Named numbers and texts.
        confusion
            (K, K) counts of test samples; rows: true class, columns: class read out.
        predictions, labels
            (n,) classes of the test samples.
        scores
            (n, K) scores of the classes.
        parameters
            The trained network: the master parameters that were selected.

        Raises
        ------
        RecordError
            As in `record_step`.
        """
        self._file.require_unfinished()
        arrays = {
            "confusion": confusion,
            "predictions": predictions,
            "labels": labels,
            "scores": scores,
        }
        if parameters is not None:
            arrays |= {item.name: getattr(parameters, item.name) for item in fields(Parameters)}
        self._file.finish(lambda file: store_result(file, result, arrays))

    def truncate(self, step: int, *, epoch: int | None = None) -> None:
        """Drop what was recorded after a checkpoint (and the result, if there is one).

        Parameters
        ----------
        step
            Last step to keep.
        epoch
            Last epoch to keep, in all tables but that of steps. A run may have been stopped
            after the last step of an epoch and before or after its evaluation; the
            checkpoint knows which.

        Raises
        ------
        RecordError
            The file cannot be written.
        """
        self._file.truncate(step, epoch)

    def sync(self) -> None:
        """Wait until all is on the disk, so that it survives a power failure too."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; harmless if done twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(RecordError):  # the first error is the one to show
                self.close()

    def _add_resume(self, provenance: Mapping[str, object]) -> None:
        self._file.change(lambda file: add_resume(file, provenance))
