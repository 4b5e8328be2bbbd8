"""Read-out noise and drift, pooled over all that a probe reads."""

from __future__ import annotations

from typing import final

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.substrate import BoolArray, Reading

from .figures import Noise

__all__ = ["NoisePool"]

_SIGNIFICANT = 5.0
"""Standard deviations beyond which a change of the free phases is no chance."""


@final
class NoisePool:
    """Gathers standard errors of replicates and time-ordered free phases.

    Parameters
    ----------
    network, capabilities
        Of the substrate; the stated read-out noise stands in where single reads cannot tell.
    """

    def __init__(self, network: Network, capabilities: Capabilities) -> None:
        self._network = network
        self._capabilities = capabilities
        self._sum = np.zeros(network.n_nodes)
        self._weight = np.zeros(network.n_nodes)
        self._late: list[FloatArray] = []
        self._bend: list[FloatArray] = []
        self._reads = 1
        self._states = 0

    def add(self, reading: Reading, rows: BoolArray) -> None:
        """Take in the spread of the replicates of ``rows``."""
        if reading.count < 2:
            return
        square = reading.standard_error[rows] ** 2 * reading.count
        known = np.isfinite(square)
        self._sum += np.where(known, square, 0.0).sum(axis=0) * (reading.count - 1)
        self._weight += known.sum(axis=0) * (reading.count - 1)

    def add_series(
        self, first: Reading, middle: Reading, last: Reading, rows: BoolArray, states: int
    ) -> None:
        """Take in three free readings in the order of time, ``states`` settled ones apart."""
        pick = np.ix_(np.flatnonzero(rows), self._network.free)
        to_middle = wrap(middle.phases[pick] - first.phases[pick])
        late = wrap(last.phases[pick] - first.phases[pick])
        share = _share_of_time(first, middle, last)
        # No drift in it, if that is linear; scaled to the variance of one reading's noise.
        bend = (to_middle - share * late) / np.sqrt(1 + share**2 + (1 - share) ** 2)
        self._late.append(late)
        self._bend.append(bend)
        self._reads, self._states = first.count, max(states, self._states)

    def variance(self) -> FloatArray:
        """Return the variance of one read of each node, (N,), rad²; 0 at inputs."""
        stated = np.full(self._network.n_nodes, self._capabilities.readout_noise**2)
        stated[self._network.inputs] = 0.0
        measured: FloatArray = stated
        np.divide(self._sum, self._weight, out=measured, where=self._weight > 0)
        measured[self._network.inputs] = 0.0
        return measured

    def profile(self) -> FloatArray:
        """Return `variance` in units of its mean over the free nodes; even where there is none."""
        variance, free = self.variance(), self._network.free
        mean = variance[free].mean()
        if mean > 0:
            return np.asarray(variance / mean)
        even = np.zeros(len(variance))
        even[free] = 1.0
        return even

    def noise_of_one_read(self) -> float:
        """Return the standard deviation of one read, rms over the free nodes, rad."""
        return float(np.sqrt(self.variance()[self._network.free].mean()))

    def noise(self) -> Noise:
        """Return what all this says."""
        variance = self.variance()[self._network.free]
        single = self.noise_of_one_read()
        lasting2 = drift2 = 0.0
        if self._late and sum(map(len, self._late)):
            bend, late = np.concatenate(self._bend), np.concatenate(self._late)
            # Two figures of the same noise: of its variance, and of twice that.
            from_reads = variance / self._reads
            rough = bend**2 - from_reads
            lasting2 = _significant(rough, np.broadcast_to(from_reads, rough.shape))
            excess = late**2 / 2 - from_reads - lasting2
            drift2 = 2 * _significant(excess, from_reads + lasting2 + 0 * excess)
        bits = self._capabilities.readout_bits
        if bits is not None:
            step = 2 * np.pi / 2**bits
            # Noise of half a step or more dithers: averaging then works within the steps.
            lasting2 = max(lasting2, step**2 / 12 if single < step / 2 else 0.0)
        return Noise(single, float(np.sqrt(lasting2)), float(np.sqrt(drift2)), self._states)


def _share_of_time(first: Reading, middle: Reading, last: Reading) -> float:
    """Return how much of the time from the first reading to the last passed by the middle one."""
    start, half, end = ((one.started_s + one.ended_s) / 2 for one in (first, middle, last))
    return float(np.clip((half - start) / (end - start), 0.0, 1.0)) if end > start else 0.5


def _significant(excess: FloatArray, expected: FloatArray) -> float:
    """Return the mean of ``excess`` if it is not chance, given the variance expected of it."""
    mean, count = float(excess.mean()), excess.size
    chance = float(np.sqrt(2 * (expected**2).mean() / count))
    return mean if mean > _SIGNIFICANT * chance + 1e-14 else 0.0
