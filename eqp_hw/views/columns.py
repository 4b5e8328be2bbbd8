"""Columns of steps and epochs in the form that pictures and tables need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray

__all__ = ["COUNTS", "PHASES_OF_WORK", "Columns", "floats", "largest_per_epoch", "sum_per_epoch"]

Columns = Mapping[str, npt.NDArray[Any]]

COUNTS = {
    "hops": "nudged phases that left the basin of their free phase",
    "halvings": "nudges halved because of a hop",
    "restarts": "samples measured again from a new start",
    "excluded": "samples left without a usable estimate",
    "unsettled": "measurements that did not end in an equilibrium",
}
"""Columns of `StepRow` that count what went wrong, with their meaning."""

PHASES_OF_WORK = {
    "free": "duration_free_s",
    "nudged": "duration_nudged_s",
    "update": "duration_update_s",
    "record": "duration_record_s",
}
"""Columns of `StepRow` that say where the time went."""


def floats(columns: Columns, name: str) -> FloatArray:
    """Return a column as float64; empty if there is none."""
    return np.asarray(columns.get(name, ()), dtype=np.float64)


def sum_per_epoch(steps: Columns, name: str) -> tuple[IntArray, FloatArray]:
    """Return the epochs that have steps, and the sum of a column over the steps of each."""
    epochs, index = _epochs(steps)
    sums = np.zeros(len(epochs))
    np.add.at(sums, index, _padded(steps, name, 0.0))
    return epochs, sums


def largest_per_epoch(steps: Columns, name: str) -> tuple[IntArray, FloatArray]:
    """Return the epochs that have steps, and the largest value of a column in each.

    NaN where an epoch has no number at all.
    """
    epochs, index = _epochs(steps)
    largest = np.full(len(epochs), np.nan)
    np.fmax.at(largest, index, _padded(steps, name, np.nan))
    return epochs, largest


def _epochs(steps: Columns) -> tuple[IntArray, IntArray]:
    epochs, index = np.unique(np.asarray(steps.get("epoch", ()), np.int64), return_inverse=True)
    return epochs, index


def _padded(steps: Columns, name: str, missing: float) -> FloatArray:
    values = floats(steps, name)
    n = len(steps.get("epoch", ()))
    return values if len(values) == n else np.full(n, missing)
