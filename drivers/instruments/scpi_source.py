"""Driver of multichannel SCPI and TSP voltage sources; a dialect spells, this composes.

Every write goes out with the question for the set-points and one look at the error queue, so
that what was accepted is what the instrument says it holds.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, TypeVar, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.drivers.errors import (
    DeviceError,
    InstrumentError,
    LimitError,
    LostError,
    ProtocolError,
    StateLostError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import NonceProbe
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.substrate import SelfTestStep

from .checks import Count, Positive, SourceOptions, named_step, twice
from .clock import Clock
from .interface import Identity, MultichannelSource
from .limits import check_channels, source_limits
from .outputs import OutputBank
from .safe_state import make_safe
from .scpi_dialects import DIALECTS, DialectName
from .scpi_link import ScpiLink
from .scpi_wire import Part, parse_number, parse_numbers, query
from .table_factory import TableFactory

__all__ = ["ScpiSource", "ScpiSourceFactory", "ScpiSourceOptions"]

T = TypeVar("T")


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
class ScpiSource(MultichannelSource):
    """A source with many channels.

    Parameters
    ----------
    name
        Name in the rig file.
    settings
        Its table there.
    options
        The options of this kind.
    transport
        The wire.
    clock
        What ramps go by.
    """

    description: ClassVar[str] = "SCPI sources: Keysight, R&S and kin, Keithley TSP, QDAC-II"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: ScpiSourceOptions,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self.name = name
        self._settings = settings
        self._options = options
        self._dialect = DIALECTS[options.dialect]
        self._clock = clock
        self._link = ScpiLink(
            transport,
            name,
            probe=NonceProbe(self._dialect.probe),
            error_query=self._dialect.error_query,
            parse_report=self._dialect.parse_report,
            events_query=self._dialect.events_query,
            join=self._dialect.join,
        )
        self._n_channels = options.channels or self._dialect.default_channels
        self._full_V = options.full_scale_V or self._dialect.default_full_scale_V
        self._bank: OutputBank | None = None
        self._on = np.zeros(self._n_channels, dtype=bool)
        self._log = logging.getLogger(f"eqp_hw.drivers.{name}")

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

    @property
    @override
    def setpoint_V(self) -> FloatArray:
        return self._outputs().setpoint_V

    def set_resistance(self, resistance_ohm: FloatArray) -> None:
        """Judge currents and powers by measured loads, (n_channels,) ohm."""
        self._outputs().set_resistance(resistance_ohm)

    @override
    def connect(self) -> Identity:
        identity = self._link.connect(self._settings.identity, self._dialect.knows)
        try:
            self._count_channels()
            self._bank = self._make_bank()
            self._set_up()
            self._on = np.zeros(self._n_channels, dtype=bool)
            self._bank.observe(self._read_back(np.arange(self._n_channels)))
        except BaseException:
            self._link.session.close()
            raise
        return identity

    @override
    def recover(self) -> bool:
        bank = self._outputs()
        self._link.recover(self._settings.timeout_s)
        survived = not (self._link.restarted or bank.doubtful)
        self._link.restarted = False
        survived = survived and self._states_hold()
        self._set_up()
        held = self._read_back(np.arange(self._n_channels))
        known = ~np.isnan(bank.setpoint_V)
        error = np.abs(held - bank.setpoint_V)[known]
        survived = survived and bool((error <= self._slack(held[known])).all())
        if not survived:
            bank.forget()
            self._on[:] = False
        bank.observe(held)
        bank.trust()
        self._log.info("recovered, outputs %s", "as they were" if survived else "lost")
        return survived

    @override
    def check_errors(self) -> None:
        self._outputs()
        self._noting(self._check)

    @override
    def write_voltages(self, channels: IntArray, voltage_V: FloatArray) -> None:
        bank = self._outputs()
        self._link.require()
        self._noting(lambda: bank.write(channels, voltage_V, self._send, self._present))

    @override
    def measure_voltages(self, channels: IntArray) -> FloatArray:
        index = check_channels(self.name, channels, self._n_channels)
        parts = self._dialect.measure_voltage(index)
        if not parts:
            raise CapabilityError(
                f"{self.name} ({self._options.dialect}) has no voltmeter; setpoint_V is what it "
                "holds by its own account"
            )
        return self._noting(lambda: self._measured(parts, len(index)))

    @override
    def measure_currents(self, channels: IntArray) -> FloatArray:
        index = check_channels(self.name, channels, self._n_channels)
        parts = self._dialect.measure_current(index)
        return self._noting(lambda: self._measured(parts, len(index)))

    @override
    def self_test(self) -> list[SelfTestStep]:
        return [
            named_step("identity", lambda: self._link.ask("*IDN?", str)),
            named_step("errors", self._test_errors),
            named_step("read-back", self._test_read_back),
        ]

    @override
    def safe(self) -> None:
        if self._bank is None:  # never connected, or closed and so safe
            return
        self._bank.forget()
        # A restart is no hindrance here, and stays known.
        restarted, self._link.restarted = self._link.restarted, False
        try:
            make_safe(self._link.session, self._write_zeros, self.safe_messages(), self._log)
        finally:
            self._link.restarted |= restarted
            self._on[:] = False
        zeros = np.zeros(self._n_channels)
        self._bank.accept(np.arange(self._n_channels), zeros, zeros)
        self._bank.trust()

    @override
    def close(self) -> None:
        if self._bank is not None:
            try:
                self.safe()
            except InstrumentError as error:
                self._log.error("closed without safe outputs: %s", error)
            self._bank = None
        self._link.session.close()

    @override
    def safe_messages(self) -> Sequence[bytes]:
        # Commands only: an answer that nobody reads may cost the rest when the wire is closed.
        return [b"\n", *(f"{part.text}\n".encode("ascii") for part in self._safe_parts())]

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

    def _outputs(self) -> OutputBank:
        if self._bank is None:
            raise LostError("not connected", instrument=self.name, advice="connect first")
        return self._bank

    def _count_channels(self) -> None:
        if not self._dialect.counts_channels:
            return
        found = int(twice(self.name, lambda: self._link.ask("SYST:CHAN?", parse_number)))
        wanted = self._options.channels or found
        if wanted > found:
            raise LimitError(
                f"the instrument has {found} channels",
                field=f"instruments.{self.name}.channels",
                value=wanted,
                allowed=f"at most {found}",
            )
        self._n_channels = wanted

    def _make_bank(self) -> OutputBank:
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
            limits = dataclasses.replace(limits, slew_V_per_s=None)
        return OutputBank(limits, self.resolution_V, self._clock)

    def _set_up(self) -> None:
        parts = self._dialect.setup(
            self._n_channels,
            current_A=self._settings.limits.current_A,
            slew_V_per_s=self._settings.limits.slew_V_per_s,
            watchdog_s=self._options.watchdog_s,
            low_range=self._options.range == "low",
        )
        if parts:
            self._link.run(parts, list)
        self._link.check()

    def _send(self, index: IntArray, voltage_V: FloatArray) -> FloatArray:
        order = np.argsort(index)
        channels, voltage = index[order], voltage_V[order]
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

    def _read_back(self, channels: IntArray) -> FloatArray:
        return self._numbers(self._dialect.read_back(channels), len(channels))

    def _present(self, channels: IntArray) -> FloatArray:
        """Return what channels drive now, as well as the instrument can say."""
        parts = self._dialect.measure_voltage(channels) or self._dialect.read_back(channels)
        return self._numbers(parts, len(channels))

    def _measured(self, parts: list[Part], count: int) -> FloatArray:
        """Return measured values, if the outputs are still those that were set."""
        events = self._dialect.events_query
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
            self._link.restarted = True
            raise self._link.restart_error()

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

    def _noting(self, run: Callable[[], T]) -> T:
        """Run, and forget all set-points where a restart is found."""
        try:
            return run()
        except StateLostError:
            self._outputs().forget()
            self._on[:] = False
            raise

    def _test_errors(self) -> str:
        self.check_errors()
        return "none"

    def _test_read_back(self) -> str:
        everything = np.arange(self._n_channels)
        setpoint = self.setpoint_V
        known = ~np.isnan(setpoint)
        held = self._read_back(everything)
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
