"""All randomness of a run, from one seed.

Every draw has an address: its purpose and a few counters (epoch, step, retry ...). A
resumed run therefore draws the same numbers without any generator state to save, and a
change in one place (one more retry) does not shift the draws of all others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import final

import numpy as np

__all__ = ["RandomStreams"]


@final
@dataclass(frozen=True)
class RandomStreams:
    """Addressable random streams under one seed.

    Attributes
    ----------
    seed
        The run's seed, ≥ 0.
    """

    seed: int

    def _sequence(self, purpose: str, counters: tuple[int, ...]) -> np.random.SeedSequence:
        # crc32 and not hash(): the same on every machine and in every process.
        return np.random.SeedSequence([self.seed, zlib.crc32(purpose.encode()), *counters])

    def generator(self, purpose: str, *counters: int) -> np.random.Generator:
        """Return the generator of one address; the same one at each call."""
        return np.random.default_rng(self._sequence(purpose, counters))

    def number(self, purpose: str, *counters: int) -> int:
        """Return a 63-bit integer of one address, for interfaces that take a seed."""
        word = self._sequence(purpose, counters).generate_state(1, np.uint64)[0]
        return int(word >> np.uint64(1))
