"""From what an engine says to what a substrate says."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.substrate import BoolArray, SettleOutcome, SettleStatus

from .relaxation.interface import Relaxation, RelaxationStatus

__all__ = ["STATUS_TABLE", "merge", "rows_of", "settle_outcome"]

_STATUS = {
    RelaxationStatus.EQUILIBRIUM: SettleStatus.EQUILIBRIUM,
    RelaxationStatus.NO_FIXED_POINT: SettleStatus.NO_FIXED_POINT,
    RelaxationStatus.STEP_LIMIT: SettleStatus.NOT_SETTLED,
    RelaxationStatus.UNSTABLE: SettleStatus.UNSTABLE,
    RelaxationStatus.NOT_FINITE: SettleStatus.FAILED,
}
STATUS_TABLE = np.array([_STATUS[status] for status in RelaxationStatus], dtype=np.uint8)
"""`SettleStatus` of each `RelaxationStatus`."""


def merge(mask: BoolArray, where_true: Relaxation, where_false: Relaxation) -> Relaxation:
    """Return one result of samples that were settled in two groups."""
    parts = {}
    for item in dataclasses.fields(Relaxation):
        yes, no = getattr(where_true, item.name), getattr(where_false, item.name)
        array = np.empty((len(mask), *yes.shape[1:]), dtype=yes.dtype)
        array[mask], array[~mask] = yes, no
        parts[item.name] = array
    return Relaxation(**parts)


def rows_of(outcome: SettleOutcome, rows: slice, share: int) -> SettleOutcome:
    """Return the outcome of some samples; ``share`` divides the wall time."""
    parts = {
        item.name: getattr(outcome, item.name)[rows]
        for item in dataclasses.fields(SettleOutcome)
        if item.name != "duration_s"
    }
    return SettleOutcome(**parts, duration_s=outcome.duration_s / share)


def settle_outcome(
    result: Relaxation, smallest_eigenvalue: FloatArray, started: float
) -> SettleOutcome:
    """Return what a substrate reports of a relaxation begun at monotonic time ``started``."""
    return SettleOutcome(
        status=STATUS_TABLE[result.status],
        residual=result.residual,
        smallest_eigenvalue=smallest_eigenvalue,
        positive_definite=result.positive_definite,
        certified=result.certified,
        hop=result.hop,
        steps=result.steps,
        duration_s=time.monotonic() - started,
    )
