"""What a resumed run must know of a substrate and of the imperfections around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray
from eqp_hw.substrate import Substrate

from .interface import Imperfection

__all__ = ["collect", "distribute"]

_CLOCK = "imperfections clock_s"
_INNER = "inner "


def collect(
    inner: Substrate, imperfections: Sequence[Imperfection], time_s: float
) -> dict[str, FloatArray]:
    """Return the memory of all parts, by name."""
    memory = {_INNER + key: value for key, value in inner.store_memory().items()}
    return memory | _own(imperfections, time_s)


def distribute(
    memory: Mapping[str, FloatArray], inner: Substrate, imperfections: Sequence[Imperfection]
) -> float:
    """Hand each part its memory; return the simulated time.

    Raises
    ------
    SubstrateError
        The memory is of other imperfections.
    """
    wanted = set(_own(imperfections, 0.0))
    if {key for key in memory if not key.startswith(_INNER)} != wanted:
        raise SubstrateError(
            "the memory kept of the run is of other imperfections: continue it with the list "
            "that it began with"
        )
    inner.restore_memory(_below(_INNER, memory))
    for number, one in enumerate(imperfections):
        one.remember(_below(_head(number), memory))
    return float(np.asarray(memory[_CLOCK])[0])


def _own(imperfections: Sequence[Imperfection], time_s: float) -> dict[str, FloatArray]:
    memory = {_CLOCK: np.array([time_s])}
    for number, one in enumerate(imperfections):
        memory |= {_head(number) + key: value.copy() for key, value in one.memory().items()}
    return memory


def _head(number: int) -> str:
    return f"imperfection {number} "


def _below(head: str, memory: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {k.removeprefix(head): v for k, v in memory.items() if k.startswith(head)}
