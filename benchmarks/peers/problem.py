"""The problem that all routes of `benchmarks/speed.py` solve, and what each one reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from eqp_hw.learning.costs import LogCosine
from eqp_hw.network.builders import square_lattice
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

BETA = 0.1
COST = LogCosine()

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Problem:
    """A frustrated lattice with a batch of inputs, targets and starts.

    The peers get the network reduced to its free nodes, with the clamped inputs folded into
    the complex field of each sample, so that they need not handle them in their loops.
    """

    network: Network
    parameters: Parameters
    inputs: FloatArray  # (batch, n_inputs) rad
    targets: FloatArray  # (batch, n_outputs) rad
    n: int
    side: int
    edges: IntArray  # (n_bonds, 2) among the free nodes
    coupling: FloatArray  # (n_bonds,)
    sites: IntArray  # outputs among the free nodes

    @property
    def batch(self) -> int:
        return len(self.inputs)

    def free_field(self) -> ComplexArray:
        """Return (batch, n): bias and clamped neighbours."""
        net = self.network
        clamped = np.zeros((self.batch, net.n_nodes), dtype=complex)
        clamped[:, net.inputs] = np.exp(1j * self.inputs)
        forward, _ = self.parameters.bond_coupling(net)
        total = np.tile(self.parameters.bias, (self.batch, 1))
        for (i, j), strength in zip(net.edges, forward, strict=True):
            total[:, i] += strength * clamped[:, j]
            total[:, j] += strength * clamped[:, i]
        return np.ascontiguousarray(total[:, net.free])

    def nudged_field(self, free_field: ComplexArray, free_phases: FloatArray) -> ComplexArray:
        """Return (batch, n): with the cost's nudge at a route's own free phases."""
        rows = slice(0, len(free_phases))
        nudge = COST.nudge_field(free_phases[:, self.sites], self.targets[rows])
        total = free_field[rows].copy()
        total[:, self.sites] += BETA * nudge
        return total

    def residual(self, phases: FloatArray, total_field: ComplexArray) -> FloatArray:
        """Return max |∂F/∂φ| of each sample."""
        i, j = self.edges.T
        phasor = np.exp(1j * phases)
        drive = total_field[: len(phases)].copy()
        for row, z in zip(drive, phasor, strict=True):
            np.add.at(row, i, self.coupling * z[j])
            np.add.at(row, j, self.coupling * z[i])
        largest: FloatArray = np.abs((phasor.conj() * drive).imag).max(axis=1)
        return largest


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one route spent and where it ended; CPU seconds are those of all threads."""

    route: str
    samples: int
    free_s: float
    gradient_s: float
    free_phases: FloatArray
    free_residual: FloatArray
    nudged_residual: FloatArray
    setup_s: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)


def frustrated_lattice(side: int, batch: int, seed: int) -> Problem:
    """J ~ N(0, 1) a bond, h ~ N(0, 1) and ψ uniform a node; two inputs, one output."""
    rng = np.random.default_rng(seed)
    net = square_lattice(side, side, inputs=[(0, 0), (0, 1)], outputs=[(side - 1, side - 1)])
    bias = rng.normal(size=net.n_nodes) * np.exp(1j * rng.uniform(-np.pi, np.pi, net.n_nodes))
    bias[net.inputs] = 0.0
    parameters = Parameters(rng.normal(size=net.n_couplings), bias)
    inside = net.internal_edges
    return Problem(
        network=net,
        parameters=parameters,
        inputs=rng.uniform(-np.pi, np.pi, (batch, 2)),
        targets=rng.choice([-np.pi / 2, np.pi / 2], (batch, 1)),
        n=len(net.free),
        side=side,
        edges=net.free_index[net.edges[inside]],
        coupling=parameters.bond_coupling(net)[0][inside],
        sites=net.free_index[net.outputs],
    )


def cpu_seconds(work: Callable[[], Value]) -> tuple[float, Value]:
    """Run ``work``; return the CPU seconds of all threads of this process, and its result."""
    began = time.process_time()
    value = work()
    return time.process_time() - began, value
