"""Start, middle and end of a run, picked from what was recorded on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

__all__ = ["moment_title", "pick_moments"]


class _Dated(Protocol):
    @property
    def epoch(self) -> int: ...


Entry = TypeVar("Entry", bound=_Dated)


def pick_moments(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first entry, the one nearest to half way in epochs, and the last.

    Fewer where there are fewer; the order is kept and none is given twice.
    """
    if len(entries) <= 3:
        return list(entries)
    half = (entries[0].epoch + entries[-1].epoch) / 2
    between = np.array([entry.epoch for entry in entries[1:-1]])
    middle = 1 + int(np.argmin(np.abs(between - half)))
    return [entries[0], entries[middle], entries[-1]]


def moment_title(index: int, count: int, epoch: int) -> str:
    """Return "Start", "Middle" or "End" with the epoch."""
    if epoch == 0:
        return "Start (before training)"
    word = "Start" if index == 0 else "End" if index == count - 1 else "Middle"
    return f"{word} (epoch {epoch})"
