"""The guardian: a process that makes outputs safe when the process that drives them dies.

It is started before the first output moves, reads one JSON line with the addresses of the
sources and the raw bytes that make each one safe, says ``ready``, and then waits on its standard
input. The word of farewell ends it; the end of the stream without that word means that its owner
died (``kill -9``, a crash, out of memory): it opens the ports, which the system has freed by
then, and sends the bytes.

This file runs as a plain script and imports the standard library alone, so that it starts in
milliseconds and does not break with what broke its owner. pyserial or pyvisa are imported only
for wires that need them (serial ports on Windows, VISA resources other than sockets and ports).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

FAREWELL = b"farewell\n"
RETRY_S = 0.02
GIVE_UP_S = 30.0
LINGER_S = 0.05
"""How long replies are read after the bytes: a socket closed over unread replies is reset, and
what was sent may be lost with it."""

_SOCKET = re.compile(r"TCPIP\d*::(.+)::(\d+)::SOCKET", re.IGNORECASE)
_PORT = re.compile(r"ASRL(/.+)::INSTR", re.IGNORECASE)


def main() -> int:
    """Wait for the owner's end; return 0 after a farewell or when all is safe, else 1."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ctrl-C reaches everything started from the terminal; the owner will say farewell.
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    owner = sys.stdin.buffer
    line = owner.readline()
    if not line.endswith(b"\n"):
        return 0  # the owner died before it had anything to guard
    wards = json.loads(line)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if _wait(owner) == FAREWELL:
        return 0
    failed = make_safe(wards)
    for name, reason in failed.items():
        _say(f"{name} could not be made safe: {reason}")
    return 1 if failed else 0


def _wait(owner: BinaryIO) -> bytes:
    while True:
        line = owner.readline()
        if line in (b"", FAREWELL):
            return line


def make_safe(wards: list[dict[str, Any]], give_up_s: float = GIVE_UP_S) -> dict[str, str]:
    """Send the messages of all wards; return name and reason of those that failed.

    A port that is busy is tried again until ``give_up_s`` have passed.
    """
    end = time.monotonic() + give_up_s
    waiting = {ward["name"]: ward for ward in wards}
    reasons: dict[str, str] = {}
    while waiting:
        for name, ward in list(waiting.items()):
            try:
                _send(ward["address"], ward["baud"], bytes.fromhex(ward["messages"]))
            except Exception as error:  # noqa: BLE001 - whatever it is, the others come first
                reasons[name] = f"{type(error).__name__}: {error}"
            else:
                _say(f"its owner died: {name} was made safe")
                del waiting[name]
                reasons.pop(name, None)
        if waiting:
            if time.monotonic() > end:
                return reasons
            time.sleep(RETRY_S)
    return reasons


def _send(address: str, baud: int, data: bytes) -> None:
    kind, _, rest = address.partition(":")
    if kind == "visa":
        over_tcp, over_serial = _SOCKET.fullmatch(rest), _PORT.fullmatch(rest)
        if over_tcp:
            return _send_tcp(over_tcp[1], int(over_tcp[2]), data)
        if over_serial and os.name == "posix":
            return _send_serial(over_serial[1], baud, data)
        return _send_visa(rest, data)
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return _send_tcp(host.strip("[]"), int(port), data)
    if os.name == "posix" and rest.startswith("/"):
        return _send_serial(rest, baud, data)
    return _send_pyserial(rest, baud, data)


def _send_tcp(host: str, port: int, data: bytes) -> None:
    with socket.create_connection((host, port), timeout=1.0) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.sendall(data)

        def read() -> bytes:
            return wire.recv(4096)

        _linger(wire.fileno(), read)


def _send_serial(path: str, baud: int, data: bytes) -> None:
    import fcntl  # noqa: PLC0415 - POSIX only
    import termios  # noqa: PLC0415 - POSIX only

    handle = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        # The lock that pyserial takes: an owner that lives on is not talked over.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        speed = getattr(termios, f"B{baud}", termios.B115200)
        control = termios.CS8 | termios.CREAD | termios.CLOCAL
        blank = list(termios.tcgetattr(handle)[6])
        termios.tcsetattr(handle, termios.TCSANOW, [0, 0, control, 0, speed, speed, blank])
        sent = 0
        while sent < len(data):
            if not select.select([], [handle], [], 1.0)[1]:
                raise TimeoutError(f"{path} takes no bytes")
            sent += os.write(handle, data[sent:])
        termios.tcdrain(handle)

        def read() -> bytes:
            return os.read(handle, 4096)

        _linger(handle, read)
    finally:
        os.close(handle)


def _send_pyserial(port: str, baud: int, data: bytes) -> None:
    import serial  # noqa: PLC0415 - only where the system has no plain way

    with serial.serial_for_url(port, baudrate=baud, timeout=LINGER_S, write_timeout=1.0) as wire:
        wire.write(data)
        wire.flush()
        wire.read(65536)


def _send_visa(resource: str, data: bytes) -> None:
    import pyvisa  # noqa: PLC0415 - only for resources that are neither socket nor port

    with pyvisa.ResourceManager("@py").open_resource(resource, timeout=1000) as wire:
        if not isinstance(wire, pyvisa.resources.MessageBasedResource):
            raise TypeError(f"{resource} takes no messages")
        wire.write_raw(data)


def _linger(handle: int, read: Callable[[], bytes]) -> None:
    end = time.monotonic() + LINGER_S
    with contextlib.suppress(OSError):
        while (left := end - time.monotonic()) > 0:
            if select.select([handle], [], [], left)[0] and not read():
                return


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"eqp-hw guardian: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
