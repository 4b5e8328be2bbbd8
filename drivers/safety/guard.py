"""The owner's side of the guardian process."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from eqp_hw.errors import SubstrateError

from . import guardian

__all__ = ["Guard", "Ward"]

_log = logging.getLogger("eqp_hw.drivers.safety")


@final
@dataclass(frozen=True)
class Ward:
    """One source in the guardian's care.

    Attributes
    ----------
    name, address
        As in the rig file.
    messages
        Raw bytes that make it safe without any dialogue.
    baud
        Of a serial line.
    """

    name: str
    address: str
    messages: tuple[bytes, ...]
    baud: int = 115200


@final
class Guard:
    """Starts the guardian and holds the pipe whose end tells it that we died.

    Parameters
    ----------
    wards
        What to make safe.

    Raises
    ------
    SubstrateError
        The guardian does not start: no output may move then.
    """

    def __init__(self, wards: Sequence[Ward]) -> None:
        order = [
            {
                "name": ward.name,
                "address": ward.address,
                "baud": ward.baud,
                # Twice: the first may be lost behind half a line of the owner.
                "messages": (b"".join(ward.messages) * 2).hex(),
            }
            for ward in wards
        ]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(guardian.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Out of reach of signals to our process group, and of its end.
                start_new_session=True,
            )
        except OSError as error:
            raise SubstrateError(f"the guardian process cannot be started: {error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        if self._process.stdout.readline().strip() != b"ready":
            self.end(farewell=True)
            raise SubstrateError("the guardian process ended at once; no output was moved")
        _log.debug("guardian %d watches over %s", self.pid, [ward.name for ward in wards])

    @property
    def pid(self) -> int:
        """Process number of the guardian."""
        return self._process.pid

    @property
    def watching(self) -> bool:
        """Whether the guardian is there."""
        return self._process.poll() is None

    def end(self, *, farewell: bool) -> None:
        """Send the guardian home, or (without farewell) let it act; idempotent, never raises."""
        pipe, out = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert out is not None
        if pipe.closed:
            return
        with contextlib.suppress(OSError, ValueError):
            if farewell:
                pipe.write(guardian.FAREWELL)
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()
        out.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            _log.warning("the guardian (process %d) is still at work", self.pid)
