"""Outputs held at given phases: what remains to relax are the hidden nodes.

Held outputs act on the hidden nodes as clamped inputs do, so the hidden phases are relaxed on
a second graph in which outputs are inputs too, by the same engines. From an equilibrium, free
or held, the field of the hidden nodes is moved from the one they rest in to the new one along a
straight line, which is the path that the hop test follows.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

from .bound_network import BoundNetwork, State
from .emulator_options import EmulatorOptions
from .relaxation.interface import Relaxation, RelaxationStatus

__all__ = ["ClampedOutputs"]


@final
class ClampedOutputs:
    """Settles the hidden nodes of a network whose outputs are held."""

    def __init__(self, network: Network, options: EmulatorOptions) -> None:
        self._network = network
        self._options = options
        self._hidden = network.free_index[network.hidden]
        self._outputs = network.free_index[network.outputs]
        self._programmed = False

    @cached_property
    def _inner(self) -> BoundNetwork:
        held = np.concatenate([self._network.inputs, self._network.outputs])
        inner = dataclasses.replace(self._network, inputs=held, outputs=self._network.hidden)
        return BoundNetwork(inner, self._options)

    def reprogrammed(self) -> None:
        """Take note that couplings changed; they are taken up when outputs are next held."""
        self._programmed = False

    def settle(
        self,
        parameters: Parameters,
        lag: FloatArray | None,
        inputs: FloatArray,
        held: FloatArray,
        free_field: ComplexArray,
        field: ComplexArray,
        state: State,
    ) -> tuple[Relaxation, FloatArray, State]:
        """Relax the hidden phases from ``state``.

        Parameters
        ----------
        parameters, lag
            As programmed.
        inputs, held
            (batch, n_inputs) and (batch, n_outputs) clamped phases, rad.
        free_field, field
            (batch, n_free) field of inputs and biases without and with the nudge.
        state
            Where all free phases are.

        Returns
        -------
        The relaxation of the hidden nodes, their smallest eigenvalue (batch,), and the state
        of all free nodes afterwards.
        """
        phases = state.phases.copy()
        phases[:, self._outputs] = held
        if not len(self._hidden):
            return _at_once(phases), np.full(len(phases), np.nan), State(phases, field, held)
        if not self._programmed:
            self._inner.program(parameters, lag)
            self._programmed = True
        nudge = (field - free_field)[:, self._hidden]
        rested = (state.rest_field - free_field)[:, self._hidden]
        now = self._inner.field(np.hstack([inputs, held])) + nudge
        before = self._inner.field(np.hstack([inputs, state.phases[:, self._outputs]])) + rested
        result, resting = self._inner.relax(now, state.phases[:, self._hidden], before)
        phases[:, self._hidden] = result.phases
        rest_field = np.where(resting[:, None], field, np.nan + 0j)
        smallest = self._inner.smallest_eigenvalue(now, result.phases)
        return result, smallest, State(phases, rest_field, held)


def _at_once(phases: FloatArray) -> Relaxation:
    """Return the relaxation of a network in which nothing is left to relax."""
    batch = len(phases)
    yes, zero = np.ones(batch, dtype=np.bool_), np.zeros(batch, dtype=np.int64)
    return Relaxation(
        phases=phases,
        status=np.full(batch, RelaxationStatus.EQUILIBRIUM, dtype=np.uint8),
        residual=np.zeros(batch),
        positive_definite=yes,
        certified=yes.copy(),
        hop=~yes,
        steps=zero,
        rejected=zero.copy(),
        factorisations=zero.copy(),
    )
