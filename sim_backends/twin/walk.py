"""Offsets of heaters that walk while the clock runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.randomness import RandomStreams

__all__ = ["OffsetWalk"]


@final
class OffsetWalk:
    """A Wiener process of each heater's offset; draws are addressed by how often it advanced.

    Parameters
    ----------
    n
        Heaters.
    rate
        rad/√s, of every one.
    streams
        Of the twin's seed.
    """

    def __init__(self, n: int, rate: float, streams: RandomStreams) -> None:
        self._rate = rate
        self._streams = streams
        self._advances = 0
        self.offset = np.zeros(n)
        """(n,) rad, by now."""

    @property
    def moves(self) -> bool:
        """Whether anything drifts at all."""
        return self._rate > 0

    def advance(self, elapsed_s: float) -> None:
        """Let time pass."""
        if not (self.moves and elapsed_s > 0):
            return
        self._advances += 1
        rng = self._streams.generator("twin drift of heaters", self._advances)
        step = self._rate * np.sqrt(elapsed_s)
        self.offset = self.offset + step * rng.standard_normal(len(self.offset))

    def memory(self) -> dict[str, FloatArray]:
        """Return what a resumed run must know."""
        return {"offset": self.offset.copy(), "advances": np.array([float(self._advances)])}

    def remember(self, memory: Mapping[str, FloatArray]) -> None:
        """Take up what `memory` returned."""
        self.offset = np.array(memory["offset"], dtype=np.float64)
        self._advances = int(memory["advances"][0])
