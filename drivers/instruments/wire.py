"""The wire that an address of the rig file names."""

from __future__ import annotations

from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.errors import ConfigurationError
from eqp_hw.rig.schema import InstrumentSettings

__all__ = ["transport_for"]


def transport_for(
    name: str,
    settings: InstrumentSettings,
    *,
    baud: int = 115200,
    reset_on_open: bool = True,
) -> Transport:
    """Make the wire of ``instruments.NAME``; opens nothing.

    Parameters
    ----------
    baud, reset_on_open
        Of a serial line.

    Raises
    ------
    ConfigurationError
        No such kind of address, or one that cannot be read.
    UnavailableError
        The library of that kind of wire is not installed.
    """
    try:
        return make_transport(
            settings.address, timeout_s=settings.timeout_s, baud=baud, reset_on_open=reset_on_open
        )
    except ConfigurationError as error:
        error.field = f"instruments.{name}.address"
        raise
