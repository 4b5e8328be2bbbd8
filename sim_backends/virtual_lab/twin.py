"""The simulated twin of a rig: one plant, one simulator and one wire an instrument.

As a program, ``python -m eqp_hw.sim_backends.virtual_lab.twin RIG.toml --truth-seed N``, it
prints one line of JSON with all addresses and serves until it is interrupted or terminated. With
``--order`` it takes its task as a line of JSON from standard input (see `TwinProcess`) and also
ends when that pipe closes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from eqp_hw.errors import ConfigurationError, EqpError
from eqp_hw.randomness import RandomStreams
from eqp_hw.rig.load import Rig, load_rig, make_rig

from .clock import ClockKind, make_clock
from .faults import FaultInjector, FaultKind, FaultPlan
from .instruments import SIMULATORS, SimulatorFactory
from .instruments.serials import numbered
from .interface import SimulatedInstrument
from .plant.plant import Plant
from .truth import Truth
from .truth_port import TruthPort
from .wires.loop import EventLoop
from .wires.pty_wire import PtyWire
from .wires.tcp_wire import TcpWire
from .wires.wire import Wire

__all__ = ["Twin", "main"]


LOOK_AT_CLOCK_S = 0.05
"""How often instruments look at a clock that runs by itself."""


@final
class Twin:
    """A running virtual lab inside this process; a context manager, good for one start.

    Parameters
    ----------
    rig
        What is simulated.
    truth_seed
        Seed of the hidden truths and of all noise; instruments' serial numbers tell it.
    clock, speed
        In place of ``[virtual_lab]`` of the rig file where given.
    faults
        Faults from the start on.
    simulators
        Kind → factory, by default all of `instruments.SIMULATORS`.

    Raises
    ------
    ConfigurationError
        A kind of instrument without a simulator, or an unusable value in the rig.
    """

    def __init__(
        self,
        rig: Rig,
        *,
        truth_seed: int = 0,
        clock: ClockKind | None = None,
        speed: float | None = None,
        faults: FaultPlan | None = None,
        simulators: Mapping[str, SimulatorFactory] | None = None,
    ) -> None:
        table = rig.settings.virtual_lab
        self._rig = rig
        self.plant = Plant(
            rig,
            truth_seed,
            make_clock(clock or table.clock, table.speed if speed is None else speed),
        )
        known = SIMULATORS if simulators is None else simulators
        streams = RandomStreams(truth_seed)
        self.instruments: dict[str, SimulatedInstrument] = {
            name: _factory(known, name, settings.kind)(
                name,
                numbered(settings, truth_seed),
                self.plant,
                streams.generator(f"instrument: {name}"),
                table,
            )
            for name, settings in rig.settings.instruments.items()
        }
        self._plan = faults
        self._loop = EventLoop()
        self._folder: Path | None = None
        self._truth_port: TruthPort | None = None
        self.wires: dict[str, Wire] = {}
        self.truth = Truth(self.plant, self.wires, self._loop)

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each instrument, as a rig file has it; known after `start`."""
        return {name: wire.address for name, wire in self.wires.items()}

    @property
    def visa(self) -> dict[str, str]:
        """VISA resource string of each instrument; known after `start`."""
        return {name: wire.visa for name, wire in self.wires.items()}

    @property
    def truth_address(self) -> str:
        """Where `TruthClient` asks, ``"127.0.0.1:port"``; "" before `start`."""
        return "" if self._truth_port is None else self._truth_port.address

    @property
    def rig(self) -> Rig:
        """The rig with the addresses of its twin."""
        return self._rig.with_addresses(self.addresses)

    @property
    def failures(self) -> list[str]:
        """Exceptions of the simulators so far: bugs of the virtual lab, none of its user."""
        return list(self._loop.failures)

    def ask(self, what: str, **details: Any) -> Any:
        """Return the answer to ``{"ask": what, **details}``, without the port."""
        return self._loop.call(lambda: self.truth.answer({"ask": what, **details}))

    def do(self, what: str, **details: Any) -> Any:
        """Give the order ``{"do": what, **details}``, without the port."""
        return self._loop.call(lambda: self.truth.answer({"do": what, **details}))

    def inject(self, instrument: str, kind: FaultKind) -> None:
        """Let a fault happen now (power cycle, unplug) or to the next request or reply."""
        self.do("fault", instrument=instrument, kind=kind.value)

    def start(self) -> Self:
        """Open all wires and serve them in a thread."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self._loop.start()
        return self

    def _open(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="eqp-lab-"))
        for name, settings in self._rig.settings.instruments.items():
            instrument = self.instruments[name]
            injector = FaultInjector(name, self._plan)
            common = (name, instrument, self._loop, self.plant.clock, injector)
            scheme, _, rest = settings.address.partition(":")
            wire: Wire
            if scheme == "serial" or (scheme == "visa" and rest.upper().startswith("ASRL")):
                wire = PtyWire(*common, self._folder, scheme)
            else:
                wire = TcpWire(*common, scheme)
            self.wires[name] = wire
            wire.plug()
            if self.plant.clock.runs_by_itself:
                wire.watch_time(LOOK_AT_CLOCK_S)
        self._truth_port = TruthPort(self._loop, self.truth.answer)

    def close(self) -> None:
        """Close all wires; idempotent."""
        self._loop.stop()
        for wire in self.wires.values():
            wire.close()
        if self._truth_port is not None:
            self._truth_port.close()
        self._loop.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _factory(known: Mapping[str, SimulatorFactory], name: str, kind: str) -> SimulatorFactory:
    if kind not in known:
        raise ConfigurationError(
            "this kind of instrument has no simulator",
            field=f"instruments.{name}.kind",
            value=kind,
            allowed=", ".join(sorted(known)),
        )
    return known[kind]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a twin as a program; return the exit code."""
    parser = argparse.ArgumentParser(prog="twin", description="Simulated twin of a rig.")
    parser.add_argument("rig", nargs="?", help="rig file")
    parser.add_argument("--truth-seed", type=int, default=0)
    parser.add_argument("--clock", choices=["real", "transaction"])
    parser.add_argument("--speed", type=float)
    parser.add_argument("--order", action="store_true", help="take the task from standard input")
    given = parser.parse_args(arguments)
    if not given.order and given.rig is None:
        parser.error("a rig file or --order is needed")
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    order: dict[str, Any] = {
        "path": given.rig,
        "truth_seed": given.truth_seed,
        "clock": given.clock,
        "speed": given.speed,
    }
    if given.order:
        order = json.loads(sys.stdin.buffer.readline() or b"{}")
        threading.Thread(target=_watch_pipe, args=(over,), daemon=True).start()
    try:
        with _ordered(order) as twin:
            _say(
                {
                    "addresses": twin.addresses,
                    "visa": twin.visa,
                    "truth": twin.truth_address,
                    "pid": os.getpid(),
                }
            )
            over.wait()
    except EqpError as error:
        _say({"error": str(error)})
        return 2
    return 0


def _ordered(order: Mapping[str, Any]) -> Twin:
    path = order.get("path") or ""
    tables, faults = order.get("rig"), order.get("faults")
    rig = load_rig(path) if tables is None else make_rig(tables, path=path)
    return Twin(
        rig,
        truth_seed=order.get("truth_seed", 0),
        clock=order.get("clock"),
        speed=order.get("speed"),
        faults=None if faults is None else FaultPlan.from_json(faults),
    )


def _watch_pipe(over: threading.Event) -> None:
    # Bare reads: a thread that waits inside sys.stdin holds its lock, which the interpreter
    # wants on its way out, and dies of ("_enter_buffered_busy").
    while os.read(sys.stdin.fileno(), 4096):
        pass
    over.set()


def _say(values: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
