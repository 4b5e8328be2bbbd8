"""The clock that ramps and waits go by; tests hand in one that never sleeps."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import final

from typing_extensions import override

__all__ = ["Clock", "SystemClock"]


class Clock(ABC):
    """A monotonic clock that can wait."""

    @abstractmethod
    def now_s(self) -> float:
        """Return monotonic time, s."""

    @abstractmethod
    def wait(self, duration_s: float) -> None:
        """Return after ``duration_s``; at once where that is not positive."""


@final
class SystemClock(Clock):
    """The clock of this computer."""

    @override
    def now_s(self) -> float:
        return time.monotonic()

    @override
    def wait(self, duration_s: float) -> None:
        if duration_s > 0:
            time.sleep(duration_s)
