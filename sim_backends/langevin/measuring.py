"""Settling and reading of phases that never stand still."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import phasor_average, wrap
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.relaxation.oscillation import drive, read_times
from eqp_hw.substrate import Oscillation, Reading, SettleOutcome, SettleStatus

from .observers import MeanForce, MeanPhasor
from .options import LangevinOptions
from .scheme import Motion

__all__ = [
    "View",
    "noise_source",
    "oscillate",
    "read_moving",
    "rows_of_reading",
    "settle_for",
]


def noise_source(own: int, seed: int) -> np.random.Generator:
    """Return the source of thermal noise; apart from that of the initial phases.

    Parameters
    ----------
    own
        Seed of the substrate: others have other noise.
    seed
        Of the last `reset`.
    """
    return np.random.default_rng(np.random.SeedSequence((own, seed), spawn_key=(1,)))


def settle_for(
    motion: Motion, options: LangevinOptions, phases: FloatArray, field: ComplexArray
) -> tuple[FloatArray, SettleOutcome]:
    """Let (batch, n_free) phases move for the settle time; the residual is the mean force."""
    started, span = time.monotonic(), options.settle_time
    phases = motion.advance(phases, field, 0.9 * span)
    force = MeanForce(phases.shape)
    phases = motion.advance(phases, field, 0.1 * span, force)
    residual = force.largest()
    status = np.full(len(phases), SettleStatus.EQUILIBRIUM, dtype=np.uint8)
    if options.residual is not None:
        status[residual > options.residual] = SettleStatus.NOT_SETTLED
    status[~np.isfinite(phases).all(axis=1)] = SettleStatus.FAILED
    unknown = np.zeros(len(phases), dtype=np.bool_)
    outcome = SettleOutcome(
        status=status,
        residual=residual,
        smallest_eigenvalue=np.full(len(phases), np.nan),
        positive_definite=unknown,
        certified=unknown.copy(),
        hop=unknown.copy(),
        steps=np.full(len(phases), motion.steps(0.9 * span) + motion.steps(0.1 * span)),
        duration_s=time.monotonic() - started,
    )
    return phases, outcome


@final
@dataclass(frozen=True, eq=False)
class View:
    """What a reading needs to know beside the free phases.

    Attributes
    ----------
    network
        The graph.
    inputs
        (batch, n_inputs) rad.
    clock
        Time now.
    wait
        Time to pass before the first read.
    """

    network: Network
    inputs: FloatArray
    clock: float
    wait: float = 0.0


def read_moving(
    motion: Motion,
    options: LangevinOptions,
    phases: FloatArray,
    field: ComplexArray,
    view: View,
    repeats: int,
) -> tuple[FloatArray, Reading]:
    """Read ``repeats`` times; return the free phases after the last read, and the reading."""
    reads = np.empty((repeats, *phases.shape))
    window, wait, now = options.read_time, view.wait, view.clock
    for number in range(repeats):
        phases = motion.advance(phases, field, wait)
        now += wait + window
        wait = options.read_interval - window
        if window > 0.0:
            average = MeanPhasor(phases.shape)
            phases = motion.advance(phases, field, window, average)
            reads[number] = average.phases()
        else:
            reads[number] = phases
    mean, error = phasor_average(reads)
    if repeats == 1:
        mean = wrap(reads[0])
        if motion.temperature == 0.0:
            error = np.zeros_like(mean)
    full, errors = (np.zeros((len(phases), view.network.n_nodes)) for _ in range(2))
    full[:, view.network.free], errors[:, view.network.free] = mean, error
    full[:, view.network.inputs] = view.inputs
    return phases, Reading(full, errors, repeats, view.clock, now)


def oscillate(
    motion: Motion,
    phases: FloatArray,
    field: ComplexArray,
    nudge: ComplexArray,
    oscillation: Oscillation,
) -> FloatArray:
    """Return the (n_reads, batch, n_free) phases under the oscillating ``nudge``."""
    reads, now = [], 0.0
    for stop in read_times(oscillation).tolist():

        def field_at(elapsed: float, began: float = now) -> ComplexArray:
            swing: ComplexArray = drive(oscillation, np.array(began + elapsed)) * nudge
            return field + swing

        phases = motion.advance(phases, field_at, stop - now)
        now = stop
        reads.append(phases)
    return np.array(reads)


def rows_of_reading(reading: Reading, rows: slice) -> Reading:
    """Return the reading of some samples."""
    return Reading(
        reading.phases[rows],
        reading.standard_error[rows],
        reading.count,
        reading.started_s,
        reading.ended_s,
    )
