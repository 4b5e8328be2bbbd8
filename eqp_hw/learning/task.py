"""A task: encoded samples, their targets and labels, the split, and the read-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.data.dataset import Split
from eqp_hw.learning.encodings import TargetEncoding
from eqp_hw.network.graph import FloatArray, IntArray

__all__ = ["Task"]


@final
@dataclass(frozen=True, eq=False)
class Task:
    """What a network is trained on.

    Attributes
    ----------
    inputs
        (n, n_inputs) clamped input phases, rad.
    targets
        (n, n_outputs) target phases, rad.
    labels
        (n,) class numbers.
    split
        Which samples train, validate and test.
    read_out
        Decodes output phases into class numbers.
    """

    inputs: FloatArray
    targets: FloatArray
    labels: IntArray
    split: Split
    read_out: TargetEncoding

    def accuracy(self, output_phases: FloatArray, rows: IntArray) -> float:
        """Return the share of samples ``rows`` that (len(rows), n_outputs) phases get right."""
        return float(np.mean(self.read_out.decode(output_phases) == self.labels[rows]))
