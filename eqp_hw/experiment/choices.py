"""Costs and optimisers by name, as an experiment file names them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.costs import Cosine, Cost, CrossEntropy, LogCosine
from eqp_hw.learning.optimisers import Adam, GradientDescent, Momentum, Optimiser
from eqp_hw.validation import construct, did_you_mean

__all__ = ["COSTS", "OPTIMISERS", "make_cost", "make_optimiser"]

# `FrozenTorque` takes a function, which no file can hold: Python API only.
COSTS: Mapping[str, type[Cost]] = MappingProxyType(
    {cls.name: cls for cls in (LogCosine, Cosine, CrossEntropy)}
)
OPTIMISERS: Mapping[str, type[Optimiser]] = MappingProxyType(
    {cls.name: cls for cls in (GradientDescent, Momentum, Adam)}
)

T = TypeVar("T")


def make_cost(kind: str, options: Mapping[str, object]) -> Cost:
    """Make a cost by name.

    Raises
    ------
    ConfigurationError
        An unknown kind or option, or a value that the cost refuses.
    """
    return construct(_choose(COSTS, kind, "cost"), options, field="cost")


def make_optimiser(kind: str, options: Mapping[str, object]) -> Optimiser:
    """Make an optimiser by name; errors as in `make_cost`."""
    return construct(_choose(OPTIMISERS, kind, "optimiser"), options, field="optimiser")


def _choose(table: Mapping[str, type[T]], kind: str, what: str) -> type[T]:
    if kind not in table:
        raise ConfigurationError(
            f"no such {what}{did_you_mean(kind, table)}",
            field=f"{what}.kind",
            value=kind,
            allowed=", ".join(table),
        )
    return table[kind]
