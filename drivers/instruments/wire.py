"""The wire that an address of the rig file names."""

from __future__ import annotations

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
    kind, _, rest = settings.address.partition(":")
    timeout_s = settings.timeout_s
    # Each wire brings a library of its own; only the one in use need be there.
    if kind == "serial":
        from eqp_hw.drivers.transports.serial_port import SerialTransport  # noqa: PLC0415

        return SerialTransport(
            rest,
            address=settings.address,
            timeout_s=timeout_s,
            baud=baud,
            reset_on_open=reset_on_open,
        )
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdigit():
        from eqp_hw.drivers.transports.tcp import TcpTransport  # noqa: PLC0415

        return TcpTransport(host, int(port), address=settings.address, timeout_s=timeout_s)
    raise ConfigurationError(
        "not an address",
        field=f"instruments.{name}.address",
        value=settings.address,
        allowed="serial:/dev/ttyUSB0, tcp:host:port or visa:RESOURCE",
    )
