"""The benches of `memory_bench` at real pseudo-terminals and TCP ports of the virtual lab."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from memory_bench import FACTORIES, Case, MemorySourceBench
from typing_extensions import override

from eqp_hw.drivers.instruments.interface import Instrument
from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.sim_backends.virtual_lab.clock import TransactionClock
from eqp_hw.sim_backends.virtual_lab.faults import FaultInjector, FaultKind
from eqp_hw.sim_backends.virtual_lab.wires.loop import EventLoop
from eqp_hw.sim_backends.virtual_lab.wires.pty_wire import PtyWire
from eqp_hw.sim_backends.virtual_lab.wires.tcp_wire import TcpWire
from eqp_hw.sim_backends.virtual_lab.wires.wire import Wire

TIMEOUT_S = 0.15
IDENTITY_QUERIES = {"qontrol": b"id?\n", "opendac": b"*IDN?\r"}


class WireBench(MemorySourceBench):
    """The simulator in a thread of its own, the driver on a real wire."""

    def __init__(self, case: Case, scheme: str, folder: Path) -> None:
        super().__init__(case)
        self._driver_wire: Transport | None = None
        self.loop = EventLoop()
        common: Any = (
            "instrument",
            self.simulator,
            self.loop,
            TransactionClock(),
            FaultInjector("instrument"),
        )
        kind, _, resource = scheme.partition("-")
        self.far_end: Wire
        if kind == "serial" or resource == "serial":
            self.far_end = PtyWire(*common, folder, kind)
        else:
            self.far_end = TcpWire(*common, kind)

    def __enter__(self) -> Self:
        self.far_end.plug()
        self.loop.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._driver_wire is not None:
            self._driver_wire.close()
        self.loop.call(self.far_end.close)
        self.loop.stop()
        self.loop.close()
        assert self.loop.failures == []

    @override
    def make(
        self, *, identity: str | None = None, limits: Mapping[str, float] | None = None
    ) -> Instrument:
        if self._driver_wire is not None:
            self._driver_wire.close()
        self._driver_wire = wire = make_transport(self.far_end.address, timeout_s=TIMEOUT_S)

        def existing(name: str, settings: InstrumentSettings) -> Transport:
            return wire

        extra = {"clock": self.clock} if self.case.source else {}
        factory = FACTORIES[self.case.kind](existing, **extra)
        made = factory.create("instrument", self.settings(identity, limits))
        assert isinstance(made, Instrument)
        return made

    @property
    @override
    def transport(self) -> Transport:
        assert self._driver_wire is not None
        return self._driver_wire

    @override
    def n_requests(self) -> int:
        return self.loop.call(lambda: self.far_end.traffic.transactions)

    @override
    def unread(self) -> int:
        return self.transport.poll() if self.transport.is_open else 0

    @override
    def output_V(self, channel: int) -> float:
        return self.loop.call(lambda: self.plant.voltages[channel])

    @override
    def late_reply(self) -> None:
        self.loop.call(lambda: self.far_end.inject(FaultKind.STALE))

    @override
    def lose_reply(self) -> None:
        self.loop.call(lambda: self.far_end.inject(FaultKind.LOSS))

    @override
    def garble_request(self) -> None:
        self.loop.call(lambda: self.far_end.inject(FaultKind.GARBLED_REQUEST))

    @override
    def unplug(self) -> None:
        self.loop.call(self.far_end.unplug)

    @override
    def plug(self) -> None:
        self.loop.call(self.far_end.plug)

    @override
    def power_cycle(self) -> None:
        self.loop.call(lambda: self.far_end.inject(FaultKind.POWER_CYCLE))

    @override
    def send_raw(self, data: bytes) -> None:
        with make_transport(self.far_end.address, timeout_s=2.0) as wire:
            wire.write(data)
            # An answer shows that all before it has been heard.
            wire.write(IDENTITY_QUERIES.get(self.case.kind, b"*IDN?\n"))
            while True:
                line = wire.read_until(b"\n")
                if b"-0001" in line or b"DAC-ADC" in line or line.count(b",") >= 3:
                    return
