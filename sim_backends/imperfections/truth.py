"""What is hidden behind imperfections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters

from .interface import Draws

__all__ = ["Truth"]


@final
@dataclass(frozen=True, eq=False)
class Truth:
    """What no controller may know, for tests.

    Attributes
    ----------
    network
        Graph of the substrate inside.
    parameters
        What is programmed there; None before `Substrate.write_parameters`.
    lag
        (n_edges, 2) phase lags in force, or None.
    draws
        Hidden draws of each imperfection, in the order of the list.
    """

    network: Network
    parameters: Parameters | None
    lag: FloatArray | None
    draws: tuple[Draws, ...]
