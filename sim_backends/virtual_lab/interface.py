"""What a simulated instrument sees of the plant, and what a wire sees of an instrument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from eqp_hw.network.graph import FloatArray

__all__ = ["PlantFace", "Reply", "SimulatedInstrument"]


class PlantFace(ABC):
    """The physical world behind all instruments; every call is under one lock."""

    @property
    @abstractmethod
    def now_s(self) -> float:
        """The plant's time, s."""

    @abstractmethod
    def elapse(self, duration_s: float) -> None:
        """Say that a transaction takes ``duration_s``; moves the transaction clock on.

        On a real-time clock it does nothing: the simulator's delay is real there.
        """

    @abstractmethod
    def set_voltage(self, instrument: str, channel: int, voltage_V: float) -> None:
        """Drive a source channel from now on; an unwired channel drives nothing."""

    @abstractmethod
    def voltage_V(self, instrument: str, channel: int) -> float:
        """Return the voltage that a source channel drives now."""

    @abstractmethod
    def current_A(self, instrument: str, channel: int) -> float:
        """Return the current that the load draws; 0 for an unwired or dead channel."""

    @abstractmethod
    def detector_V(self, instrument: str, channels: list[int], n_samples: int) -> FloatArray:
        """Return (n_samples, len(channels)) detector voltages, noise included, not digitised."""


@final
@dataclass(frozen=True)
class Reply:
    """Bytes that an instrument sends, and how long after the request, in plant time.

    ``asynchronous`` marks lines that nobody asked for (error reports).
    """

    data: bytes
    after_s: float = 0.0
    asynchronous: bool = False


class SimulatedInstrument(ABC):
    """A byte-level state machine; knows its grammar, not its wire."""

    @abstractmethod
    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes in whatever portions they arrive; return what is sent back.

        No bytes at all let the time tell: watchdogs run out, half a frame is given up.
        """

    @abstractmethod
    def new_session(self) -> None:
        """Forget the half request of a client who has left; for wires that know of clients."""

    @abstractmethod
    def power_cycle(self) -> list[Reply]:
        """Lose all state, outputs at zero; return what it says when it wakes."""
