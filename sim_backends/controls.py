"""What an emulated substrate is told from outside: inputs, nudge, held outputs; all checked."""

from __future__ import annotations

from typing import final

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray

from .verbs import NudgeSites, checked_clamp, checked_inputs, checked_nudge, nudged_nodes

__all__ = ["Controls"]


@final
class Controls:
    """Inputs, nudge and held outputs of one batch.

    Parameters
    ----------
    network
        The graph.
    nudge_sites
        Where nudges can be injected.
    """

    def __init__(self, network: Network, nudge_sites: NudgeSites) -> None:
        self._network = network
        self._nodes = nudged_nodes(network, nudge_sites)
        self.sites = network.free_index[self._nodes]
        """Columns of the free nodes that are nudged."""
        self._inputs: FloatArray | None = None
        self.nudge: ComplexArray | None = None
        """Present nudge, None for none."""
        self.held: FloatArray | None = None
        """(batch, n_outputs) phases of held outputs, None for free ones."""

    @property
    def nudge_nodes(self) -> tuple[int, ...]:
        """Nodes of the columns of a nudge field."""
        return tuple(int(node) for node in self._nodes)

    @property
    def nudges_hidden(self) -> bool:
        """Whether every free node can be nudged."""
        return set(self._network.free.tolist()) <= set(self._nodes.tolist())

    @property
    def inputs(self) -> FloatArray:
        """(batch, n_inputs) clamped phases.

        Raises
        ------
        SubstrateError
            There are none yet.
        """
        if self._inputs is None:
            raise SubstrateError("no inputs yet: call set_inputs first")
        return self._inputs

    def set_inputs(self, phases: FloatArray) -> bool:
        """Take up inputs and let all else go; return whether the batch size is as before."""
        phases = checked_inputs(self._network, phases)
        same = self._inputs is not None and len(phases) == len(self._inputs)
        self._inputs = phases
        self.release()
        return same

    def checked_nudge(self, field: ComplexArray) -> ComplexArray:
        """Return a copy of a (batch, n_nudge_nodes) field for the present batch."""
        return checked_nudge(field, (len(self.inputs), len(self.sites)))

    def hold(self, phases: FloatArray | None) -> FloatArray | None:
        """Take up (batch, n_outputs) phases at which outputs are held; return a copy."""
        if phases is not None:
            phases = checked_clamp(phases, (len(self.inputs), len(self._network.outputs)))
        self.held = phases
        return phases

    def release(self) -> None:
        """Take the nudge away and let the outputs go."""
        self.nudge = self.held = None
