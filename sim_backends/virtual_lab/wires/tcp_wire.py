"""A TCP port on the loopback interface, one client at a time."""

from __future__ import annotations

import socket
import struct
from typing import Final, final

from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.clock import Clock
from eqp_hw.sim_backends.virtual_lab.faults import FaultInjector
from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument

from .loop import READ, WRITE, EventLoop
from .wire import Wire

__all__ = ["TcpWire"]

_CHUNK: Final = 65536
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset: the other side learns at once."""


@final
class TcpWire(Wire):
    """Server of one instrument. A second client waits until the first has left.

    Parameters
    ----------
    name, instrument, loop, clock, faults
        As in `Wire`.
    scheme
        Whether the address names a bare socket ("tcp") or a VISA resource ("visa").
    """

    def __init__(
        self,
        name: str,
        instrument: SimulatedInstrument,
        loop: EventLoop,
        clock: Clock,
        faults: FaultInjector,
        scheme: str = "tcp",
    ) -> None:
        super().__init__(name, instrument, loop, clock, faults)
        self._scheme = scheme
        self._client: socket.socket | None = None
        self._server = socket.create_server(("127.0.0.1", 0), backlog=4)
        self._server.setblocking(False)
        self._port = int(self._server.getsockname()[1])
        self._loop.watch(self._server, READ, self._accept)

    @property
    @override
    def address(self) -> str:
        return f"tcp:127.0.0.1:{self._port}" if self._scheme == "tcp" else f"visa:{self.visa}"

    @property
    @override
    def visa(self) -> str:
        return f"TCPIP::127.0.0.1::{self._port}::SOCKET"

    @override
    def _open_line(self) -> None:
        """Do nothing: the server listens all the time and hangs up on clients while unplugged."""

    @override
    def _close_line(self) -> None:
        if self._client is not None:
            self._reset(self._client)
            self._leave()

    @override
    def _dispose(self) -> None:
        if self._server.fileno() >= 0:
            self._loop.watch(self._server, 0, self._accept)
            self._server.close()

    @override
    def _listen(self, reading: bool, writing: bool) -> None:
        if self._client is not None:
            self._loop.watch(self._client, READ * reading | WRITE * writing, self._ready)

    @override
    def _write(self, data: bytes) -> int:
        if self._client is None:
            return len(data)
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # It has gone; the next read says so.
            return len(data)

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._server.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        if not self.plugged:
            self._reset(client)
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self._session_began()
        self.traffic.connections += 1
        self._loop.watch(self._server, 0, self._accept)
        self._loop.watch(client, READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._writable()
        if events & READ and self._client is not None:
            try:
                data = self._client.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self._received(data)
            else:
                self._session_ended()
                self._leave()

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._loop.watch(client, 0, self._ready)
            client.close()
            self._loop.watch(self._server, READ, self._accept)

    @staticmethod
    def _reset(client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
