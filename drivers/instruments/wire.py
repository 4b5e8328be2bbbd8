"""The wire that an address of the rig file names."""

from __future__ import annotations

from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.errors import ConfigurationError
from eqp_hw.rig.schema import InstrumentSettings

__all__ = ["BAUD_RATE", "baud_rate_of", "transport_for"]

BAUD_RATE = 115200
"""Of all kinds here, where the rig file names no other."""


def baud_rate_of(settings: InstrumentSettings) -> int:
    """Return the speed of an instrument's serial line."""
    return settings.baud_rate or BAUD_RATE


def transport_for(
    name: str,
    settings: InstrumentSettings,
    *,
    reset_on_open: bool = True,
) -> Transport:
    """Make the wire of ``instruments.NAME``; opens nothing.

    Parameters
    ----------
    reset_on_open
        Of a serial line; its speed is that of the table.

    Raises
    ------
    ConfigurationError
        No such kind of address, or one that cannot be read.
    UnavailableError
        The library of that kind of wire is not installed.
    """
    try:
        return make_transport(
            settings.address,
            timeout_s=settings.timeout_s,
            baud=baud_rate_of(settings),
            reset_on_open=reset_on_open,
        )
    except ConfigurationError as error:
        error.field = f"instruments.{name}.address"
        raise
