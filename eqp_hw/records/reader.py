"""Reading a run file, whether its run is finished, going on, or was killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import RecordError
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import Parameters

from .failures import record_failures
from .layout import decode_json, load_network, open_run_file, stored_specs
from .rows import CHECK
from .table import TableSpec, valid_rows

__all__ = [
    "GradientSnapshot",
    "ParameterSnapshot",
    "PhaseSnapshot",
    "PlanSnapshot",
    "ResponseSnapshot",
    "RunData",
    "RunResult",
    "read_network",
    "read_run",
]

Columns = dict[str, npt.NDArray[Any]]


@final
@dataclass(frozen=True, eq=False)
class ParameterSnapshot:
    """Parameters at one moment: as the optimiser and as the substrate held them."""

    epoch: int
    step: int
    master: Parameters
    effective: Parameters


@final
@dataclass(frozen=True, eq=False)
class GradientSnapshot:
    """Mean gradient over the steps of one epoch, and its standard error from read-out noise."""

    epoch: int
    step: int
    mean: Parameters
    standard_error: Parameters


@final
@dataclass(frozen=True, eq=False)
class PlanSnapshot:
    """How gradients are measured after so many epochs and steps: a `NudgePlan` as a mapping."""

    epoch: int
    step: int
    plan: dict[str, Any]


@final
@dataclass(frozen=True, eq=False)
class ResponseSnapshot:
    """Node responses ``chi`` at one moment, (N, n_outputs) in rad."""

    epoch: int
    step: int
    chi: FloatArray


@final
@dataclass(frozen=True, eq=False)
class PhaseSnapshot:
    """Free phases (k, N) and targets (k, n_targets) of k samples, rad, with labels (k,)."""

    epoch: int
    step: int
    phases: FloatArray
    targets: FloatArray
    labels: IntArray


@final
@dataclass(frozen=True, eq=False)
class RunResult:
    """Result of a finished run; arrays that were not recorded are None.

    Attributes
    ----------
    summary
        Named numbers and texts.
    confusion
        (K, K) counts; rows: true class, columns: class read out.
    predictions, labels
        (n,) classes of the test samples.
    scores
        (n, K) scores.
    parameters
        The trained network: the master parameters that were selected.
    """

    summary: dict[str, Any]
    confusion: npt.NDArray[Any] | None
    predictions: npt.NDArray[Any] | None
    labels: npt.NDArray[Any] | None
    scores: npt.NDArray[Any] | None
    parameters: Parameters | None


@final
@dataclass(frozen=True, eq=False)
class RunData:
    """All that a run file holds.

    Attributes
    ----------
    path
        The file.
    run_id
        Random name of the run.
    experiment
        Experiment file, TOML text.
    resolved
        The experiment with defaults.
    provenance
        Where the run came from.
    resumes
        The same of each continuation.
    network
        The graph.
    steps, epochs
        Columns by name, see `StepRow` and `EpochRow`.
    snapshots, responses, phases, gradients, plans
        In order of time.
    result
        None unless the run is finished.
    """

    path: Path
    run_id: str
    experiment: str
    resolved: dict[str, Any]
    provenance: dict[str, Any]
    resumes: tuple[dict[str, Any], ...]
    network: Network
    steps: Columns
    epochs: Columns
    snapshots: tuple[ParameterSnapshot, ...]
    responses: tuple[ResponseSnapshot, ...]
    phases: tuple[PhaseSnapshot, ...]
    gradients: tuple[GradientSnapshot, ...]
    plans: tuple[PlanSnapshot, ...]
    result: RunResult | None

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.result is not None


def read_run(path: str | Path) -> RunData:
    """Read a run file: of every table the rows that were written completely.

    A run may be read while it goes on.

    Raises
    ------
    RecordError
        Missing, not a run file, one of another version, or damaged.
    """
    source = Path(path)
    with record_failures(source, "the run file cannot be read"):
        file = open_run_file(source, "r")
        try:
            return _read(source, file)
        except (KeyError, ValueError, TypeError) as error:
            raise RecordError(f"{source}: damaged run file: {error}") from error
        finally:
            file.close()


def read_network(path: str | Path) -> Network:
    """Read the graph of a run file; errors as in `read_run`."""
    source = Path(path)
    with record_failures(source, "the run file cannot be read"):
        file = open_run_file(source, "r")
        try:
            return load_network(file)
        except (KeyError, ValueError, TypeError) as error:
            raise RecordError(f"{source}: damaged run file: {error}") from error
        finally:
            file.close()


def _read(path: Path, file: Any) -> RunData:
    network = load_network(file)
    specs = {spec.name: spec for spec in stored_specs(file, network)}
    snapshots = (
        ParameterSnapshot(
            epoch, step, _parameters(arrays, "master"), _parameters(arrays, "effective")
        )
        for epoch, step, arrays in _entries(file, specs.get("parameters"))
    )
    gradients = (
        GradientSnapshot(epoch, step, _parameters(arrays, "mean"), _parameters(arrays, "error"))
        for epoch, step, arrays in _entries(file, specs.get("gradients"))
    )
    plans = (
        PlanSnapshot(epoch, step, decode_json(arrays["plan"].tobytes().rstrip(b"\0")))
        for epoch, step, arrays in _entries(file, specs.get("plans"))
    )
    responses = _entries(file, specs.get("responses"))
    phases = _entries(file, specs.get("phases"))
    return RunData(
        path=path,
        run_id=str(file.attrs["run_id"]),
        experiment=_text(file["experiment"]),
        resolved=decode_json(_text(file["resolved"])),
        provenance=decode_json(_text(file["provenance"])),
        resumes=tuple(decode_json(_text(file["resumes"]))),
        network=network,
        steps=_columns(file["steps"]),
        epochs=_columns(file["epochs"]),
        snapshots=tuple(snapshots),
        responses=tuple(ResponseSnapshot(epoch, step, **a) for epoch, step, a in responses),
        phases=tuple(PhaseSnapshot(epoch, step, **a) for epoch, step, a in phases),
        gradients=tuple(gradients),
        plans=tuple(plans),
        result=_result(file),
    )


def _text(data: Any) -> str:
    return str(data.asstr()[()])


def _columns(data: Any) -> Columns:
    rows = valid_rows(data[()])
    names = rows.dtype.names or ()
    return {name: np.ascontiguousarray(rows[name]) for name in names if name != CHECK}


def _entries(file: Any, spec: TableSpec | None) -> list[tuple[int, int, Columns]]:
    if spec is None:
        return []
    rows = valid_rows(file[spec.rows_path][()])
    return [
        (
            int(row["epoch"]),
            int(row["step"]),
            {p.name: np.asarray(file[f"{spec.name}/{p.name}"][k]) for p in spec.payload},
        )
        for k, row in enumerate(rows)
    ]


def _parameters(arrays: Columns, which: str) -> Parameters:
    reverse = arrays.get(f"{which}_coupling_reverse")
    return Parameters(arrays[f"{which}_coupling"], arrays[f"{which}_bias"], reverse)


def _result(file: Any) -> RunResult | None:
    if "result" not in file:
        return None
    group = file["result"]
    arrays = {
        name: np.asarray(group[name][()]) if name in group else None
        for name in ("confusion", "predictions", "labels", "scores")
    }
    parameters = None
    if "coupling" in group:
        reverse = group["coupling_reverse"][()] if "coupling_reverse" in group else None
        parameters = Parameters(group["coupling"][()], group["bias"][()], reverse)
    return RunResult(decode_json(_text(group["summary"])), **arrays, parameters=parameters)
