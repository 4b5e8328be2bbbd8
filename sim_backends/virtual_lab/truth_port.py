"""The truth port: what the drivers must never know, for tests and for the user.

One JSON object a line each way over TCP on the loopback interface. Questions:
``{"ask": "voltages"}``, answers ``{"ok": true, "value": ...}`` or
``{"ok": false, "error": "..."}``. Orders: ``{"do": "fault", "instrument": "heaters",
"kind": "unplug"}``. `truth.Truth` lists them all.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, final

from eqp_hw.errors import EqpError, SubstrateError

from .wires.loop import READ, EventLoop

__all__ = ["TruthClient", "TruthPort"]

_CHUNK = 65536
_LONGEST_LINE = 1 << 20


@final
class TruthPort:
    """Server of the truths; any number of clients.

    Parameters
    ----------
    loop
        Serves the sockets.
    answer
        Turns a request into a value that JSON knows; an `EqpError` becomes a refusal.
    """

    def __init__(self, loop: EventLoop, answer: Callable[[Mapping[str, Any]], Any]) -> None:
        self._loop = loop
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._server.setblocking(False)
        self._clients: dict[socket.socket, bytearray] = {}
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        loop.watch(self._server, READ, self._accept)

    def close(self) -> None:
        """Close all connections; idempotent."""
        for client in list(self._clients):
            self._leave(client)
        if self._server.fileno() >= 0:
            self._loop.watch(self._server, 0, self._accept)
            self._server.close()

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._server.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        # Answers are small and clients wait for them: a short block is no harm.
        client.settimeout(5.0)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[client] = bytearray()
        self._loop.watch(client, READ, lambda _: self._read(client))

    def _leave(self, client: socket.socket) -> None:
        self._loop.watch(client, 0, self._accept)
        del self._clients[client]
        client.close()

    def _read(self, client: socket.socket) -> None:
        buffer = self._clients[client]
        try:
            data = client.recv(_CHUNK)
            buffer += data
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                client.sendall(self._reply(line))
        except OSError:
            data = b""
        if not data or len(buffer) > _LONGEST_LINE:
            self._leave(client)

    def _reply(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise SubstrateError("not a JSON object")
            answer = {"ok": True, "value": self._answer(request)}
        except (ValueError, EqpError) as error:
            answer = {"ok": False, "error": str(error)}
        return json.dumps(answer, allow_nan=False).encode() + b"\n"


@final
class TruthClient:
    """Asks a truth port; one connection, opened at once.

    Parameters
    ----------
    address
        ``"127.0.0.1:port"``, as the twin prints it.
    """

    def __init__(self, address: str, *, timeout_s: float = 10.0) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        except (OSError, ValueError) as error:
            raise SubstrateError(f"no truth port at {address!r} ({error})") from None
        self._file = self._socket.makefile("rb")

    def ask(self, what: str, **details: Any) -> Any:
        """Return the answer to ``{"ask": what, **details}``.

        Raises
        ------
        SubstrateError
            The twin refuses (its reason is the message) or is gone.
        """
        return self._transact({"ask": what, **details})

    def do(self, what: str, **details: Any) -> Any:
        """Give the order ``{"do": what, **details}``; errors as `ask`."""
        return self._transact({"do": what, **details})

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _transact(self, request: dict[str, Any]) -> Any:
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._file.readline()
        except OSError as error:
            raise SubstrateError(f"the truth port does not answer ({error})") from None
        if not line.endswith(b"\n"):
            raise SubstrateError("the virtual lab is gone")
        answer = json.loads(line)
        if not answer["ok"]:
            raise SubstrateError(answer["error"])
        return answer["value"]
