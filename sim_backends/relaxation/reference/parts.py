"""Cuts batches into parts that fit in memory, sets aside what is not finite, joins results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.interface import Relaxation, RelaxationStatus

__all__ = ["in_parts"]

_PART_BYTES = 64_000_000

Run = Callable[[FloatArray, list[ComplexArray]], Relaxation]


def in_parts(
    run: Run,
    couplings: Sequence[FloatArray],
    start: FloatArray,
    fields: Sequence[ComplexArray],
    bytes_a_sample: int,
) -> Relaxation:
    """Run ``run(start, fields)`` part by part over the samples that are finite.

    The others come back with status NOT_FINITE and their start.
    """
    start = np.array(start, dtype=np.float64)
    fields = [np.array(field, dtype=np.complex128) for field in fields]
    finite = np.asarray(np.isfinite(start).all(axis=1), dtype=np.bool_)
    for field in fields:
        finite &= np.isfinite(field).all(axis=1)
    finite &= np.array(all(np.isfinite(coupling).all() for coupling in couplings))
    result = _untouched(start)
    rows = np.flatnonzero(finite)
    size = max(1, _PART_BYTES // max(bytes_a_sample, 1))
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        done = run(start[part], [field[part] for field in fields])
        for item in dataclasses.fields(Relaxation):
            getattr(result, item.name)[part] = getattr(done, item.name)
    return result


def _untouched(start: FloatArray) -> Relaxation:
    batch = len(start)
    no = np.zeros(batch, dtype=np.bool_)
    zero = np.zeros(batch, dtype=np.int64)
    return Relaxation(
        phases=start.copy(),
        status=np.full(batch, RelaxationStatus.NOT_FINITE, dtype=np.uint8),
        residual=np.full(batch, np.nan),
        positive_definite=no,
        certified=no.copy(),
        hop=no.copy(),
        steps=zero,
        rejected=zero.copy(),
        factorisations=zero.copy(),
    )
