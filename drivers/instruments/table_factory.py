"""What every factory of drivers does alike: options read and described, the wire made."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, final

from pydantic import BaseModel
from typing_extensions import override

from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.validation import validated

from .clock import Clock, SystemClock
from .interface import Instrument
from .registry import DriverFactory
from .wire import transport_for

__all__ = ["OpenTransport", "TableFactory"]

OptionsT = TypeVar("OptionsT", bound=BaseModel)
DriverT = TypeVar("DriverT", bound=Instrument)

OpenTransport = Callable[[str, InstrumentSettings], Transport]
"""Makes the wire of ``instruments.NAME``; opens nothing."""


class TableFactory(DriverFactory, Generic[OptionsT, DriverT]):
    """Makes one kind of driver from options that a pydantic model describes.

    Parameters
    ----------
    open_transport
        Makes the wire of an address; the registered kinds of wires by default.
    clock
        What ramps go by.
    """

    options_type: type[OptionsT]
    """The options; each field has a description."""

    def __init__(
        self, open_transport: OpenTransport | None = None, clock: Clock | None = None
    ) -> None:
        self._open_transport = open_transport
        self._clock = SystemClock() if clock is None else clock

    @override
    @final
    def options(self) -> Mapping[str, str]:
        return {k: f.description or "" for k, f in self.options_type.model_fields.items()}

    @override
    @final
    def create(self, name: str, settings: InstrumentSettings) -> DriverT:
        options = validated(self.options_type, settings.options, field=f"instruments.{name}")
        return self._make(name, settings, options)

    @abstractmethod
    def _make(self, name: str, settings: InstrumentSettings, options: OptionsT) -> DriverT:
        """Make the driver; its wire is `_wire`."""

    @final
    def _wire(
        self, name: str, settings: InstrumentSettings, *, reset_on_open: bool = True
    ) -> Transport:
        if self._open_transport is not None:
            return self._open_transport(name, settings)
        return transport_for(name, settings, reset_on_open=reset_on_open)
