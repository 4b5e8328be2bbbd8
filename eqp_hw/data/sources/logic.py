"""Truth tables: XOR and parity of more bits."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
from pydantic import Field

from eqp_hw.data.dataset import Dataset, Split
from eqp_hw.data.source import DatasetSource

__all__ = ["ParitySource", "XorSource"]


@final
class XorSource(DatasetSource):
    """Exclusive or of two bits: 00, 01, 10, 11."""

    def load(self, base: Path) -> Dataset:
        """Return the truth table; every sample is in every part of its split."""
        del base
        return _parity("xor", 2, "exclusive or of two bits")


@final
class ParitySource(DatasetSource):
    """Parity of a number of bits: class 1 if the count of ones is odd."""

    bits: int = Field(default=3, ge=2, le=16, description="number of bits")

    def load(self, base: Path) -> Dataset:
        """Return the truth table; every sample is in every part of its split."""
        del base
        return _parity(f"parity-{self.bits}", self.bits, f"parity of {self.bits} bits")


def _parity(name: str, bits: int, description: str) -> Dataset:
    numbers = np.arange(2**bits, dtype=np.int64)
    # The first feature is the most significant bit, so that rows read 00, 01, 10, 11.
    table = (numbers[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return Dataset(
        name,
        table.astype(np.float64),
        table.sum(axis=1) % 2,
        feature_names=tuple(f"bit {i}" for i in range(bits)),
        class_names=("0", "1"),
        feature_range=(0.0, 1.0),
        split=Split(numbers, numbers, numbers, disjoint=False),
        description=description,
    )
