"""The simulated twin of a rig: one plant, one simulator and one wire an instrument."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self, final

from eqp_hw.rig.load import Rig

from .clock import ClockKind
from .faults import FaultKind, FaultPlan
from .instruments import SimulatorFactory

__all__ = ["Twin"]


@final
class Twin:
    """A running virtual lab inside this process; a context manager.

    Parameters
    ----------
    rig
        What is simulated.
    truth_seed
        Seed of the hidden truths.
    clock, speed
        In place of ``[virtual_lab]`` of the rig file where given.
    faults
        Faults from the start on.
    simulators
        Kind → factory, by default all of `instruments.SIMULATORS`.
    """

    def __init__(
        self,
        rig: Rig,
        *,
        truth_seed: int = 0,
        clock: ClockKind | None = None,
        speed: float | None = None,
        faults: FaultPlan | None = None,
        simulators: Mapping[str, SimulatorFactory] | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each instrument, as a rig file has it."""
        raise NotImplementedError

    @property
    def visa(self) -> dict[str, str]:
        """VISA resource string of each instrument."""
        raise NotImplementedError

    @property
    def truth_address(self) -> str:
        """Where `TruthClient` asks, ``"127.0.0.1:port"``."""
        raise NotImplementedError

    @property
    def rig(self) -> Rig:
        """The rig with the addresses of its twin."""
        raise NotImplementedError

    def inject(self, instrument: str, kind: FaultKind) -> None:
        """Let a fault happen now (power cycle, unplug) or to the next request or reply."""
        raise NotImplementedError

    def start(self) -> Self:
        """Open all wires and serve them in a thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all wires; idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
