"""Where phases are that had no time to come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap

from .interface import Imperfection

__all__ = ["LatePhases"]


@final
class LatePhases:
    """Follows how far the phases of a batch are from the rest that the substrate inside reads.

    Parameters
    ----------
    network
        The graph.
    imperfections
        Those whose `Imperfection.settled` says how far phases come.
    """

    def __init__(self, network: Network, imperfections: Sequence[Imperfection]) -> None:
        self._network = network
        settled = Imperfection.settled
        self._chain = [one for one in imperfections if type(one).settled is not settled]
        self._present: FloatArray | None = None
        self._stored: dict[int, tuple[FloatArray | None, FloatArray | None]] = {}
        self.shift: FloatArray | None = None

    @property
    def active(self) -> bool:
        """Whether there is anything to follow."""
        return bool(self._chain)

    def start(self, seed: int, batch: int) -> None:
        """Take random phases: the emulators' own; those of hardware are not told, but alike."""
        present = np.zeros((batch, self._network.n_nodes))
        shape = (batch, len(self._network.free))
        present[:, self._network.free] = np.random.default_rng(seed).uniform(-np.pi, np.pi, shape)
        self._present, self.shift = present, None

    def settle(self, equilibrium: FloatArray, outputs: FloatArray | None) -> None:
        """Note where the phases are when settling ends.

        Parameters
        ----------
        equilibrium
            (batch, N) where they would rest.
        outputs
            (batch, n_outputs) phases at which outputs are clamped, or None.
        """
        present = equilibrium
        before = equilibrium if self._present is None else self._present
        for one in self._chain:
            present = one.settled(before, present)
        present[:, self._network.inputs] = equilibrium[:, self._network.inputs]
        if outputs is not None:
            present[:, self._network.outputs] = outputs
        self._present, self.shift = present, wrap(present - equilibrium)

    def store(self, token: int) -> None:
        """Remember the present phases under a token's number."""
        self._stored[token] = (self._present, self.shift)

    def restore(self, token: int) -> None:
        """Return to stored phases."""
        self._present, self.shift = self._stored.get(token, (None, None))

    def forget(self) -> None:
        """Forget what was stored."""
        self._stored.clear()
