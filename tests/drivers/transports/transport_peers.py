"""The other ends of wires: scripted instruments on real ptys and sockets, and one in memory."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import tty
from collections import deque
from collections.abc import Callable
from typing import final

from typing_extensions import override

from eqp_hw.drivers.errors import LostError
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import FixedProbe, LineProtocol, NonceProbe
from eqp_hw.drivers.transports.session import Session

Answer = Callable[[bytes], bytes]
SHORT_S = 0.05
"""Deadline of replies that are known not to come."""


def voltmeter(request: bytes) -> bytes:
    """A small instrument: identity, a number echoed, a value for each channel."""
    if request == b"id?":
        return b"Q8iv-0001\n"
    if request.startswith(b"echo "):
        return request[5:] + b"\n"
    if request.startswith(b"V") and request.endswith(b"?"):
        return b"%+.4f V\n" % int(request[1:-1])
    if request == b"block?":
        return b"#216" + bytes(range(16)) + b"\n"
    return b"OK\n"


class Script:
    """Answers as `voltmeter`, but for the requests that have a line here; each is used once."""

    def __init__(self, *lines: tuple[bytes, bytes]) -> None:
        self.left = list(lines)
        self.asked: list[bytes] = []

    def __call__(self, request: bytes) -> bytes:
        self.asked.append(request)
        for index, (awaited, reply) in enumerate(self.left):
            if awaited == request:
                del self.left[index]
                return reply
        return voltmeter(request)


class PtyPeer:
    """An instrument on a real pseudo-terminal."""

    def __init__(self, answer: Answer = voltmeter) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._wake_read, self._wake_write = os.pipe()
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"serial:{self.port}"

    @property
    def visa_address(self) -> str:
        return f"visa:ASRL{self.port}::INSTR"

    def push(self, data: bytes) -> None:
        """Send unasked; back when the bytes can be read at the other end."""
        os.write(self._master, data)
        assert select.select([self._slave], [], [], 5.0)[0]

    def unplug(self) -> None:
        """Close the instrument's end."""
        if self._thread.is_alive():
            os.write(self._wake_write, b"x")
            self._thread.join(5.0)
        for handle in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(handle)

    def close(self) -> None:
        self.unplug()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _serve(self) -> None:
        unread = b""
        while True:
            ready, _, _ = select.select([self._master, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            unread += os.read(self._master, 65536)
            *lines, unread = unread.split(b"\n")
            for line in lines:
                os.write(self._master, self._answer(line))


class TcpPeer:
    """An instrument on a real socket; one client at a time, the next after it."""

    HANG_UP = b"\x04"

    def __init__(self, answer: Answer = voltmeter, *, portions: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answer = answer
        self._portions = portions
        self._client: socket.socket | None = None
        self._connected = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"tcp:127.0.0.1:{self.port}"

    @property
    def visa_address(self) -> str:
        return f"visa:TCPIP::127.0.0.1::{self.port}::SOCKET"

    def push(self, data: bytes) -> None:
        self._present().sendall(data)

    def hang_up(self) -> None:
        self._present().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)
        self._listener.close()

    def _present(self) -> socket.socket:
        """Return the client's end; the kernel connects it before our thread has accepted it."""
        assert self._connected.wait(5.0)
        assert self._client is not None
        return self._client

    def _serve(self) -> None:
        while not self._closing:
            client, _ = self._listener.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._client = client
                self._connected.set()
                with contextlib.suppress(OSError):
                    self._serve_client(client)

    def _serve_client(self, client: socket.socket) -> None:
        unread = b""
        while not self._closing and (data := client.recv(65536)):
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                reply = self._answer(line)
                hang_up = reply.endswith(self.HANG_UP)
                reply = reply.removesuffix(self.HANG_UP)
                if self._portions:
                    for byte in reply:
                        client.sendall(bytes([byte]))
                else:
                    client.sendall(reply)
                if hang_up:
                    return


@final
class MemoryTransport(Transport):
    """A wire without time: what is not there yet has timed out.

    ``answer`` gets each request line and returns the portions in which bytes come back; an
    empty portion is a time-out.
    """

    def __init__(self, answer: Callable[[bytes], list[bytes]], timeout_s: float = 60.0) -> None:
        super().__init__("tcp:memory:1", timeout_s=timeout_s)
        self._answer = answer
        self._portions: deque[bytes] = deque()
        self._sent = b""
        self.gone = False

    @override
    def _open(self) -> None:
        if self.gone:
            raise LostError("nobody there", instrument=self.address)
        self._portions.clear()
        self._sent = b""

    @override
    def _close(self) -> None:
        self._portions.clear()

    @override
    def _send(self, data: bytes) -> None:
        *lines, self._sent = (self._sent + data).split(b"\n")
        for line in lines:
            self._portions.extend(self._answer(line))

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        if not self._portions:
            return b""
        portion = self._portions.popleft()
        if len(portion) > most:
            self._portions.appendleft(portion[most:])
        return portion[:most]


FIXED = FixedProbe(b"id?", rb"Q8iv-[0-9A-F*]{4}")
NONCE = NonceProbe(b"echo %d")


def make_session(
    wire: Transport, *, attempts: int = 3, probe_timeout_s: float | None = None
) -> Session:
    return Session(
        wire,
        LineProtocol(),
        FIXED,
        name="heaters",
        attempts=attempts,
        quiet_s=0.02,
        probe_timeout_s=probe_timeout_s,
    )


def volts(reply: bytes) -> float:
    number, unit = reply.split(b" ")
    if unit != b"V":
        raise ValueError("not in V")
    return float(number)
