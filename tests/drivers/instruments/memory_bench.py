"""Benches of the driver conformance suite over wires in memory, one case a kind or dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from instrument_bench import RESISTANCE_OHM, FakeClock, MemoryWire, Resistors
from typing_extensions import override

from eqp_hw.drivers.instruments.conformance_bench import Bench, Provoked, SourceBench
from eqp_hw.drivers.instruments.interface import Digitiser, Instrument, MultichannelSource
from eqp_hw.drivers.instruments.opendac import OpenDac, OpenDacFactory
from eqp_hw.drivers.instruments.pm100 import Pm100, Pm100Factory
from eqp_hw.drivers.instruments.qontrol import QontrolFactory
from eqp_hw.drivers.instruments.scpi_digitiser import ScpiDigitiserFactory
from eqp_hw.drivers.instruments.scpi_source import ScpiSourceFactory
from eqp_hw.drivers.instruments.sr830 import Sr830Factory
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.sim_backends.virtual_lab.instruments import SIMULATORS

FACTORIES: dict[str, Callable[..., Any]] = {
    "opendac": OpenDacFactory,
    "pm100": Pm100Factory,
    "qontrol": QontrolFactory,
    "scpi-digitiser": ScpiDigitiserFactory,
    "scpi-source": ScpiSourceFactory,
    "sr830": Sr830Factory,
}


@dataclass(frozen=True)
class Case:
    """One driver in one of its ways."""

    kind: str
    source: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    nonsense: bytes = b"NONSENSE\n"
    code: int = -113
    channel: int | None = None


CASES = {
    "qontrol": Case("qontrol", options={"modules": 2}, code=10, channel=0),
    "qontrol-binary": Case(
        "qontrol", options={"modules": 2, "binary": True, "verify": True}, code=10, channel=0
    ),
    "keysight": Case("scpi-source", options={"dialect": "keysight"}),
    "rohde-schwarz": Case("scpi-source", options={"dialect": "rohde-schwarz"}),
    "keithley-tsp": Case(
        "scpi-source", options={"dialect": "keithley-tsp", "channels": 4}, code=-285
    ),
    "qdac2": Case("scpi-source", options={"dialect": "qdac2"}),
    "opendac": Case("opendac"),
    "opendac-mV": Case("opendac", options={"unit": "mV"}),
    "scpi-digitiser": Case("scpi-digitiser", source=False),
    "scpi-digitiser-big-endian": Case(
        "scpi-digitiser", source=False, options={"byte_order": "normal", "averages": 4}
    ),
    "pm100": Case("pm100", source=False),
    "sr830": Case(
        "sr830",
        source=False,
        options={"sensitivity": 26, "time_constant": 4, "phase_deg": 0.0},
        code=32,
    ),
}


class MemoryBench(Bench):
    """An instrument at the end of a wire in memory."""

    tolerance = 2e-3

    def __init__(self, case: Case) -> None:
        self.case = case
        self.question_shows_restart = case.kind != "opendac"
        self.plant = Resistors()
        self.clock = FakeClock()
        settings = self.settings()
        self.simulator = SIMULATORS[case.kind](
            "instrument", settings, self.plant, np.random.default_rng(3)
        )
        self.wire = MemoryWire(self.simulator)

    def settings(
        self, identity: str | None = None, limits: Mapping[str, float] | None = None
    ) -> InstrumentSettings:
        options = dict(self.case.options)
        if self.case.source:
            options["resistance_ohm"] = RESISTANCE_OHM
        return InstrumentSettings(
            kind=self.case.kind,
            address="tcp:memory:1",
            identity=identity,
            timeout_s=0.02,
            limits=dict(limits or {}),  # type: ignore[arg-type]
            **options,
        )

    @override
    def make(
        self, *, identity: str | None = None, limits: Mapping[str, float] | None = None
    ) -> Instrument:
        settings = self.settings(identity, limits)

        def wire(name: str, settings: InstrumentSettings) -> Transport:
            return self.wire

        extra = {"clock": self.clock} if self.case.source else {}
        made = FACTORIES[self.case.kind](wire, **extra).create("instrument", settings)
        assert isinstance(made, Instrument)
        return made

    @property
    @override
    def transport(self) -> Transport:
        return self.wire

    @override
    def n_requests(self) -> int:
        return len(self.wire.sent)

    @override
    def unread(self) -> int:
        return self.wire.pending

    @override
    def question(self, instrument: Instrument, k: int) -> float:
        if isinstance(instrument, Digitiser):
            channel = k % 2 if self.case.kind == "sr830" else 2 * k
            return float(instrument.read(np.array([channel]), 2).voltage_V[1, 0])
        if isinstance(instrument, Pm100):
            # One quantity only: the light is another one for each question.
            self.plant.shift = float(k)
            return 1e3 * float(instrument.read_power_W()[0])
        if isinstance(instrument, OpenDac):
            return float(instrument.read_adc(np.array([k])).voltage_V[0, 0])
        assert isinstance(instrument, MultichannelSource)
        return RESISTANCE_OHM * float(instrument.measure_currents(np.array([k]))[0])

    @override
    def answer(self, k: int) -> float:
        if self.case.kind == "opendac":
            return float(np.sin(1.0 + k))
        if self.case.source:
            return self.plant.voltages[k]
        channel = {"sr830": k % 2, "scpi-digitiser": 2 * k, "pm100": k}[self.case.kind]
        return float(np.sin(1.0 + channel))

    @override
    def late_reply(self) -> None:
        self.wire.late_replies = 1

    @override
    def lose_reply(self) -> None:
        self.wire.lost_replies = 1

    def garble_request(self) -> None:
        """Let the first letter of the next request change on the way."""
        self.wire.garble_requests = 1

    @override
    def unplug(self) -> None:
        self.wire.plugged = False

    @override
    def plug(self) -> None:
        self.wire.plugged = True

    @override
    def power_cycle(self) -> None:
        for reply in self.simulator.power_cycle():
            self.wire.say(reply.data)

    @override
    def provoke(self, instrument: Instrument) -> Provoked:
        if isinstance(instrument, OpenDac):
            self.garble_request()
            return Provoked(1, None, lambda: instrument.read_adc(np.array([0])))
        self.transport.write(self.case.nonsense)
        return Provoked(self.case.code, self.case.channel, instrument.check_errors)


class MemorySourceBench(MemoryBench, SourceBench):
    """A source at the end of a wire in memory, 500 ohm at every channel."""

    resistance_ohm = RESISTANCE_OHM
    tolerance = 5e-2  # of a current meter of amperes, times 500 ohm

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.plant.also_s = self.clock.now_s

    @override
    def output_V(self, channel: int) -> float:
        return self.plant.voltages[channel]

    @override
    def start_trace(self) -> None:
        self.plant.history.clear()

    @override
    def trace(self) -> list[tuple[float, int, float]]:
        return list(self.plant.history)

    @override
    def send_raw(self, data: bytes) -> None:
        self.simulator.feed(data)
