"""Raw reads through all imperfections of the read path, and their average."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import phasor_average, wrap
from eqp_hw.substrate import Reading

from .interface import Imperfection, RawReads

__all__ = ["ReadPath", "joined", "split"]


@final
class ReadPath:
    """What the network's phases go through until the controller has them.

    Parameters
    ----------
    network
        The graph.
    imperfections
        In the order of the list.
    """

    def __init__(self, network: Network, imperfections: Sequence[Imperfection]) -> None:
        self._network = network
        chain = sorted(imperfections, key=lambda one: not one.at_network)
        self._chain = [one for one in chain if one.changes_reads]
        self.draws = any(one.draws_reads for one in imperfections)
        noise = [one.imaginary_noise for one in imperfections]
        self.reads_complex = None not in noise
        self._imaginary_noise = [one for one in imperfections if one.imaginary_noise]

    def raw(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        """Return (reads, batch, N) raw reads of (reads or 1, batch, N) phases, not wrapped."""
        count = len(reads.times_s)
        raw = np.array(np.broadcast_to(phases, (count, *phases.shape[1:])))
        for one in self._chain:
            raw = one.read(raw, reads)
        return raw

    def reading(
        self, inner: Sequence[Reading], shift: FloatArray | None, reads: RawReads
    ) -> Reading:
        """Return the average of raw reads.

        Parameters
        ----------
        inner
            Readings of the substrate inside, one for each raw read; one alone for all of them
            where it makes no noise.
        shift
            (batch, N) by which phases are away from what the substrate inside reads, or None.
        reads
            When the raw reads are made, and on which channel.
        """
        if not self._chain and shift is None and len(inner) == 1:
            return _at_times(inner[0], reads)
        base = np.array([reading.phases for reading in inner])
        if shift is not None:
            base += shift
        raw = self.raw(base, reads)
        if len(raw) > 1:
            phases, error = phasor_average(raw)
            error = np.hypot(error, np.nan_to_num(inner[0].standard_error) * (len(inner) == 1))
        else:
            phases, error = wrap(raw[0]), inner[0].standard_error.copy()
            if self.draws:
                error[:, self._network.free] = np.nan
        inputs = self._network.inputs
        phases[:, inputs], error[:, inputs] = inner[0].phases[:, inputs], 0.0
        return Reading(
            phases,
            error,
            len(raw),
            float(reads.times_s[0]),
            float(reads.times_s[-1]),
            self._continued(inner[0], phases, len(raw)),
        )

    def _continued(self, inner: Reading, phases: FloatArray, count: int) -> np.ndarray | None:
        """Return complex phases: real parts as read, imaginary parts with noise of their own."""
        exact = inner.complex_phases
        if exact is None:
            return None
        imaginary = exact.imag.copy()
        free = self._network.free
        for one in self._imaginary_noise:
            sigma = (one.imaginary_noise or 0.0) / math.sqrt(count)
            imaginary[:, free] += sigma * one.rng.standard_normal((len(imaginary), len(free)))
        # Unwrapped as the exact ones are: the continuation is of the angle itself.
        real = exact.real + wrap(phases - wrap(exact.real))
        return real + 1j * imaginary


def _at_times(reading: Reading, reads: RawReads) -> Reading:
    """Return the reading as made at other times."""
    return dataclasses.replace(
        reading,
        count=len(reads.times_s),
        started_s=float(reads.times_s[0]),
        ended_s=float(reads.times_s[-1]),
    )


def joined(readings: Sequence[Reading]) -> Reading:
    """Return readings of replicas as one of a larger batch."""
    continued = [one.complex_phases for one in readings if one.complex_phases is not None]
    return dataclasses.replace(
        readings[0],
        phases=np.concatenate([one.phases for one in readings]),
        standard_error=np.concatenate([one.standard_error for one in readings]),
        complex_phases=np.concatenate(continued) if continued else None,
    )


def split(reading: Reading, count: int) -> list[Reading]:
    """Return the parts of `joined` readings, all of one size."""
    continued = reading.complex_phases
    parts = [None] * count if continued is None else np.split(continued, count)
    return [
        dataclasses.replace(reading, phases=phases, standard_error=error, complex_phases=part)
        for phases, error, part in zip(
            np.split(reading.phases, count),
            np.split(reading.standard_error, count),
            parts,
            strict=True,
        )
    ]
