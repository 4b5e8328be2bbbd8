"""The free phases: they follow the gradient flow whenever a parameter has changed."""

from __future__ import annotations

import logging
from typing import Final, final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.engines import choose_engine
from eqp_hw.sim_backends.relaxation.directed import relax_directed
from eqp_hw.sim_backends.relaxation.interface import (
    Bonds,
    Relaxation,
    RelaxationOptions,
    RelaxationStatus,
)

from .small_directed import step_if_certain

__all__ = ["Oscillators"]

_log = logging.getLogger("eqp_hw.sim_backends.virtual_lab.plant")

_ROUNDING: Final = 1e-14
"""Relative change of the parameters that is none."""
_KICK_RAD: Final = 1e-6
_MOST_KICKS: Final = 3
_RECIPROCAL: Final = RelaxationOptions(max_steps=5_000, threads=1)
_DIRECTED: Final = RelaxationOptions(t_max=2e3, max_steps=250, threads=1)
"""Bounds a look to some 0.2 s; what still moves then goes on moving at the next look."""


@final
class Oscillators:
    """Free phases of a network whose parameters are handed in at each look.

    Parameters
    ----------
    network
        The graph.
    directed
        Whether J_ij and J_ji differ.
    rng
        For fresh phases, and for the kicks that leave an unstable point: a real network never
        rests on one.
    """

    def __init__(self, network: Network, directed: bool, rng: np.random.Generator) -> None:
        inside, boundary = network.internal_edges, network.boundary_edges
        self._inside = inside
        self._bonds = Bonds(len(network.free), network.free_index[network.edges[inside]])
        self._engine = None if directed else choose_engine(self._bonds)
        self._rng = rng
        edges = network.edges[boundary]
        first_free = network.free_index[edges[:, 0]] >= 0
        input_index = np.full(network.n_nodes, -1)
        input_index[network.inputs] = np.arange(len(network.inputs))
        self._boundary = boundary
        self._first_free = first_free
        self._clamped = input_index[np.where(first_free, edges[:, 1], edges[:, 0])]
        self._driven = network.free_index[np.where(first_free, edges[:, 0], edges[:, 1])]
        self.phases: FloatArray = np.zeros(self._bonds.n)
        self.relaxations = 0
        self.residual = np.nan
        self.settled = False
        self._seen: FloatArray | None = None
        self.scatter()

    def scatter(self) -> None:
        """Start again from uniformly random phases."""
        self.phases = self._rng.uniform(-np.pi, np.pi, self._bonds.n)
        self._seen = None
        self.settled = False

    def follow(
        self,
        forward: FloatArray,
        reverse: FloatArray,
        inputs: FloatArray,
        field: ComplexArray,
    ) -> FloatArray:
        """Return the phases that the flow reaches from the previous ones.

        Parameters
        ----------
        forward, reverse
            (n_edges,) J_ij and J_ji; not told apart for a reciprocal network.
        inputs
            (n_inputs,) clamped phases.
        field
            (n_free,) bias plus nudge.
        """
        total = self._total_field(forward, reverse, inputs, field)
        inner = forward[self._inside], reverse[self._inside]
        present = np.concatenate([*inner, total.real, total.imag])
        if self._seen is not None and self.settled:
            limit = _ROUNDING * max(1.0, float(np.abs(present).max()))
            if float(np.abs(present - self._seen).max()) <= limit:
                return self.phases
        self._seen = present
        self._relax(*inner, total[None, :])
        return self.phases

    def _total_field(
        self, forward: FloatArray, reverse: FloatArray, inputs: FloatArray, field: ComplexArray
    ) -> ComplexArray:
        # Bond (i, j): forward drives i by j. The free end is driven by the clamped one.
        drive = np.where(self._first_free, forward[self._boundary], reverse[self._boundary])
        n, clamped = self._bonds.n, inputs[self._clamped]
        real = np.bincount(self._driven, drive * np.cos(clamped), n)
        imaginary = np.bincount(self._driven, drive * np.sin(clamped), n)
        total: ComplexArray = field + real + 1j * imaginary
        return total

    def _relax(self, forward: FloatArray, reverse: FloatArray, field: ComplexArray) -> None:
        self.relaxations += 1
        for _ in range(_MOST_KICKS + 1):
            result = self._run(forward, reverse, field)
            if result is None:
                return
            self.phases = result.phases[0]
            self.residual = float(result.residual[0])
            status = RelaxationStatus(int(result.status[0]))
            self.settled = status is RelaxationStatus.EQUILIBRIUM
            if status is not RelaxationStatus.UNSTABLE:
                break
            self.phases = self.phases + _KICK_RAD * self._rng.standard_normal(self._bonds.n)
        if not self.settled:
            _log.info("the oscillators found no rest: %s", status.name)

    def _run(
        self, forward: FloatArray, reverse: FloatArray, field: ComplexArray
    ) -> Relaxation | None:
        """Relax; None where the short way of a small directed network has done it."""
        start = self.phases[None, :]
        if self._engine is not None:
            return self._engine.relax(forward, field, start, _RECIPROCAL)
        near = step_if_certain(self._bonds, forward, reverse, field[0], self.phases)
        if near is not None:
            self.phases, self.residual = near
            self.settled = True
            return None
        return relax_directed(self._bonds, forward, reverse, field, start, _DIRECTED)
