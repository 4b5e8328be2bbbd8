"""Driver of multichannel SCPI and TSP voltage sources; a dialect spells, this composes.

Every write goes out with the question for the set-points and one look at the error queue, so
that what was accepted is what the instrument says it holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.drivers.errors import (
    DeviceError,
    LimitError,
    ProtocolError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import NonceProbe
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings

from .checks import Count, Positive, SourceOptions, twice
from .clock import Clock
from .interface import Identity
from .limits import SourceLimits, check_channel_count, check_channels, source_limits
from .outputs import OutputBank
from .scpi_dialects import DIALECTS, DialectName, SourceSettings
from .scpi_link import ScpiLink
from .scpi_wire import Part, parse_number, parse_numbers, query
from .source_driver import SourceDriver
from .table_factory import TableFactory

__all__ = ["ScpiSource", "ScpiSourceFactory", "ScpiSourceOptions"]


@final
class ScpiSourceOptions(SourceOptions):
    """Options of ``kind = "scpi-source"``."""

    dialect: DialectName = Field("keysight", description="language of the instrument")
    channels: Count | None = Field(
        None, description="number of channels, where the instrument does not tell"
    )
    bits: int = Field(16, ge=8, le=32, description="resolution of a set-point")
    full_scale_V: Positive | None = Field(
        None, description="largest voltage, where the instrument does not tell"
    )
    full_scale_A: Positive | None = Field(None, description="of the simulated twin only")
    range: Literal["low", "high"] = Field("high", description="output range (qdac2)")
    watchdog_s: int | None = Field(
        None, ge=1, le=3600, description="the instrument switches off after this silence (keysight)"
    )
    serial: str | None = Field(None, description="of the simulated twin only")


@final
class ScpiSource(SourceDriver):
    """A source with many channels."""

    description: ClassVar[str] = "SCPI sources: Keysight, R&S and kin, Keithley TSP, QDAC-II"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: ScpiSourceOptions,
        transport: Transport,
        clock: Clock,
    ) -> None:
        dialect = DIALECTS[options.dialect]
        link = ScpiLink(
            transport,
            name,
            probe=NonceProbe(dialect.probe),
            error_query=dialect.error_query,
            parse_report=dialect.parse_report,
            events_query=dialect.events_query,
            join=dialect.join,
        )
        super().__init__(name, settings, link.session, link.presence, clock)
        self._options = options
        self._dialect = dialect
        self._link = link
        self._n_channels = options.channels or self._dialect.default_channels
        self._full_V = options.full_scale_V or self._dialect.default_full_scale_V
        self._on = np.zeros(self._n_channels, dtype=bool)

    @property
    @override
    def n_channels(self) -> int:
        return self._n_channels

    @property
    @override
    def full_scale_V(self) -> float:
        return self._full_V

    @property
    @override
    def resolution_V(self) -> float:
        span = 2.0 if self._dialect.bipolar else 1.0
        return float(span * self._full_V / (2**self._options.bits - 1))

    @override
    def _identify(self) -> Identity:
        identity = self._link.connect(self._settings.identity, self._dialect.knows)
        if self._dialect.counts_channels:
            found = int(twice(self.name, lambda: self._link.ask("SYST:CHAN?", parse_number)))
            check_channel_count(self.name, self._options.channels, found)
            self._n_channels = self._options.channels or found
        return identity

    @override
    def _resume(self, bank: OutputBank) -> tuple[bool, FloatArray | None]:
        self._link.recover(self._settings.timeout_s)
        intact = not (self._presence.restarted or bank.doubtful)
        self._presence.restarted = False
        intact = intact and self._states_hold()
        self._prepare()
        held = self._held()
        return intact and bank.agrees(held, self._slack(held)), held

    @override
    def check_errors(self) -> None:
        self._outputs()
        with self._noting_restarts():
            self._check()

    @override
    def measure_voltages(self, channels: IntArray) -> FloatArray:
        index = check_channels(self.name, channels, self._n_channels)
        parts = self._dialect.measure_voltage(index)
        if not parts:
            raise CapabilityError(
                f"{self.name} ({self._options.dialect}) has no voltmeter; setpoint_V is what it "
                "holds by its own account"
            )
        return self._measured(parts, len(index))

    @override
    def measure_currents(self, channels: IntArray) -> FloatArray:
        index = check_channels(self.name, channels, self._n_channels)
        parts = self._dialect.measure_current(index)
        return self._measured(parts, len(index))

    @override
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        return {
            "identity": lambda: self._link.ask("*IDN?", str),
            "errors": self._test_errors,
            "read-back": self._test_read_back,
        }

    @override
    def safe_messages(self) -> Sequence[bytes]:
        # Commands only: an answer that nobody reads may cost the rest when the wire is closed.
        return [b"\n", *(f"{part.text}\n".encode("ascii") for part in self._safe_parts())]

    @override
    def _write_zeros(self) -> None:
        everything = np.arange(self._n_channels)
        asked = self._dialect.read_back(everything)
        parts = [*self._safe_parts(), *asked, query(self._dialect.error_query)]
        held = self._link.run(parts, lambda texts: _numbers(texts[:-1], len(everything)))
        self._compare(everything, np.zeros(len(everything)), held)

    def _safe_parts(self) -> list[Part]:
        everything = np.arange(self._n_channels)
        return [
            *self._dialect.set_voltages(everything, np.zeros(self._n_channels)),
            *self._dialect.trigger(),
            *self._dialect.switch(everything, False),
        ]

    @override
    def _limits(self) -> SourceLimits:
        n = self._n_channels
        if self._options.range == "low" and self._options.dialect == "qdac2":
            self._full_V = 2.0
        highest = np.full(n, self._full_V)
        parts = self._dialect.full_scale(n)
        if parts:
            highest = np.array(twice(self.name, lambda: self._numbers(parts, n).tolist()))
            self._full_V = float(highest.max())
        limits = source_limits(
            self.name,
            self._settings.limits,
            highest_V=highest,
            bipolar=self._dialect.bipolar,
            resistance_ohm=self._options.resistance_ohm,
        )
        if self._dialect.native_slew:
            return dataclasses.replace(limits, slew_V_per_s=None)
        return limits

    @override
    def _prepare(self) -> None:
        wanted = SourceSettings(
            current_A=self._settings.limits.current_A,
            slew_V_per_s=self._settings.limits.slew_V_per_s,
            watchdog_s=self._options.watchdog_s,
            low_range=self._options.range == "low",
        )
        parts = self._dialect.setup(self._n_channels, wanted)
        if parts:
            self._link.run(parts, list)
        self._link.check()

    @override
    def _send(self, channels: IntArray, voltage_V: FloatArray) -> FloatArray:
        order = np.argsort(channels)
        channels, voltage = channels[order], voltage_V[order]
        off = channels[~self._on[channels]]
        dialect = self._dialect
        parts = [*dialect.set_voltages(channels, voltage), *dialect.trigger()]
        if len(off):
            parts += dialect.switch(off, True)
        # All channels: a garbled channel number moves one that nobody meant.
        everything = np.arange(self._n_channels)
        asked = dialect.read_back(everything)
        tail = [query(q) for q in (dialect.error_query, dialect.events_query) if q is not None]
        n_asked = len(asked)

        def parse(answers: list[str]) -> FloatArray:
            report = dialect.parse_report(answers[n_asked])
            events = self._link.parse_events(answers[n_asked + 1]) if len(tail) > 1 else 0
            self._link.judge(events, report)
            return _numbers(answers[:n_asked], self._n_channels)

        found = self._link.run([*parts, *asked, *tail], parse)
        self._on[off] = True
        self._require_states()
        expected = self._outputs().setpoint_V
        expected[channels] = voltage
        known = ~np.isnan(expected)
        self._compare(everything[known], expected[known], found[known])
        held = found[channels]
        if self._options.verify and dialect.measure_voltage(channels):
            measured = self._numbers(dialect.measure_voltage(channels), len(channels))
            self._compare(channels, held, measured, self._options.readback_tolerance_V)
        accepted = np.empty_like(held)
        accepted[order] = held
        return accepted

    def _compare(
        self,
        channels: IntArray,
        wanted_V: FloatArray,
        found_V: FloatArray,
        slack_V: float | None = None,
    ) -> None:
        slack = self._slack(wanted_V) if slack_V is None else slack_V
        wrong = np.flatnonzero(~(np.abs(found_V - wanted_V) <= slack))
        if wrong.size:
            k = wrong[0]
            raise ProtocolError(
                f"channel {channels[k]} holds {found_V[k]:.5f} V where {wanted_V[k]:.5f} V "
                "was written",
                instrument=self.name,
                advice="write again; a garbled line, or instruments.NAME.bits is wrong",
            )

    def _slack(self, voltage_V: FloatArray) -> FloatArray:
        """Return how far a set-point may be quantised and printed away, V."""
        return self.resolution_V + 1e-5 * np.abs(voltage_V) + 1e-5

    @override
    def _held(self) -> FloatArray:
        everything = np.arange(self._n_channels)
        return self._numbers(self._dialect.read_back(everything), self._n_channels)

    @override
    def _lost(self) -> None:
        self._on = np.zeros(self._n_channels, dtype=bool)

    @override
    def _present(self, channels: IntArray) -> FloatArray:
        # As well as the instrument can say.
        parts = self._dialect.measure_voltage(channels) or self._dialect.read_back(channels)
        return self._numbers(parts, len(channels))

    def _measured(self, parts: list[Part], count: int) -> FloatArray:
        """Return measured values, if the outputs are still those that were set."""
        events = self._dialect.events_query
        with self._noting_restarts():
            if events is None:
                self._require_states()
                return self._numbers(parts, count)
            values, found = self._link.run(
                [*parts, query(events)],
                lambda texts: (_numbers(texts[:-1], count), self._link.parse_events(texts[-1])),
            )
            self._link.judge(found, None)
        return values

    def _numbers(self, parts: list[Part], count: int) -> FloatArray:
        return self._link.run(parts, lambda answers: _numbers(answers, count))

    def _states_hold(self) -> bool:
        """Say whether all outputs that were switched on still are."""
        parts = self._dialect.states(self._n_channels)
        if not parts:
            return True
        states = self._numbers(parts, self._n_channels)
        return bool((states[self._on] != 0).all())

    def _require_states(self) -> None:
        if not self._states_hold():
            raise self._presence.restart_error()

    def _check(self) -> None:
        self._link.check()
        self._require_states()
        parts = self._dialect.trips(self._n_channels)
        if not parts:
            return
        trips = self._numbers(parts, self._n_channels)
        for channel in np.flatnonzero(trips)[:1]:
            bank = self._outputs()
            bank.forget(np.flatnonzero(trips))
            raise DeviceError(
                f"channel {channel} has tripped (condition {trips[channel]:g})",
                code=int(trips[channel]),
                channel=int(channel),
                instrument=self.name,
                advice="over-voltage, over-current or watchdog; clear with OUTP:PROT:CLE",
            )

    def _test_read_back(self) -> str:
        everything = np.arange(self._n_channels)
        setpoint = self.setpoint_V
        known = ~np.isnan(setpoint)
        held = self._held()
        self._compare(everything[known], setpoint[known], held[known])
        if self._dialect.measure_voltage(everything) and known.any():
            measured = self.measure_voltages(everything[known])
            on = np.where(self._on[known], setpoint[known], 0.0)
            self._compare(everything[known], on, measured, self._options.readback_tolerance_V)
        return f"{int(known.sum())} set-points"


def _numbers(answers: list[str], count: int) -> FloatArray:
    return parse_numbers(",".join(answers).replace("\t", ","), count)


@final
class ScpiSourceFactory(TableFactory[ScpiSourceOptions, ScpiSource]):
    """Makes SCPI and TSP sources."""

    description: ClassVar[str] = ScpiSource.description
    options_type = ScpiSourceOptions

    @override
    def _make(
        self, name: str, settings: InstrumentSettings, options: ScpiSourceOptions
    ) -> ScpiSource:
        if options.watchdog_s is not None and options.dialect != "keysight":
            raise LimitError(
                f"the dialect {options.dialect!r} has no watchdog",
                field=f"instruments.{name}.watchdog_s",
                value=options.watchdog_s,
            )
        return ScpiSource(name, settings, options, self._wire(name, settings), self._clock)
