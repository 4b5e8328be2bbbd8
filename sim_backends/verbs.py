"""What every emulated substrate does alike: check what it is given, write out what it reads."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import BoolArray, OscillatingReading, Oscillation, Reading

from .relaxation.oscillation import read_angles

__all__ = [
    "NudgeSites",
    "checked_clamp",
    "checked_inputs",
    "checked_nudge",
    "noiseless_reading",
    "nudged_nodes",
    "oscillating_reading",
    "random_phases",
]

NudgeSites = Literal["free", "outputs"]
"""Where nudges can be injected."""


def nudged_nodes(network: Network, sites: NudgeSites) -> IntArray:
    """Return the nodes of the columns of a nudge field."""
    return network.free if sites == "free" else network.outputs


def random_phases(network: Network, batch: int, rng: np.random.Generator) -> FloatArray:
    """Return (batch, n_free) phases, U(−π, π)."""
    return rng.uniform(-np.pi, np.pi, (batch, len(network.free)))


def checked_inputs(network: Network, phases: FloatArray) -> FloatArray:
    """Return a copy of (batch, n_inputs) input phases.

    Raises
    ------
    SubstrateError
        A wrong shape, an empty batch, or a phase that is not finite.
    """
    phases = np.array(phases, dtype=np.float64)
    n_inputs = len(network.inputs)
    if phases.ndim != 2 or phases.shape[1] != n_inputs or len(phases) == 0:
        raise SubstrateError(
            f"inputs have shape {phases.shape}; expected (batch, {n_inputs}) with batch >= 1"
        )
    if not np.isfinite(phases).all():
        sample, node = np.argwhere(~np.isfinite(phases))[0]
        raise SubstrateError(f"input {node} of sample {sample} is not finite")
    return phases


def checked_nudge(field: ComplexArray, expected: tuple[int, int]) -> ComplexArray:
    """Return a copy of a (batch, n_nudge_nodes) nudge field.

    Raises
    ------
    SubstrateError
        A wrong shape, or a field that is not finite.
    """
    field = np.array(field, dtype=np.complex128)
    if field.shape != expected:
        raise SubstrateError(f"nudge field has shape {field.shape}; expected {expected}")
    if not np.isfinite(field).all():
        raise SubstrateError("nudge field is not finite")
    return field


def checked_clamp(phases: FloatArray, expected: tuple[int, int]) -> FloatArray:
    """Return a copy of (batch, n_outputs) phases at which outputs are to be held.

    Raises
    ------
    SubstrateError
        A wrong shape, or a phase that is not finite.
    """
    phases = np.array(phases, dtype=np.float64)
    if phases.shape != expected:
        raise SubstrateError(f"clamped outputs have shape {phases.shape}; expected {expected}")
    if not np.isfinite(phases).all():
        sample, output = np.argwhere(~np.isfinite(phases))[0]
        raise SubstrateError(f"clamped output {output} of sample {sample} is not finite")
    return phases


def noiseless_reading(
    network: Network, free_phases: FloatArray, inputs: FloatArray, repeats: int
) -> Reading:
    """Return the reading of (batch, n_free) phases; without noise repeats change nothing."""
    full = np.empty((len(free_phases), network.n_nodes))
    full[:, network.free] = wrap(free_phases)
    full[:, network.inputs] = inputs
    now = time.monotonic()
    return Reading(full, np.zeros_like(full), repeats, now, now)


def oscillating_reading(
    network: Network,
    free_phases: FloatArray,
    inputs: FloatArray,
    oscillation: Oscillation,
    settled: BoolArray,
) -> OscillatingReading:
    """Return the reading of (n_reads, batch, n_free) phases without read-out noise."""
    reads, batch, _ = free_phases.shape
    full = np.empty((reads, batch, network.n_nodes))
    full[..., network.free] = wrap(free_phases)
    full[..., network.inputs] = inputs
    return OscillatingReading(read_angles(oscillation), full, np.zeros_like(full), settled)
