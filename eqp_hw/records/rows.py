"""What a run file says of each step, of each epoch, and of each snapshot: its columns.

The HDF5 columns, with their units and descriptions, are made from the fields of these
classes, so a quantity is described in one place.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, final, get_type_hints

import numpy as np

__all__ = ["CHECK", "Column", "EpochRow", "SnapshotRow", "StepRow", "columns", "row_dtype"]

CHECK = "check"
"""Last column of every table: the CRC-32 of the row's other bytes. A row whose writing was
cut off, or that was never written, does not match it."""


@final
@dataclass(frozen=True)
class Column:
    """One quantity of a row.

    Attributes
    ----------
    name
        Field name.
    dtype
        Type in the file: int64 or float64.
    unit
        Unit symbol; "1" for pure numbers.
    description
        One line.
    """

    name: str
    dtype: np.dtype[Any]
    unit: str
    description: str


def _column(unit: str, description: str) -> Any:
    return dataclasses.field(metadata={"unit": unit, "description": description})


@final
@dataclass(frozen=True)
class StepRow:
    """One training step (one mini-batch, one parameter update).

    The meaning and unit of each field stand beside it; they are written to the file as well.
    """

    step: int = _column("1", "steps done, this one included; strictly increasing")
    epoch: int = _column("1", "epoch that the step belongs to")
    cost: float = _column("1", "training cost of the free state, mean over the mini-batch")
    distance: float = _column(
        "1", "C_sim = 1/2 sum over outputs of (1 - cos(phase - target)), mean over the mini-batch"
    )
    accuracy: float = _column("1", "share of the mini-batch read out correctly in the free phase")
    gradient_norm_coupling: float = _column("1", "Euclidean norm of the coupling gradient")
    gradient_norm_bias: float = _column(
        "1", "Euclidean norm of the bias gradient, both quadratures"
    )
    update_norm: float = _column("1", "Euclidean norm of the change of all master parameters")
    hops: int = _column("1", "nudged phases that left the basin of their free phase")
    halvings: int = _column("1", "times that the nudge was halved because of a hop")
    restarts: int = _column("1", "samples measured again from a new start")
    excluded: int = _column("1", "samples left without a usable estimate")
    limited: int = _column("1", "samples whose weight a response limit lowered")
    unsettled: int = _column("1", "measurements that did not end in an equilibrium")
    residual_max: float = _column("1", "largest |dF/dphase| met at an equilibrium")
    displacement_max: float = _column("rad", "largest |phase shift| between free and nudged state")
    n_samples: int = _column("1", "samples in the mini-batch")
    beta: float = _column("1", "nudge strength asked for; that of a sample may be lower")
    repeats: int = _column("1", "reads averaged for each state")
    gradient_error: float = _column(
        "1", "Euclidean norm of the standard errors of the coupling gradient, from read-out noise"
    )
    signal_to_noise: float = _column(
        "1", "median over couplings of |gradient| / standard error; NaN where reads are exact"
    )
    lock_in_alarm: float = _column(
        "1", "largest quadrature over in-phase response of a lock-in; NaN for other estimators"
    )
    duration_free_s: float = _column("s", "wall time of the free phases")
    duration_nudged_s: float = _column("s", "wall time of the nudged phases")
    duration_update_s: float = _column("s", "wall time of gradient, optimiser and programming")
    duration_record_s: float = _column("s", "wall time of the previous record and checkpoint")
    duration_total_s: float = _column("s", "wall time of the whole step")


@final
@dataclass(frozen=True)
class EpochRow:
    """One epoch (one pass over the training data) and the evaluation that followed it.

    The validation fields are NaN where the epoch was not evaluated.
    """

    epoch: int = _column("1", "epochs done, this one included; strictly increasing")
    step: int = _column("1", "last step of the epoch")
    train_cost: float = _column("1", "training cost, mean over the epoch's samples")
    train_distance: float = _column("1", "C_sim, mean over the epoch's samples")
    train_accuracy: float = _column("1", "share of training samples read out correctly")
    validation_cost: float = _column("1", "cost on the validation set")
    validation_distance: float = _column("1", "C_sim on the validation set")
    validation_accuracy: float = _column("1", "share of the validation set read out correctly")
    hops: int = _column("1", "nudged phases that left their basin, this epoch")
    excluded: int = _column("1", "samples left without a usable estimate, this epoch")
    learning_rate: float = _column("1", "learning rate at the end of the epoch")
    duration_s: float = _column("s", "wall time of the epoch, evaluation included")


@final
@dataclass(frozen=True)
class SnapshotRow:
    """When a snapshot (parameters, responses or phases) was taken."""

    epoch: int = _column("1", "epochs done; 0 before training; strictly increasing")
    step: int = _column("1", "steps done")


def columns(row: type[StepRow] | type[EpochRow] | type[SnapshotRow]) -> tuple[Column, ...]:
    """Return the columns of a row class, in file order."""
    types = {int: np.dtype(np.int64), float: np.dtype(np.float64)}
    hints = get_type_hints(row)
    return tuple(
        Column(f.name, types[hints[f.name]], f.metadata["unit"], f.metadata["description"])
        for f in dataclasses.fields(row)
    )


def row_dtype(row: type[StepRow] | type[EpochRow] | type[SnapshotRow]) -> np.dtype[Any]:
    """Return the compound type of a row in the file: its columns, then `CHECK`."""
    return np.dtype([(c.name, c.dtype) for c in columns(row)] + [(CHECK, np.dtype(np.uint32))])
