"""A bare client of a simulated wire, and twins whose faults are in the test's hand."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

import pytest

from eqp_hw.sim_backends.virtual_lab.faults import FaultKind, FaultPlan, FaultTiming, Scheduled
from eqp_hw.sim_backends.virtual_lab.twin import Twin

PATIENCE_S = 5.0
QUICK = FaultTiming(delay_s=0.03, pause_s=0.02, trickle_s=0.004, unplugged_s=0.02)


class Line:
    """A bare client: bytes and deadlines, nothing else."""

    def __init__(self, address: str) -> None:
        scheme, _, rest = address.partition(":")
        self._socket: socket.socket | None = None
        if scheme == "serial":
            self.fd = os.open(rest, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        else:
            host, _, port = rest.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
            self._socket.setblocking(False)
            self.fd = self._socket.fileno()
        self.buffer = b""

    def send(self, data: bytes) -> None:
        while data:
            assert select.select([], [self.fd], [], PATIENCE_S)[1]
            data = data[os.write(self.fd, data) :]

    def some(self, timeout_s: float = PATIENCE_S) -> bytes:
        """Return what comes first, b"" at the time-out; OSError once the line is dead."""
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return b""
        data = os.read(self.fd, 65536)
        if not data:
            raise ConnectionResetError("end of file")
        return data

    def line(self, timeout_s: float = PATIENCE_S) -> bytes:
        while b"\n" not in self.buffer:
            data = self.some(timeout_s)
            assert data, "no line in time"
            self.buffer += data
        first, _, self.buffer = self.buffer.partition(b"\n")
        return first

    def ask(self, request: bytes) -> bytes:
        self.send(request + b"\n")
        return self.line()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.fd)


def until(true: Callable[[], bool]) -> None:
    """Ask again until it is true; each question goes through the twin's own thread."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline


class MakeTwin(Protocol):
    def __call__(self, faults: FaultPlan | None = None, **virtual_lab: object) -> Twin: ...


def connected(twin: Twin, name: str) -> Line:
    return Line(twin.addresses[name])


def with_fault(make_twin: MakeTwin, name: str, kind: FaultKind, at: int = 0) -> tuple[Twin, Line]:
    twin = make_twin(FaultPlan(schedule=(Scheduled(name, at, kind),), timing=QUICK))
    return twin, connected(twin, name)


WIRES = pytest.mark.parametrize("name", ["heaters", "detectors"])
