"""A serial port through pyserial; also its URLs (``socket://``, ``rfc2217://``, ``spy://``)."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TYPE_CHECKING, final

from typing_extensions import override

from eqp_hw.drivers.errors import LostError, TransportTimeout
from eqp_hw.errors import UnavailableError

from .interface import Transport
from .port_access import open_failure

if TYPE_CHECKING:
    import serial

__all__ = ["SerialTransport"]


@final
class SerialTransport(Transport):
    """A serial port, 8 data bits, no parity, 1 stop bit, no flow control, locked for us alone.

    Parameters
    ----------
    port
        ``/dev/ttyUSB0``, ``COM3`` or a URL of pyserial.
    address
        As in the rig file; made from the port where None.
    timeout_s
        Default deadline of a reply, and that of sending.
    baud
        Bits per second.
    reset_on_open
        Whether the DTR line may move when the port is opened. Boards of the Arduino kind restart
        then. Where False the line is kept as it is when we close, so that the next opening
        finds it up; on Linux the very first opening after plugging in restarts the board all
        the same.
    """

    def __init__(
        self,
        port: str,
        *,
        address: str | None = None,
        timeout_s: float = 2.0,
        baud: int = 115200,
        reset_on_open: bool = True,
    ) -> None:
        super().__init__(address or f"serial:{port}", timeout_s=timeout_s)
        self._name = port
        self._baud = baud
        self._reset_on_open = reset_on_open
        self._port: serial.SerialBase | None = None
        self._descriptor: int | None = None
        """Of a port of this machine, where there are such things; None for URLs, on Windows."""

    @override
    def _open(self) -> None:
        try:
            import serial  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise UnavailableError(
                "a serial port needs pyserial: pip install 'eqp_hw[instruments]'"
            ) from error
        try:
            port = serial.serial_for_url(
                self._name,
                do_not_open=True,
                baudrate=self._baud,
                timeout=self.timeout_s,
                write_timeout=self.timeout_s,
                exclusive=None if sys.platform == "win32" else True,
            )
            if not self._reset_on_open and sys.platform == "win32":
                port.dtr = False
            port.open()
        except OSError as error:
            raise open_failure(self.address, self._name, error) from error
        except ValueError as error:  # an unknown URL, a speed that the port cannot do
            raise LostError(
                f"{self._name} cannot be opened: {error}", instrument=self.address
            ) from error
        if not self._reset_on_open:
            _keep_dtr(port)
        # USB adapters otherwise hold replies back for 16 ms; others (and pseudo-terminals) refuse.
        with contextlib.suppress(AttributeError, ValueError, OSError, NotImplementedError):
            port.set_low_latency_mode(True)
        self._port = port
        if os.name == "posix" and isinstance(port, serial.Serial):
            self._descriptor = port.fileno()

    @override
    def _close(self) -> None:
        port, self._port, self._descriptor = self._port, None, None
        if port is not None:
            with contextlib.suppress(OSError):
                port.close()

    @override
    def _send(self, data: bytes) -> None:
        import serial  # noqa: PLC0415 - an extra; it is there once the port is open

        try:
            if self._descriptor is not None:
                # The few bytes of a request mostly fit; pyserial would wait for room afterwards.
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self._descriptor, data) :]
            if data:
                self._opened().write(data)
        except serial.SerialTimeoutException as error:
            raise TransportTimeout(
                f"no byte was taken within {self.timeout_s:g} s", instrument=self.address
            ) from error
        except OSError as error:
            raise self._lost(error) from error

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        port = self._opened()
        if self._descriptor is not None:
            return self._receive_directly(self._descriptor, most, timeout_s)
        data = b""
        try:
            if timeout_s > 0:
                port.timeout = timeout_s
                data = port.read(1)
                if not data:
                    return b""
            if len(data) < most:
                port.timeout = 0  # what else is there already
                data += port.read(most - len(data))
            return data
        except OSError as error:
            if data:  # the last byte of a wire that is gone: said the next time
                return data
            raise self._lost(error) from error

    def _receive_directly(self, descriptor: int, most: int, timeout_s: float) -> bytes:
        """Wait and read without pyserial, which configures the port anew for each time-out."""
        try:
            if not select.select([descriptor], [], [], timeout_s)[0]:
                return b""
            data = os.read(descriptor, most)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise self._lost(OSError("it is ready to be read and gives nothing"))
        return data

    def _opened(self) -> serial.SerialBase:
        if self._port is None:
            raise LostError("the wire is closed", instrument=self.address, advice="open it first")
        return self._port

    def _lost(self, error: OSError) -> LostError:
        return LostError(
            f"the port is gone: {error}",
            instrument=self.address,
            advice="unplugged? plug it in and recover",
        )


def _keep_dtr(port: serial.SerialBase) -> None:
    """Keep the DTR line up when the port is closed, so that opening it again moves nothing."""
    try:
        import termios  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    with contextlib.suppress(OSError, AttributeError, termios.error):
        handle = port.fileno()
        settings = termios.tcgetattr(handle)
        settings[2] &= ~termios.HUPCL
        termios.tcsetattr(handle, termios.TCSANOW, settings)
