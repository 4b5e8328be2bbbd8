"""What every instrument driver must satisfy, as classes of pytest tests.

Derive from `InstrumentConformance` (and `SourceConformance` for a voltage source) and provide the
fixture ``bench``: a `Bench` that holds one instrument, real or simulated, at the end of a wire
whose faults are in the tester's hand::

    class TestMyMeter(InstrumentConformance):
        @pytest.fixture
        def bench(self):
            with MyBench() as bench:
                yield bench

The suite knows no simulator; what is true comes from the bench.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from eqp_hw.drivers.errors import (
    DeviceError,
    IdentityError,
    InstrumentError,
    LimitError,
    LostError,
    StateLostError,
    TransportError,
)
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray

from .conformance_bench import Bench, Provoked, SourceBench
from .interface import Digitiser, Instrument, MultichannelSource

__all__ = ["Bench", "InstrumentConformance", "Provoked", "SourceBench", "SourceConformance"]


class InstrumentConformance:
    """The suite; every method is one property."""

    def _connected(self, bench: Bench) -> Instrument:
        instrument = bench.make()
        instrument.connect()
        self._prepare(instrument)
        return instrument

    def _prepare(self, instrument: Instrument) -> None:
        """Bring the instrument where `Bench.answer` has three different values."""
        if isinstance(instrument, MultichannelSource):
            instrument.write_voltages(np.arange(3), np.array([1.0, 2.0, 3.0]))

    def _good(self, bench: Bench, instrument: Instrument, k: int) -> None:
        assert bench.question(instrument, k) == pytest.approx(
            bench.answer(k), abs=bench.tolerance, rel=0
        )
        self._nothing_unread(bench)

    def _nothing_unread(self, bench: Bench) -> None:
        assert bench.transport.unread == 0
        assert bench.unread() == 0

    def test_identity(self, bench: Bench) -> None:
        """`connect` says who answers, and may be asked for again after `close`."""
        instrument = bench.make()
        identity = instrument.connect()
        assert identity.model
        assert identity.raw
        self._nothing_unread(bench)
        instrument.close()
        assert instrument.connect() == identity
        instrument.close()

    def test_wrong_identity_is_refused(self, bench: Bench) -> None:
        """Another instrument than the rig names: refused, and the wire released."""
        instrument = bench.make(identity="NO-SUCH-INSTRUMENT")
        with pytest.raises(IdentityError, match="NO-SUCH-INSTRUMENT"):
            instrument.connect()
        assert not bench.transport.is_open
        with pytest.raises(InstrumentError):
            bench.question(instrument, 0)

    def test_before_connect_and_after_close(self, bench: Bench) -> None:
        """Out of order is an error that says so, never a traceback."""
        instrument = bench.make()
        with pytest.raises(LostError, match="connect"):
            bench.question(instrument, 0)
        with pytest.raises(LostError, match="connect"):
            instrument.check_errors()
        instrument.close()
        instrument.connect()
        instrument.close()
        instrument.close()
        assert not bench.transport.is_open
        with pytest.raises(LostError, match="connect"):
            bench.question(instrument, 0)

    def test_questions_are_answered(self, bench: Bench) -> None:
        """Answers are true, and no byte is left unread after any call."""
        instrument = self._connected(bench)
        for k in (0, 1, 2, 1, 0):
            self._good(bench, instrument, k)
        instrument.check_errors()
        self._nothing_unread(bench)
        instrument.close()

    def test_values_come_in_the_order_of_the_channels(self, bench: Bench) -> None:
        """A digitiser's columns are the channels as asked, whatever the order of conversion."""
        instrument = self._connected(bench)
        if isinstance(instrument, Digitiser):
            order = np.random.default_rng(1).permutation(min(instrument.n_channels, 9))
            single = [instrument.read(np.array([k])).voltage_V[0, 0] for k in order]
            together = instrument.read(order, 3).voltage_V
            assert together.shape == (3, len(order))
            assert together[2] == pytest.approx(single, abs=bench.tolerance)
            self._nothing_unread(bench)
        instrument.close()

    def test_bad_requests_are_refused(self, bench: Bench) -> None:
        """No such channel, one named twice, no sample: refused before the first byte."""
        instrument = self._connected(bench)
        before = bench.n_requests()
        if isinstance(instrument, Digitiser):
            n = instrument.n_channels
            for channels in ([n], [-1], [0, 0], []):
                with pytest.raises(LimitError):
                    instrument.read(np.array(channels, dtype=np.int64))
            with pytest.raises(LimitError):
                instrument.read(np.array([0]), 0)
        elif isinstance(instrument, MultichannelSource):
            n = instrument.n_channels
            for channels in ([n], [-1], [0, 0]):
                index = np.array(channels)
                with pytest.raises(LimitError):
                    instrument.measure_voltages(index)
                with pytest.raises(LimitError):
                    instrument.write_voltages(index, np.zeros(len(index)))
        assert bench.n_requests() == before
        instrument.close()

    @pytest.mark.parametrize("fault", ["late", "lost"])
    def test_no_stale_answer(self, bench: Bench, fault: str) -> None:
        """After a time-out each question gets its own answer or an error, never another's."""
        instrument = self._connected(bench)
        for first in (0, 1):
            if fault == "late":
                bench.late_reply()
            else:
                bench.lose_reply()
            for k in (first, 2, first, 1 - first):
                try:
                    value = bench.question(instrument, k)
                except TransportError:
                    assert instrument.recover()
                    continue
                assert value == pytest.approx(bench.answer(k), abs=bench.tolerance, rel=0)
            self._nothing_unread(bench)
        instrument.close()

    def test_recover_needs_a_connection(self, bench: Bench) -> None:
        """Who was never connected is not identified by recovering; nothing is sent."""
        instrument, before = bench.make(), bench.n_requests()
        with pytest.raises(LostError, match="connect first"):
            instrument.recover()
        assert bench.n_requests() == before

    def test_recover_changes_nothing(self, bench: Bench) -> None:
        """With nothing wrong the state survives."""
        instrument = self._connected(bench)
        assert instrument.recover()
        for k in range(3):
            self._good(bench, instrument, k)
        instrument.close()

    def test_unplugged_and_plugged_in(self, bench: Bench) -> None:
        """A pulled cable is an error; back again, the state is as it was."""
        instrument = self._connected(bench)
        before = [bench.question(instrument, k) for k in range(3)]
        bench.unplug()
        with pytest.raises(InstrumentError):
            bench.question(instrument, 0)
        assert not all(step.passed for step in instrument.self_test())
        with pytest.raises(InstrumentError):
            instrument.recover()
        bench.plug()
        assert instrument.recover()
        after = [bench.question(instrument, k) for k in range(3)]
        assert after == pytest.approx(before, abs=2 * bench.tolerance, rel=0)
        self._nothing_unread(bench)
        instrument.close()

    @pytest.mark.parametrize("first", ["check", "question"])
    def test_power_cycle_is_noticed(self, bench: Bench, first: str) -> None:
        """A restart is never passed over; afterwards everything is as new."""
        instrument = self._connected(bench)
        bench.power_cycle()
        if first == "check" or not bench.question_shows_restart:
            with pytest.raises(StateLostError):
                instrument.check_errors()
        with pytest.raises(StateLostError):
            bench.question(instrument, 0)
        if isinstance(instrument, MultichannelSource):
            assert np.isnan(instrument.setpoint_V).all()
        assert not instrument.recover()
        self._prepare(instrument)
        for k in range(3):
            self._good(bench, instrument, k)
        instrument.check_errors()
        instrument.close()

    def test_device_errors_surface(self, bench: Bench) -> None:
        """What the instrument reports is raised once, with code and channel."""
        instrument = self._connected(bench)
        provoked = bench.provoke(instrument)
        with pytest.raises(DeviceError) as caught:
            provoked.look()
        assert caught.value.code == provoked.code
        assert caught.value.channel == provoked.channel
        instrument.check_errors()
        self._good(bench, instrument, 1)
        instrument.close()

    def test_self_test(self, bench: Bench) -> None:
        """Named steps, all passed on a sound instrument."""
        instrument = self._connected(bench)
        steps = instrument.self_test()
        assert len({step.name for step in steps}) == len(steps) >= 2
        assert all(step.passed for step in steps), steps
        assert all(step.detail for step in steps)
        self._nothing_unread(bench)
        instrument.close()


class SourceConformance(InstrumentConformance):
    """What a voltage source must satisfy beside."""

    def _source(
        self, bench: SourceBench, limits: Mapping[str, float] | None = None
    ) -> MultichannelSource:
        source = bench.make(limits=limits)
        assert isinstance(source, MultichannelSource)
        source.connect()
        return source

    def _outputs(self, bench: SourceBench, source: MultichannelSource) -> FloatArray:
        return np.array([bench.output_V(k) for k in range(source.n_channels)])

    def test_connecting_moves_no_output(self, bench: SourceBench) -> None:
        """Neither does reading limits, nor an unclean end before."""
        source = self._source(bench)
        source.write_voltages(np.arange(3), np.array([1.0, 2.0, 3.0]))
        before = self._outputs(bench, source)
        bench.transport.close()
        source = self._source(bench, {"current_A": 0.02, "voltage_V": 9.0})
        assert self._outputs(bench, source) == pytest.approx(before)
        source.close()

    def test_set_points_are_what_is_driven(self, bench: SourceBench) -> None:
        """Quantised within half a step and the read-out's digits; only changes are sent."""
        source = self._source(bench)
        assert np.isnan(source.setpoint_V).all()
        n = source.n_channels
        rng = np.random.default_rng(5)
        asked = rng.uniform(0.0, 0.9 * source.full_scale_V, n)
        asked[0] = 0.0
        source.write_voltages(np.arange(n), asked)
        driven = self._outputs(bench, source)
        assert np.abs(source.setpoint_V - asked).max() <= 1.01 * source.resolution_V + 1e-4
        assert np.abs(source.setpoint_V - driven).max() <= 0.01 * source.resolution_V + 1e-4
        self._nothing_unread(bench)
        before = bench.n_requests()
        source.write_voltages(np.arange(n), asked)
        assert bench.n_requests() == before
        order = rng.permutation(n)[: max(2, n // 2)]
        source.write_voltages(order, 0.5 * asked[order])
        asked[order] *= 0.5
        assert np.abs(self._outputs(bench, source) - asked).max() <= (
            1.01 * source.resolution_V + 1e-4
        )
        source.close()

    def test_limits_refuse_the_whole_request(self, bench: SourceBench) -> None:
        """Before the first byte, all channels or none, and nothing is clipped."""
        ohm = bench.resistance_ohm
        limits = {
            "voltage_V": 6.0,
            "current_A": 4.0 / ohm,
            "power_W": 3.0**2 / ohm,
            "total_power_W": 2.0 * 2.5**2 / ohm,
        }
        source = self._source(bench, limits)
        pair = np.array([0, 1])
        source.write_voltages(pair, np.array([2.0, 1.0]))
        held, before = source.setpoint_V, bench.n_requests()
        for bad in (np.nan, np.inf, -np.inf, 6.5, 5.0, 3.5, 2.9, 1e300, -20.0):
            with pytest.raises(LimitError):
                source.write_voltages(pair, np.array([bad, 2.4]))
        with pytest.raises(LimitError):
            source.write_voltages(pair, np.array([1.0]))
        assert bench.n_requests() == before
        assert np.array_equal(source.setpoint_V, held, equal_nan=True)
        assert [bench.output_V(0), bench.output_V(1)] == pytest.approx([2.0, 1.0], abs=1e-3)
        source.write_voltages(pair, np.array([2.4, 2.4]))
        source.close()

    def test_limits_above_the_instrument_are_refused(self, bench: SourceBench) -> None:
        """Found on connecting, named as in the rig file; no output moves."""
        source = bench.make(limits={"voltage_V": 1000.0})
        with pytest.raises(LimitError, match=r"limits\.voltage_V"):
            source.connect()
        assert not bench.transport.is_open

    def test_slew(self, bench: SourceBench) -> None:
        """No output changes faster than allowed, up or down."""
        slew = 20.0
        source = self._source(bench, {"slew_V_per_s": slew})
        channels = np.array([0, 2])
        source.write_voltages(channels, np.array([0.0, 0.0]))
        bench.start_trace()
        source.write_voltages(channels, np.array([2.0, 0.5]))
        source.write_voltages(channels, np.array([1.0, 1.0]))
        last: dict[int, tuple[float | None, float]] = {0: (None, 0.0), 2: (None, 0.0)}
        most = slew * 0.01 + 2 * source.resolution_V
        seen = 0
        for at_s, channel, value in bench.trace():
            if channel not in last:
                continue
            before_s, before = last[channel]
            grace = most if before_s is None else most + slew * (at_s - before_s)
            assert abs(value - before) <= grace * (1 + 1e-6)
            if value != before:
                last[channel] = (at_s, value)
                seen += 1
        assert seen >= 10
        assert [last[0][1], last[2][1]] == pytest.approx([1.0, 1.0], abs=2 * source.resolution_V)
        source.close()

    def test_measured_is_not_the_set_point(self, bench: SourceBench) -> None:
        """Measured values are near what is driven, or refused where there is no meter."""
        source = self._source(bench)
        channels = np.array([2, 0])
        source.write_voltages(channels, np.array([3.0, 1.0]))
        driven = np.array([bench.output_V(2), bench.output_V(0)])
        try:
            assert source.measure_voltages(channels) == pytest.approx(driven, abs=0.01)
        except CapabilityError:
            assert np.abs(source.setpoint_V[channels] - driven).max() <= 1e-3
        try:
            current = source.measure_currents(channels)
        except CapabilityError:
            current = driven / bench.resistance_ohm
        assert current == pytest.approx(driven / bench.resistance_ohm, abs=1e-4)
        self._nothing_unread(bench)
        source.close()

    def test_safe_and_close(self, bench: SourceBench) -> None:
        """Outputs go to zero and may be raised again; `close` leaves them at zero."""
        source = self._source(bench)
        everything = np.arange(source.n_channels)
        source.write_voltages(everything, np.full(len(everything), 1.5))
        for _ in range(2):
            source.safe()
            assert np.abs(self._outputs(bench, source)).max() <= source.resolution_V
            assert np.abs(source.setpoint_V).max() <= source.resolution_V
        source.write_voltages(everything, np.full(len(everything), 1.5))
        assert self._outputs(bench, source) == pytest.approx(1.5, abs=2 * source.resolution_V)
        source.close()
        assert max(abs(bench.output_V(int(k))) for k in everything) <= source.resolution_V

    def test_safe_after_a_lost_cable(self, bench: SourceBench) -> None:
        """With the cable back `safe` works without any ceremony; `close` never raises."""
        source = self._source(bench)
        source.write_voltages(np.arange(3), np.array([1.0, 2.0, 3.0]))
        bench.unplug()
        with pytest.raises(InstrumentError):
            source.check_errors()
        with pytest.raises(InstrumentError):
            source.safe()
        bench.plug()
        source.safe()
        assert np.abs(self._outputs(bench, source)).max() <= source.resolution_V
        bench.unplug()
        source.close()
        bench.plug()

    def test_safe_messages_need_no_dialogue(self, bench: SourceBench) -> None:
        """The guardian's bytes alone drive all outputs to zero, also after half a command."""
        source = self._source(bench)
        n = source.n_channels
        source.write_voltages(np.arange(n), np.full(n, 1.5))
        messages = source.safe_messages()
        resolution = source.resolution_V
        bench.transport.close()
        for message in messages:
            bench.send_raw(bytes(message))
        assert max(abs(bench.output_V(k)) for k in range(n)) <= resolution
