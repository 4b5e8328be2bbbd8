"""A twin in a process of its own, as a bench is: it goes on when its user dies of `kill -9`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from eqp_hw.errors import ConfigurationError, SubstrateError
from eqp_hw.rig.load import Rig

from .clock import ClockKind
from .faults import FaultPlan
from .truth_port import TruthClient

__all__ = ["TwinProcess"]

_MODULE = "eqp_hw.sim_backends.virtual_lab.twin"


@final
class TwinProcess:
    """Starts ``python -m eqp_hw.sim_backends.virtual_lab.twin`` and ends it.

    The twin ends by itself when the pipe that this process holds closes, whatever ended us.

    Parameters
    ----------
    rig
        A rig, or the path of its file.
    truth_seed
        Seed of the hidden truths.
    clock, speed
        In place of ``[virtual_lab]`` of the rig file where given.
    faults
        Faults from the start on; more through the truth port.
    start_timeout_s
        How long the twin may take to come up.
    """

    def __init__(
        self,
        rig: Rig | str | Path,
        *,
        truth_seed: int = 0,
        clock: ClockKind | None = None,
        speed: float | None = None,
        faults: FaultPlan | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self._order: dict[str, Any] = {
            "truth_seed": truth_seed,
            "clock": clock,
            "speed": speed,
            "faults": None if faults is None else faults.to_json(),
        }
        if isinstance(rig, Rig):
            tables = rig.settings.model_dump(mode="json", exclude_unset=True)
            self._order |= {"rig": tables, "path": rig.path}
        else:
            self._order["path"] = str(rig)
        self._timeout_s = start_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._announced: dict[str, Any] = {}

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each instrument, as a rig file has it: ``rig.with_addresses(...)``."""
        return dict(self._answer("addresses"))

    @property
    def visa(self) -> dict[str, str]:
        """VISA resource string of each instrument."""
        return dict(self._answer("visa"))

    @property
    def truth_address(self) -> str:
        """Where `TruthClient` asks, ``"127.0.0.1:port"``."""
        return str(self._answer("truth"))

    @property
    def pid(self) -> int:
        """Process number of the twin."""
        return int(self._answer("pid"))

    @property
    def announced(self) -> dict[str, Any]:
        """The line that the twin printed."""
        self._answer("pid")
        return dict(self._announced)

    def truth(self) -> TruthClient:
        """Return a new client of the truth port."""
        return TruthClient(self.truth_address)

    def start(self) -> Self:
        """Start the twin and wait for its addresses.

        Raises
        ------
        ConfigurationError
            The rig file is wrong; the twin's own message.
        SubstrateError
            The twin did not come up in time.
        """
        command = [sys.executable, "-P", "-m", _MODULE, "--order"]
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for us: the twin must outlive our way to safe outputs.
            start_new_session=True,
        )
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        # The timer ends a child that says nothing, and with it our wait.
        timer = threading.Timer(self._timeout_s, child.kill)
        timer.start()
        try:
            child.stdin.write(json.dumps(self._order).encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if not line:
            self.close()
            raise SubstrateError("the virtual lab did not start; its message is above")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise ConfigurationError(answer["error"])
        self._announced = answer
        return self

    def wait(self) -> int:
        """Wait until the twin ends; return its exit code."""
        if self._child is None:
            raise SubstrateError("the virtual lab is not running: start it first")
        return self._child.wait()

    def close(self) -> None:
        """End the twin; idempotent, never raises."""
        child, self._child = self._child, None
        self._announced = {}
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            child.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, key: str) -> Any:
        if not self._announced:
            raise SubstrateError("the virtual lab is not running: start it first")
        return self._announced[key]
