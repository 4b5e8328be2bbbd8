"""A real pseudo-terminal: what a serial port looks like to a program."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import final

from typing_extensions import override

from eqp_hw.errors import UnavailableError
from eqp_hw.sim_backends.virtual_lab.clock import Clock
from eqp_hw.sim_backends.virtual_lab.faults import FaultInjector
from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument

from .loop import READ, WRITE, EventLoop
from .wire import Wire

__all__ = ["PtyWire"]

_CHUNK = 65536


@final
class PtyWire(Wire):
    """Serial port under a stable path, which leads to a new pseudo-terminal after each replug.

    Parameters
    ----------
    name, instrument, loop, clock, faults
        As in `Wire`.
    folder
        Where the path is made.
    scheme
        Whether the address names a port ("serial") or a VISA resource ("visa").

    Raises
    ------
    UnavailableError
        This system has no pseudo-terminals.
    """

    def __init__(
        self,
        name: str,
        instrument: SimulatedInstrument,
        loop: EventLoop,
        clock: Clock,
        faults: FaultInjector,
        folder: Path,
        scheme: str = "serial",
    ) -> None:
        if sys.platform == "win32":
            raise UnavailableError(
                f"instruments.{name}: this system has no pseudo-terminals; give the instrument "
                "a tcp: address in the rig file"
            )
        super().__init__(name, instrument, loop, clock, faults)
        self._path = folder / name
        self._scheme = scheme
        self._master = -1
        self._slave = -1

    @property
    @override
    def address(self) -> str:
        return f"serial:{self._path}" if self._scheme == "serial" else f"visa:{self.visa}"

    @property
    @override
    def visa(self) -> str:
        return f"ASRL{self._path}::INSTR"

    @override
    def _open_line(self) -> None:
        # Not on every system: imported where one is made.
        import tty  # noqa: PLC0415

        self._master, self._slave = os.openpty()
        # Our own hold on the far end: without one every client that leaves hangs the line up.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self._path)
        self.traffic.connections += 1
        self._listen(reading=True, writing=False)

    @override
    def _close_line(self) -> None:
        self._loop.watch(self._master, 0, self._ready)
        self._path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    @override
    def _dispose(self) -> None:
        """Nothing outlives the line."""

    @override
    def _listen(self, reading: bool, writing: bool) -> None:
        self._loop.watch(self._master, READ * reading | WRITE * writing, self._ready)

    @override
    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._writable()
        if events & READ and self._master >= 0:
            try:
                data = os.read(self._master, _CHUNK)
            except BlockingIOError:
                return
            self._received(data)
