"""The plant's time: real, at a multiple of it, or moved on by each transaction."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, final

from typing_extensions import override

from eqp_hw.errors import ConfigurationError

__all__ = ["Clock", "ClockKind", "RealClock", "TransactionClock", "make_clock"]

ClockKind = Literal["real", "transaction"]


class Clock(ABC):
    """Time of the plant, s from the start."""

    @property
    @abstractmethod
    def now_s(self) -> float:
        """The plant's time."""

    @property
    @abstractmethod
    def runs_by_itself(self) -> bool:
        """Whether time passes without transactions."""

    @abstractmethod
    def elapse(self, duration_s: float) -> None:
        """Say that a transaction took ``duration_s``."""

    @abstractmethod
    def real_delay_s(self, duration_s: float) -> float:
        """Return how long the world outside waits while the plant's ``duration_s`` passes."""


@final
class RealClock(Clock):
    """Runs by itself, ``speed`` times as fast as the clock on the wall."""

    def __init__(self, speed: float = 1.0, wall: Callable[[], float] = time.monotonic) -> None:
        if not speed > 0:
            raise ConfigurationError(
                "not a speed", field="virtual_lab.speed", value=speed, allowed="> 0"
            )
        self._speed = speed
        self._wall = wall
        self._start = wall()

    @property
    @override
    def now_s(self) -> float:
        return self._speed * (self._wall() - self._start)

    @property
    @override
    def runs_by_itself(self) -> bool:
        return True

    @override
    def elapse(self, duration_s: float) -> None:
        """Do nothing: the time passes while the reply is held back."""

    @override
    def real_delay_s(self, duration_s: float) -> float:
        return duration_s / self._speed


@final
class TransactionClock(Clock):
    """Stands still but for transactions: nobody outside waits, and runs are reproducible."""

    def __init__(self) -> None:
        self._now = 0.0

    @property
    @override
    def now_s(self) -> float:
        return self._now

    @property
    @override
    def runs_by_itself(self) -> bool:
        return False

    @override
    def elapse(self, duration_s: float) -> None:
        if duration_s > 0:
            self._now += duration_s

    @override
    def real_delay_s(self, duration_s: float) -> float:
        return 0.0


def make_clock(kind: ClockKind, speed: float = 1.0) -> Clock:
    """Return the clock that a rig file names."""
    return RealClock(speed) if kind == "real" else TransactionClock()
