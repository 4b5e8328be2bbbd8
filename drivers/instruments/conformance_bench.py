"""What the conformance suite of drivers needs of a bench: one instrument, and its wire's faults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from eqp_hw.drivers.transports.interface import Transport

from .interface import Instrument

__all__ = ["Bench", "Provoked", "SourceBench"]


@final
@dataclass(frozen=True)
class Provoked:
    """An error that the instrument is about to report.

    Attributes
    ----------
    code, channel
        What the driver must name.
    look
        The call that must raise it.
    """

    code: int
    channel: int | None
    look: Callable[[], object]


class Bench(ABC):
    """One instrument and its wire."""

    @abstractmethod
    def make(
        self, *, identity: str | None = None, limits: Mapping[str, float] | None = None
    ) -> Instrument:
        """Return a fresh driver, closed, on the bench's wire; `transport` is its wire then."""

    @property
    @abstractmethod
    def transport(self) -> Transport:
        """The wire of the driver made last."""

    @abstractmethod
    def n_requests(self) -> int:
        """Return how many messages have gone to the instrument so far."""

    @abstractmethod
    def unread(self) -> int:
        """Return the number of bytes that have come and that the driver has not taken."""

    @abstractmethod
    def question(self, instrument: Instrument, k: int) -> float:
        """Ask the instrument for quantity ``k`` (0, 1 or 2)."""

    @abstractmethod
    def answer(self, k: int) -> float:
        """Return the true value of quantity ``k``; the three differ by far."""

    tolerance: float
    """How far a good answer may be from the truth."""
    question_shows_restart: bool = True
    """Whether `question` asks for something that a restart changes."""

    @abstractmethod
    def late_reply(self) -> None:
        """Let the next reply come after its deadline, before or with the one after it."""

    @abstractmethod
    def lose_reply(self) -> None:
        """Let the next reply get lost."""

    @abstractmethod
    def unplug(self) -> None:
        """Pull the cable; the instrument keeps its state."""

    @abstractmethod
    def plug(self) -> None:
        """Put the cable back."""

    @abstractmethod
    def power_cycle(self) -> None:
        """Restart the instrument; the wire stays."""

    @abstractmethod
    def provoke(self, instrument: Instrument) -> Provoked:
        """Make the instrument find fault with something."""


class SourceBench(Bench):
    """A bench that holds a voltage source with resistors of one size at its channels."""

    resistance_ohm: float

    @abstractmethod
    def output_V(self, channel: int) -> float:
        """Return what a channel truly drives."""

    @abstractmethod
    def start_trace(self) -> None:
        """Begin to note every change of an output."""

    @abstractmethod
    def trace(self) -> list[tuple[float, int, float]]:
        """Return time (s, of the world and the driver's waits), channel and voltage."""

    @abstractmethod
    def send_raw(self, data: bytes) -> None:
        """Send bytes past the driver, as the guardian does."""
