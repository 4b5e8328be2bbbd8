"""The truth port: what the drivers must never know, for tests and for the user.

One JSON object a line each way over TCP on the loopback interface. Questions:
``{"ask": "voltages"}``, answers ``{"ok": true, "value": ...}`` or
``{"ok": false, "error": "..."}``. Orders: ``{"do": "fault", "instrument": "heaters",
"kind": "unplug"}``. `Truth` lists them all.
"""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self, final

from eqp_hw.errors import SubstrateError

__all__ = ["TruthClient"]


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
