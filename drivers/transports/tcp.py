"""A raw TCP socket."""

from __future__ import annotations

import socket
from typing import final

from typing_extensions import override

from eqp_hw.drivers.errors import LostError, TransportTimeout

from .interface import Transport

__all__ = ["TcpTransport"]


@final
class TcpTransport(Transport):
    """A TCP connection.

    Parameters
    ----------
    host, port
        Where the instrument listens.
    address
        As in the rig file; made from host and port where None.
    timeout_s
        Default deadline of a reply, and that of connecting and sending.
    """

    def __init__(
        self, host: str, port: int, *, address: str | None = None, timeout_s: float = 2.0
    ) -> None:
        super().__init__(address or f"tcp:{host}:{port}", timeout_s=timeout_s)
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None

    @override
    def _open(self) -> None:
        try:
            wire = socket.create_connection((self._host, self._port), timeout=self.timeout_s)
        except socket.gaierror as error:
            raise LostError(
                f"the host {self._host!r} is unknown: {error.strerror}", instrument=self.address
            ) from error
        except TimeoutError as error:
            raise LostError(
                f"no connection within {self.timeout_s:g} s",
                instrument=self.address,
                advice="is the instrument on, and reachable from this network?",
            ) from error
        except OSError as error:
            raise LostError(
                f"no connection: {error.strerror or error}",
                instrument=self.address,
                advice="is the instrument on, is the port right, has another program its only "
                "connection?",
            ) from error
        # A request is a few bytes: waiting to fill a packet would cost up to 40 ms each.
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket = wire

    @override
    def _close(self) -> None:
        wire, self._socket = self._socket, None
        if wire is not None:
            wire.close()

    @override
    def _send(self, data: bytes) -> None:
        wire = self._connected()
        try:
            wire.settimeout(self.timeout_s)
            wire.sendall(data)
        except TimeoutError as error:
            raise TransportTimeout(
                f"no byte was taken within {self.timeout_s:g} s", instrument=self.address
            ) from error
        except OSError as error:
            raise self._lost(error) from error

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        wire = self._connected()
        try:
            wire.settimeout(timeout_s)
            data = wire.recv(most)
        except (TimeoutError, BlockingIOError):
            return b""
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise LostError(
                "the other side closed the connection",
                instrument=self.address,
                advice="powered and plugged in?",
            )
        return data

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise LostError("the wire is closed", instrument=self.address, advice="open it first")
        return self._socket

    def _lost(self, error: OSError) -> LostError:
        return LostError(
            f"the connection broke: {error.strerror or error}",
            instrument=self.address,
            advice="powered and plugged in?",
        )
