"""The wire that an address of the rig file stands for."""

from __future__ import annotations

from pathlib import Path

from eqp_hw.errors import ConfigurationError

from .interface import Transport
from .recording import RecordingTransport
from .serial_port import SerialTransport
from .tcp import TcpTransport
from .visa import VisaTransport

__all__ = ["make_transport", "parse_host_port"]

_ALLOWED = "serial:PORT, tcp:HOST:PORT, visa:RESOURCE"


def make_transport(
    address: str,
    *,
    timeout_s: float = 2.0,
    baud: int = 115200,
    reset_on_open: bool = True,
    visa_backend: str = "@py",
    wire_log: Path | None = None,
) -> Transport:
    """Make the wire for ``address``; opens nothing and needs no library yet.

    Parameters
    ----------
    address
        ``serial:/dev/ttyUSB0`` (or a URL of pyserial: ``serial:socket://host:port``),
        ``tcp:host:5025`` or ``visa:RESOURCE``.
    timeout_s
        Default deadline of a reply.
    baud
        Bits per second of serial ports, ``ASRL`` resources included.
    reset_on_open
        See `SerialTransport`.
    visa_backend
        ``@py`` (pyvisa-py), ``@ivi`` or the path of a vendor's VISA library.
    wire_log
        File to which everything that passes is appended; see `RecordingTransport`.

    Raises
    ------
    ConfigurationError
        The address is none of these.
    """
    scheme, _, place = address.partition(":")
    wire: Transport
    if scheme == "serial" and place:
        wire = SerialTransport(
            place, address=address, timeout_s=timeout_s, baud=baud, reset_on_open=reset_on_open
        )
    elif scheme == "tcp" and place:
        host, port = parse_host_port(address)
        wire = TcpTransport(host, port, address=address, timeout_s=timeout_s)
    elif scheme == "visa" and place:
        wire = VisaTransport(
            place, address=address, timeout_s=timeout_s, baud=baud, backend=visa_backend
        )
    else:
        raise ConfigurationError(
            "is no address of an instrument", field="address", value=address, allowed=_ALLOWED
        )
    return wire if wire_log is None else RecordingTransport(wire, wire_log)


def parse_host_port(address: str) -> tuple[str, int]:
    """Return host and port of ``tcp:host:port``; an IPv6 host stands in brackets.

    Raises
    ------
    ConfigurationError
        It is none.
    """
    host, colon, port = address.removeprefix("tcp:").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    good = colon and host and (bracketed or ":" not in host)
    # isascii: int() takes other scripts' digits as well
    if not good or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigurationError(
            "is no TCP address",
            field="address",
            value=address,
            allowed="tcp:HOST:PORT, PORT < 65536",
        )
    return host, int(port)
