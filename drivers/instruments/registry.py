"""Instrument drivers by name, found through the entry-point group ``eqp_hw.instruments``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

from eqp_hw.errors import ConfigurationError, UnavailableError
from eqp_hw.registry import Listing
from eqp_hw.rig.schema import InstrumentSettings

from .interface import Instrument

__all__ = ["ENTRY_POINT_GROUP", "DriverFactory", "list_drivers", "make_instrument"]

ENTRY_POINT_GROUP = "eqp_hw.instruments"


class DriverFactory(ABC):
    """Makes one kind of instrument from its table in the rig file."""

    description: ClassVar[str]

    def unavailable_because(self) -> str | None:
        """Return why this driver cannot be used here, or None if it can."""
        return None

    def options(self) -> Mapping[str, str]:
        """Return a few words on each option of the table, for ``eqp-hw list``."""
        return {}

    @abstractmethod
    def create(self, name: str, settings: InstrumentSettings) -> Instrument:
        """Make the instrument; opens nothing.

        Raises
        ------
        ConfigurationError
            An unknown option or a wrong value, named ``instruments.NAME.option``.
        """


def _load(entry: EntryPoint) -> DriverFactory:
    factory = entry.load()()
    if not isinstance(factory, DriverFactory):
        raise TypeError(f"{entry.value} is no DriverFactory")
    return factory


def list_drivers() -> list[Listing]:
    """Return all registered drivers, sorted by name."""
    listings = []
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        try:
            factory = _load(entry)
            listings.append(
                Listing(
                    entry.name,
                    factory.description,
                    factory.unavailable_because(),
                    factory.options(),
                )
            )
        except Exception as error:  # noqa: BLE001 - a broken plug-in must not break the list
            listings.append(Listing(entry.name, entry.value, f"{type(error).__name__}: {error}"))
    return listings


def make_instrument(name: str, settings: InstrumentSettings) -> Instrument:
    """Make the instrument that a table of the rig file describes.

    Raises
    ------
    ConfigurationError
        No driver has that name, or an option is wrong.
    UnavailableError
        The driver cannot be used here.
    """
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if settings.kind not in found:
        raise ConfigurationError(
            "there is no such driver",
            field=f"instruments.{name}.kind",
            value=settings.kind,
            allowed=", ".join(sorted(found)),
        )
    try:
        factory = _load(found[settings.kind])
    except (ImportError, TypeError, AttributeError) as error:
        raise UnavailableError(f"driver {settings.kind!r} is unavailable: {error}") from error
    reason = factory.unavailable_because()
    if reason is not None:
        raise UnavailableError(f"driver {settings.kind!r} is unavailable because {reason}")
    return factory.create(name, settings)
