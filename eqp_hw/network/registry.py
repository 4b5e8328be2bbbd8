"""The table of architectures: what an experiment file may ask for, by name and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, final

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders import (
    all_to_all,
    convolutional,
    layered,
    locally_connected,
    square_lattice,
    stacked_lattices,
)
from eqp_hw.network.graph import Network
from eqp_hw.network.interop import from_edge_list

__all__ = ["NETWORKS", "NetworkKind", "build_network"]


@final
@dataclass(frozen=True)
class NetworkKind:
    """One architecture.

    Attributes
    ----------
    name
        As written in an experiment file.
    builder
        Function that makes the network; its parameters are the options.
    description
        One line.
    unavailable_because
        Why it cannot be used here, or None.
    """

    name: str
    builder: Callable[..., Network]
    description: str
    unavailable_because: str | None = None

    @property
    def options(self) -> dict[str, object]:
        """Option names with their defaults; `inspect.Parameter.empty` where one is required."""
        parameters = inspect.signature(self.builder).parameters
        return {name: parameter.default for name, parameter in parameters.items()}

    @property
    def required(self) -> list[str]:
        """Names of the options without a default."""
        empty = inspect.Parameter.empty
        return [name for name, default in self.options.items() if default is empty]


_KINDS = (
    NetworkKind("all-to-all", all_to_all, "every pair of nodes coupled"),
    NetworkKind("layered", layered, "dense layers, e.g. sizes = [64, 200, 10]"),
    NetworkKind(
        "lattice",
        square_lattice,
        "square lattice, open or periodic, with skip connections of chosen lengths",
    ),
    NetworkKind("stacked-lattices", stacked_lattices, "square lattices joined by local windows"),
    NetworkKind(
        "locally-connected",
        locally_connected,
        "input windows without weight sharing, optional couplings inside the layer",
    ),
    NetworkKind(
        "convolutional", convolutional, "input windows with shared couplings, several channels"
    ),
    NetworkKind("edge-list", from_edge_list, "any graph, from a file or a list of node pairs"),
)

NETWORKS: Final[Mapping[str, NetworkKind]] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""All architectures by name."""


def build_network(kind: str, options: Mapping[str, object]) -> Network:
    """Build the network that an experiment file asks for.

    Parameters
    ----------
    kind
        A name in `NETWORKS`.
    options
        The builder's options: numbers, text and lists as TOML has them.

    Raises
    ------
    NetworkError
        Unknown kind, an unknown or missing option (field ``network.<option>``), or a value
        that the builder refuses.
    """
    entry = NETWORKS.get(kind)
    if entry is None:
        raise NetworkError(
            "no such architecture" + _suggestion(kind, NETWORKS),
            field="network.kind",
            value=kind,
            allowed=", ".join(NETWORKS),
        )
    known = ", ".join(entry.options)
    for option, value in options.items():
        if option not in entry.options:
            raise NetworkError(
                f"a network of kind {kind!r} has no such option"
                + _suggestion(option, entry.options),
                field=f"network.{option}",
                value=value,
                allowed=known,
            )
    for option in entry.required:
        if option not in options:
            raise NetworkError(
                f"a network of kind {kind!r} needs this option",
                field=f"network.{option}",
                allowed=f"options {known}",
            )
    return entry.builder(**options)


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
