"""VISA resources through pyvisa; pyvisa-py, which needs no vendor's library, is the default.

Streams (``SOCKET``, ``ASRL``) are read by what has arrived, because a VISA read of more bytes
than there are waits for its time-out and then drops what it had. Messages (``INSTR`` over
VXI-11, HiSLIP, USBTMC, GPIB) end themselves; they are read only when a reply is due, since
asking for one that is not there is an error on the instrument.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, Any, final

from typing_extensions import override

from eqp_hw.drivers.errors import BusyError, LostError, TransportError, TransportTimeout
from eqp_hw.errors import ConfigurationError, EqpError, UnavailableError

from .interface import Transport
from .port_access import open_failure

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

__all__ = ["VisaTransport"]

_PEEK = 4095
"""pyvisa-py reads a socket in portions of 4096 bytes and keeps what exceeds the request."""
_SEND = 4096


@final
class VisaTransport(Transport):
    """A VISA resource.

    Parameters
    ----------
    resource
        ``TCPIP::host::5025::SOCKET``, ``TCPIP::host::inst0::INSTR``, ``ASRL/dev/ttyUSB0::INSTR``,
        ``USB0::…::INSTR``, ``GPIB0::8::INSTR``.
    address
        As in the rig file; made from the resource where None.
    timeout_s
        Default deadline of a reply, and that of connecting and sending.
    baud
        Bits per second of ``ASRL`` resources.
    backend
        ``@py``, ``@ivi`` or the path of a vendor's library.
    """

    def __init__(
        self,
        resource: str,
        *,
        address: str | None = None,
        timeout_s: float = 2.0,
        baud: int = 115200,
        backend: str = "@py",
    ) -> None:
        super().__init__(address or f"visa:{resource}", timeout_s=timeout_s)
        self._name = resource
        self._baud = baud
        self._backend = backend
        upper = resource.upper()
        self._is_serial = upper.startswith("ASRL")
        self._is_stream = self._is_serial or upper.endswith("::SOCKET")
        self._resource: MessageBasedResource | None = None
        self._socket: socket.socket | None = None
        self._set_timeout_s = timeout_s

    @override
    def _open(self) -> None:
        try:
            import pyvisa  # noqa: PLC0415 - an extra
            from pyvisa.resources import MessageBasedResource  # noqa: PLC0415
        except ImportError as error:
            raise UnavailableError(
                "a VISA resource needs pyvisa: pip install 'eqp_hw[instruments]'"
            ) from error
        try:
            manager = pyvisa.ResourceManager(self._backend)
        except (ValueError, OSError, pyvisa.Error) as error:
            raise UnavailableError(
                f"{self.address}: no VISA library {self._backend!r}: {error} "
                "(@py needs pip install 'eqp_hw[instruments]')"
            ) from error
        try:
            resource = manager.open_resource(
                self._name, open_timeout=max(1, round(1000 * self.timeout_s))
            )
        # pyvisa-py raises bare Exception where it cannot connect, whatever the cause.
        except Exception as error:
            raise self._open_failure(error) from error
        if not isinstance(resource, MessageBasedResource):
            resource.close()
            raise ConfigurationError(
                "is no resource to talk to", field="address", value=self.address
            )
        try:
            self._prepare(resource)
        except Exception as error:
            with contextlib.suppress(Exception):
                resource.close()
            if isinstance(error, TransportError):
                raise
            raise self._open_failure(error) from error
        self._resource = resource

    def _prepare(self, resource: MessageBasedResource) -> None:
        """Set speed and framing; find out whether anybody is there at all."""
        from pyvisa.constants import SerialTermination  # noqa: PLC0415 - an extra

        resource.timeout = 1000 * self.timeout_s
        self._set_timeout_s = self.timeout_s
        interface = _interface(resource)
        if self._is_serial:
            settings: Any = resource
            settings.baud_rate = self._baud
            settings.end_input = SerialTermination.none
            if hasattr(interface, "exclusive"):
                interface.exclusive = True
        elif isinstance(interface, socket.socket) and self._is_stream:
            # pyvisa-py takes a refused connection for an open one.
            interface.getpeername()
            interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = interface

    @override
    def _close(self) -> None:
        resource, self._resource, self._socket = self._resource, None, None
        if resource is not None:
            # A broken wire must not keep us from letting go of it.
            with contextlib.suppress(Exception):
                resource.close()

    @override
    def _send(self, data: bytes) -> None:
        resource = self._opened()
        try:
            if self._socket is None:
                resource.visalib.write(resource.session, data)
                return
            deadline = time.monotonic() + self.timeout_s
            for start in range(0, len(data), _SEND):
                # pyvisa-py itself would wait for ever here.
                left = max(0.0, deadline - time.monotonic())
                if not select.select([], [self._socket], [], left)[1]:
                    raise TransportTimeout(
                        f"no byte was taken within {self.timeout_s:g} s", instrument=self.address
                    )
                resource.visalib.write(resource.session, data[start : start + _SEND])
        except TransportTimeout:
            raise
        # pyvisa-py lets the exceptions of sockets, pyserial and pyusb through.
        except Exception as error:
            failure = self._failure(error)
            if failure is None:
                failure = TransportTimeout(
                    f"no byte was taken within {self.timeout_s:g} s", instrument=self.address
                )
            raise failure from error

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        if self._socket is not None:
            return self._receive_socket(self._socket, most, timeout_s)
        if not self._is_stream:
            return self._read(most, timeout_s)
        data = b""
        waiting = self._waiting()
        if not waiting:
            if timeout_s <= 0:
                return b""
            data = self._read(1, timeout_s)
            waiting = self._waiting() if data else 0
        count = min(waiting, most - len(data))
        return data + (self._read(count, self.timeout_s) if count > 0 else b"")

    def _receive_socket(self, wire: socket.socket, most: int, timeout_s: float) -> bytes:
        """Read exactly what has arrived: pyvisa-py spins at a closed socket until its time-out."""
        try:
            if not select.select([wire], [], [], max(0.0, timeout_s))[0]:
                return b""
            count = len(wire.recv(min(most, _PEEK), socket.MSG_PEEK))
        except (OSError, ValueError) as error:
            raise self._lost(error) from error
        if count == 0:
            raise LostError(
                "the other side closed the connection",
                instrument=self.address,
                advice="powered and plugged in?",
            )
        return self._read(count, self.timeout_s)

    @override
    def _listen(self, timeout_s: float) -> bytes:
        if not self._is_stream:
            return b""
        return super()._listen(timeout_s)

    @override
    def _clear(self) -> None:
        if self._is_stream:
            return
        resource = self._opened()
        try:
            resource.clear()
        except Exception as error:
            if (failure := self._failure(error)) is not None:
                raise failure from error

    def _waiting(self) -> int:
        """Return the number of bytes that have arrived on a serial port; 0 where unknown."""
        if not self._is_serial:
            return 0
        port: Any = self._opened()
        try:
            return int(port.bytes_in_buffer)
        except Exception as error:
            raise self._failure(error) or self._lost(error) from error

    def _read(self, count: int, timeout_s: float) -> bytes:
        from pyvisa.constants import StatusCode  # noqa: PLC0415 - an extra

        resource = self._opened()
        try:
            if timeout_s != self._set_timeout_s:
                resource.timeout = max(1.0, 1000 * timeout_s)
                self._set_timeout_s = timeout_s
            with resource.ignore_warning(StatusCode.success_max_count_read):
                data, _ = resource.visalib.read(resource.session, count)
        except Exception as error:
            if (failure := self._failure(error)) is not None:
                raise failure from error
            return b""
        return bytes(data)

    def _opened(self) -> MessageBasedResource:
        if self._resource is None:
            raise LostError("the wire is closed", instrument=self.address, advice="open it first")
        return self._resource

    def _failure(self, error: Exception) -> TransportError | None:
        """Return our error for one of the many that come out of pyvisa; None for a time-out."""
        from pyvisa.constants import StatusCode  # noqa: PLC0415 - an extra

        if getattr(error, "error_code", None) == StatusCode.error_timeout:
            return None
        return self._lost(error)

    def _lost(self, error: Exception) -> LostError:
        return LostError(
            f"the connection broke: {error}",
            instrument=self.address,
            advice="powered and plugged in?",
        )

    def _open_failure(self, error: Exception) -> EqpError:
        from pyvisa.constants import StatusCode  # noqa: PLC0415 - an extra

        if self._is_serial and isinstance(error, OSError):
            path = self._name[4:].partition("::")[0]
            return open_failure(self.address, path, error)
        if isinstance(error, ValueError) and "install" in str(error):
            return UnavailableError(f"{self.address}: {error}")
        code = getattr(error, "error_code", None)
        if code == StatusCode.error_invalid_resource_name:
            return ConfigurationError(
                "is no VISA resource",
                field="address",
                value=self.address,
                allowed="TCPIP::HOST::PORT::SOCKET, ASRL/dev/ttyUSB0::INSTR, GPIB0::8::INSTR, …",
            )
        if code in {StatusCode.error_resource_busy, StatusCode.error_resource_locked}:
            return BusyError(
                "the resource is in use",
                instrument=self.address,
                advice="close the other program that uses it",
            )
        return LostError(
            f"it cannot be opened: {error}",
            instrument=self.address,
            advice="is the instrument on, is the resource string right? `eqp-hw list` shows "
            "what VISA sees",
        )


def _interface(resource: MessageBasedResource) -> Any:
    """Return the socket or port underneath, which pyvisa-py has and other backends do not."""
    sessions = getattr(resource.visalib, "sessions", {})
    return getattr(sessions.get(resource.session), "interface", None)
