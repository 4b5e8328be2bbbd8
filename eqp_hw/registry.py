"""Substrates by name, found through the entry-point group ``eqp_hw.substrates``.

A third party adds a substrate by an entry point that names a `SubstrateFactory` subclass. One
whose library is missing is listed as unavailable, with the reason, and never breaks the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, final

from eqp_hw.errors import ConfigurationError, UnavailableError
from eqp_hw.network.graph import Network
from eqp_hw.substrate import Substrate

__all__ = [
    "ENTRY_POINT_GROUP",
    "WRAPPER_GROUP",
    "Listing",
    "SubstrateFactory",
    "SubstrateWrapper",
    "list_substrates",
    "make_substrate",
]

ENTRY_POINT_GROUP = "eqp_hw.substrates"
WRAPPER_GROUP = "eqp_hw.substrate_wrappers"
"""Wrappers by the key of the ``[substrate]`` table that each one takes."""


@final
@dataclass(frozen=True)
class Listing:
    """One line of ``eqp-hw list``: a name, what it is, and why it cannot be used (if so)."""

    name: str
    description: str
    unavailable_because: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class SubstrateFactory(ABC):
    """Makes one kind of substrate from the options of an experiment file."""

    description: ClassVar[str]

    def unavailable_because(self) -> str | None:
        """Return why this substrate cannot be made here, or None if it can."""
        return None

    def options(self) -> Mapping[str, str]:
        """Return a few words on each option of the ``[substrate]`` table, for ``eqp-hw list``."""
        return {}

    @abstractmethod
    def create(self, network: Network, options: Mapping[str, object]) -> Substrate:
        """Make a substrate for ``network``.

        Raises
        ------
        ConfigurationError
            An unknown or unusable option, named as ``substrate.<option>``.
        """

    def create_seeded(
        self, network: Network, options: Mapping[str, object], seed: int
    ) -> Substrate:
        """Make it for a run of this seed; for kinds with noise or imperfections within."""
        return self.create(network, options)


class SubstrateWrapper(ABC):
    """Takes one key of the ``[substrate]`` table, of whatever kind, and wraps the substrate."""

    @abstractmethod
    def wrap(
        self,
        kind: str,
        make: Callable[[Network], Substrate],
        network: Network,
        value: object,
        seed: int,
    ) -> Substrate:
        """Make the substrate and wrap it.

        Parameters
        ----------
        kind
            Name of the substrate.
        make
            Makes it for a network.
        network
            The graph that the wrapped substrate is to have.
        value
            What stands behind the key.
        seed
            The run's seed.

        Raises
        ------
        ConfigurationError
            The value is wrong, or does not fit the substrate.
        """


def _load(entry: EntryPoint) -> SubstrateFactory:
    factory = entry.load()()
    if not isinstance(factory, SubstrateFactory):
        raise TypeError(f"{entry.value} is no SubstrateFactory")
    return factory


def list_substrates() -> list[Listing]:
    """Return all registered substrates, sorted by name."""
    listings = []
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        try:
            factory = _load(entry)
            reason = factory.unavailable_because()
            options = factory.options()
            listings.append(Listing(entry.name, factory.description, reason, options))
        except Exception as error:  # noqa: BLE001 - a broken plug-in must not break the list
            listings.append(Listing(entry.name, entry.value, f"{type(error).__name__}: {error}"))
    return listings


def make_substrate(
    kind: str, network: Network, options: Mapping[str, object], *, seed: int = 0
) -> Substrate:
    """Make the substrate named ``kind``.

    Parameters
    ----------
    kind
        Name in the entry-point group.
    network
        The graph.
    options
        Further keys of the ``[substrate]`` table.
    seed
        The run's seed, from which imperfections draw what they do not draw from a seed of
        their own.

    Raises
    ------
    ConfigurationError
        No substrate has that name, or an option is wrong.
    UnavailableError
        It is registered but cannot be used here.
    """
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if kind not in found:
        raise ConfigurationError(
            "no such substrate",
            field="substrate.kind",
            value=kind,
            allowed=", ".join(sorted(found)) or "none is registered: is eqp_hw installed?",
        )
    try:
        factory = _load(found[kind])
    except (ImportError, TypeError, AttributeError) as error:
        raise UnavailableError(f"substrate {kind!r} is unavailable because {error}") from error
    reason = factory.unavailable_because()
    if reason is not None:
        raise UnavailableError(f"substrate {kind!r} is unavailable because {reason}")
    options = dict(options)
    make: Callable[[Network], Substrate] = partial(_create, factory, options, seed)
    for entry in sorted(entry_points(group=WRAPPER_GROUP), key=lambda e: e.name):
        if entry.name in options:
            value = options.pop(entry.name)
            wrapper: SubstrateWrapper = entry.load()()
            make = partial(_wrap, wrapper, kind, make, value, seed)
    return make(network)


def _create(
    factory: SubstrateFactory, options: Mapping[str, object], seed: int, network: Network
) -> Substrate:
    return factory.create_seeded(network, options, seed)


def _wrap(
    wrapper: SubstrateWrapper,
    kind: str,
    make: Callable[[Network], Substrate],
    value: object,
    seed: int,
    network: Network,
) -> Substrate:
    return wrapper.wrap(kind, make, network, value, seed)
