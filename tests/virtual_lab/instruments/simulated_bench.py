"""A small plant of resistors and steady detectors, and short ways to talk to simulators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.clock import TransactionClock
from eqp_hw.sim_backends.virtual_lab.faults import FaultInjector
from eqp_hw.sim_backends.virtual_lab.instruments import SIMULATORS
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument
from eqp_hw.sim_backends.virtual_lab.wires.loop import EventLoop
from eqp_hw.sim_backends.virtual_lab.wires.pty_wire import PtyWire
from eqp_hw.sim_backends.virtual_lab.wires.tcp_wire import TcpWire
from eqp_hw.sim_backends.virtual_lab.wires.wire import Wire


@final
class ResistorPlant(PlantFace):
    """Every source channel sees the same resistor; detector k shows ``levels[k]``."""

    def __init__(self, resistance_ohm: float = 500.0, stands_still: bool = False) -> None:
        self.resistance_ohm = resistance_ohm
        self.driven: dict[tuple[str, int], float] = {}
        self.history: list[tuple[float, int, float]] = []
        self.levels = np.zeros(128)
        self.noise_V = 0.0
        self.elapsed_s = 0.0
        self.now = 0.0
        self._stands_still = stands_still
        self._rng = np.random.default_rng(7)

    @property
    @override
    def now_s(self) -> float:
        return self.now

    @override
    def elapse(self, duration_s: float) -> None:
        assert duration_s >= 0.0
        self.elapsed_s += duration_s
        if not self._stands_still:
            self.now += duration_s

    @override
    def set_voltage(self, instrument: str, channel: int, voltage_V: float) -> None:
        assert np.isfinite(voltage_V)
        self.driven[instrument, channel] = voltage_V
        self.history.append((self.now, channel, voltage_V))

    @override
    def voltage_V(self, instrument: str, channel: int) -> float:
        return self.driven.get((instrument, channel), 0.0)

    @override
    def current_A(self, instrument: str, channel: int) -> float:
        return self.voltage_V(instrument, channel) / self.resistance_ohm

    @override
    def detector_V(self, instrument: str, channels: list[int], n_samples: int) -> FloatArray:
        noise = self.noise_V * self._rng.standard_normal((n_samples, len(channels)))
        return self.levels[channels] + noise

    def outputs(self, n_channels: int) -> list[float]:
        return [self.voltage_V("x", k) for k in range(n_channels)]


def make(
    kind: str,
    plant: PlantFace,
    lab: VirtualLabSettings | None = None,
    seed: int = 3,
    **options: Any,
) -> SimulatedInstrument:
    settings = InstrumentSettings.model_validate(
        {"kind": kind, "address": "tcp:127.0.0.1:1", **options}
    )
    return SIMULATORS[kind]("x", settings, plant, np.random.default_rng(seed), lab)


class Feedable(Protocol):
    """Whatever takes bytes and answers."""

    def feed(self, data: bytes) -> list[Reply]: ...


def talk(instrument: Feedable, text: str | bytes, end: bytes = b"\n") -> list[str]:
    """Send one message; return the lines that come back, asynchronous ones included."""
    data = (text if isinstance(text, bytes) else text.encode("latin-1")) + end
    replies = instrument.feed(data)
    return b"".join(reply.data for reply in replies).decode("latin-1").splitlines()


@contextmanager
def wired(instrument: SimulatedInstrument, folder: Path | None = None) -> Iterator[Wire]:
    """Serve an instrument on a pseudo-terminal in ``folder``, or on a TCP port."""
    loop = EventLoop()
    clock, faults = TransactionClock(), FaultInjector("x")
    wire: Wire = (
        TcpWire("x", instrument, loop, clock, faults)
        if folder is None
        else PtyWire("x", instrument, loop, clock, faults, folder)
    )
    wire.plug()
    loop.start()
    try:
        yield wire
    finally:
        loop.call(wire.close)
        loop.close()
        assert loop.failures == []
