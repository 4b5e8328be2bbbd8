"""From parameters as asked for to what the controller may know of them, and to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from eqp_hw.errors import ParameterError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters

from .interface import Imperfection, Signal

__all__ = ["WritePath", "untied"]


def untied(network: Network) -> Network:
    """Return the network with one coupling a bond, so that each bond can have its own error."""
    return Network.create(
        network.n_nodes,
        network.edges,
        network.inputs,
        network.outputs,
        group_kind=network.group_kind[network.coupling_group],
        kind_names=network.kind_names,
        positions=network.positions,
        layer=network.layer,
        name=network.name,
    )


@final
class WritePath:
    """Couplings and bias fields on their way to the substrate inside.

    Parameters
    ----------
    network
        The graph that the controller sees.
    inner
        The graph of the substrate inside, with the same nodes and bonds; its bonds may have
        couplings of their own where those of ``network`` share one.
    coupling_range
        That of the substrate inside, beyond which its actuators saturate.
    imperfections
        In the order of the list.
    """

    def __init__(
        self,
        network: Network,
        inner: Network,
        coupling_range: tuple[float, float],
        imperfections: Sequence[Imperfection],
    ) -> None:
        self._network = network
        self._inner = inner
        self._range = coupling_range
        self._chain = sorted(imperfections, key=lambda one: one.at_network)

    def signals(
        self, asked: Parameters, time_s: float, lag: FloatArray | None
    ) -> tuple[Signal, Signal]:
        """Return what a controller knows to be programmed, and what really is.

        Raises
        ------
        ParameterError
            A value out of range.
        """
        forward, reverse = asked.bond_coupling(self._network)
        known = true = Signal(forward, reverse, asked.bias, lag)
        for one in self._chain:
            if one.known:
                known = one.program(known, time_s, asked=True)
            true = one.program(true, time_s, asked=False)
        for one in self._chain:
            true = one.hold(true)
        low, high = self._range
        self._refuse_beyond_range(known)
        limited = true.with_couplings(
            np.clip(true.forward, low, high), np.clip(true.reverse, low, high)
        )
        return known, limited

    def _refuse_beyond_range(self, known: Signal) -> None:
        low, high = self._range
        for name, values in (("coupling", known.forward), ("coupling_reverse", known.reverse)):
            wrong = np.flatnonzero((values < low) | (values > high))
            if len(wrong):
                raise ParameterError(
                    "outside the range of couplings",
                    field=f"{name}[{self._network.coupling_group[wrong[0]]}]",
                    value=float(values[wrong[0]]),
                    allowed=f"{low:g} to {high:g}",
                )

    def parameters(self, true: Signal, asked: Parameters) -> Parameters:
        """Return the truth as parameters of the substrate inside."""
        directed = asked.directed or not np.array_equal(true.forward, true.reverse)
        return Parameters(
            _by_coupling(self._inner, true.forward),
            true.bias,
            _by_coupling(self._inner, true.reverse) if directed else None,
        )

    def effective(
        self, known: Signal, true: Signal, held: Parameters, asked: Parameters
    ) -> Parameters:
        """Return what a controller may know.

        Parameters
        ----------
        known, true
            As of `signals`.
        held
            What the substrate inside says that it holds.
        asked
            What the controller asked for.
        """
        forward, reverse = held.bond_coupling(self._inner)
        # What the substrate inside rounds, it says: it is known, whatever it acts on.
        forward = known.forward + (forward - true.forward)
        reverse = known.reverse + (reverse - true.reverse)
        return Parameters(
            _by_coupling(self._network, forward),
            known.bias + (held.bias - true.bias),
            _by_coupling(self._network, reverse) if asked.directed else None,
        )


def _by_coupling(network: Network, bonds: FloatArray) -> FloatArray:
    """Return (n_couplings,) from one value a bond; the mean where bonds of one differ."""
    group = network.coupling_group
    values = np.empty(network.n_couplings)
    values[group] = bonds
    if np.array_equal(values[group], bonds):
        return values
    total = np.bincount(group, bonds, minlength=network.n_couplings)
    mean: FloatArray = total / network.group_multiplicity()
    return mean
