"""Ending the program that holds a port, so that its outputs can be made safe."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from eqp_hw.errors import SubstrateError

__all__ = ["end_processes"]

_log = logging.getLogger("eqp_hw.drivers.safety")

TERM_S = 3.0
"""How long a process may take to end by itself; a run makes its outputs safe meanwhile."""
KILL_S = 2.0
LOOK_S = 0.02


def end_processes(processes: Iterable[int], term_s: float = TERM_S) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are still there after ``term_s``.

    Raises
    ------
    SubstrateError
        One of them is another user's, or does not end.
    """
    left = [process for process in processes if process != os.getpid()]
    for number, patience_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, KILL_S)):
        for process in left:
            _send(process, number)
        end = time.monotonic() + patience_s
        while (left := [process for process in left if _runs(process)]) and time.monotonic() < end:
            time.sleep(LOOK_S)
        if not left:
            return
    raise SubstrateError(f"process {left[0]} does not end, not even killed")


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise SubstrateError(f"process {process} belongs to another user") from error
    _log.warning("%s sent to process %d, which holds the port", number.name, process)


def _runs(process: int) -> bool:
    try:
        # The state follows the name, which may hold anything; a zombie holds no port.
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
