"""Limits, set-point book-keeping, ramps, and the options of the drivers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instrument_bench import FakeClock
from memory_bench import CASES, FACTORIES, Case, MemorySourceBench

from eqp_hw.drivers.errors import (
    DeviceError,
    InstrumentError,
    LimitError,
    TransportTimeout,
)
from eqp_hw.drivers.instruments.interface import MultichannelSource
from eqp_hw.drivers.instruments.limits import SourceLimits, check_voltages, source_limits
from eqp_hw.drivers.instruments.outputs import OutputBank, ramp
from eqp_hw.drivers.instruments.registry import list_drivers, make_instrument
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings, LimitSettings
from eqp_hw.sim_backends.virtual_lab.interface import Reply


def _limits(n: int = 3, **changes: float) -> SourceLimits:
    return source_limits(
        "h",
        LimitSettings(**changes),
        highest_V=np.full(n, 10.0),
        bipolar=False,
        resistance_ohm=100.0,
    )


def _no_measure(channels: IntArray) -> FloatArray:
    raise AssertionError("nothing need be measured")


@settings(deadline=None, max_examples=100)
@given(
    voltage=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3),
)
def test_what_passes_is_within_every_limit(voltage: list[float]) -> None:
    limits = _limits(voltage_V=8.0, current_A=0.07, power_W=0.36, total_power_W=0.5)
    values = np.where(np.abs(voltage) < 1e-6, 0.0, voltage)  # rounding is let pass
    allowed = bool(
        np.isfinite(values).all()
        and (values >= 0).all()
        and (values <= 6.0).all()
        and (values**2).sum() / 100.0 <= 0.5
    )
    try:
        check_voltages(limits, np.arange(3), values, np.zeros(3))
        passed = True
    except LimitError:
        passed = False
    assert passed == allowed


def test_total_power_counts_channels_that_are_not_written() -> None:
    limits = _limits(total_power_W=1.0)
    held = np.array([0.0, 9.0, 0.0])
    check_voltages(limits, np.array([0]), np.array([4.0]), held)
    with pytest.raises(LimitError, match="total_power_W"):
        check_voltages(limits, np.array([0]), np.array([5.0]), held)


def test_a_power_limit_needs_a_resistance() -> None:
    limits = source_limits("h", LimitSettings(power_W=1.0), highest_V=np.ones(1), bipolar=False)
    with pytest.raises(LimitError, match="resistance"):
        check_voltages(limits, np.array([0]), np.array([0.5]), np.zeros(1))


@settings(deadline=None, max_examples=60)
@given(
    start=st.lists(st.floats(-10, 10), min_size=2, max_size=2),
    end=st.lists(st.floats(-10, 10), min_size=2, max_size=2),
    step=st.floats(0.05, 30),
)
def test_ramps_arrive_and_never_jump(start: list[float], end: list[float], step: float) -> None:
    first, last = np.array(start), np.array(end)
    path = [first, *ramp(first, last, step)]
    assert np.array_equal(path[-1], last)
    jumps = np.abs(np.diff(np.array(path), axis=0))
    assert jumps.max() <= step * (1 + 1e-6)
    assert len(path) - 1 == max(1, int(np.ceil(np.abs(last - first).max() / step - 1e-9)))


def test_failed_channels_are_unknown_and_sent_again() -> None:
    bank = OutputBank(_limits(), 0.01, FakeClock())
    sent: list[tuple[list[int], list[float]]] = []

    def send(channels: IntArray, voltage_V: FloatArray) -> None:
        sent.append((channels.tolist(), voltage_V.tolist()))

    def fail(channels: IntArray, voltage_V: FloatArray) -> None:
        raise TransportTimeout("no reply")

    everything = np.arange(3)
    bank.write(everything, np.array([1.0, 2.0, 3.0]), send, _no_measure)
    with pytest.raises(TransportTimeout):
        bank.write(everything, np.array([1.0, 2.5, 3.0]), fail, _no_measure)
    assert np.array_equal(bank.setpoint_V, [1.0, np.nan, 3.0], equal_nan=True)
    bank.write(everything, np.array([1.0, 2.0, 3.001]), send, _no_measure)
    assert sent == [([0, 1, 2], [1.0, 2.0, 3.0]), ([1], [2.0])]


def test_an_unknown_output_counts_with_the_worst_it_may_be() -> None:
    bank = OutputBank(_limits(total_power_W=1.0), 0.01, FakeClock())

    def fail(channels: IntArray, voltage_V: FloatArray) -> None:
        raise TransportTimeout("no reply")

    with pytest.raises(TransportTimeout):
        bank.write(np.array([0]), np.array([9.0]), fail, _no_measure)
    with pytest.raises(LimitError, match="total_power_W"):
        bank.write(np.array([1]), np.array([5.0]), fail, _no_measure)


def test_quantised_set_points_stay_within_the_limit() -> None:
    bank = OutputBank(_limits(voltage_V=1.006), 0.01, FakeClock())
    assert bank.quantise(np.array([0]), np.array([1.006]))[0] == pytest.approx(1.0)
    assert bank.quantise(np.array([0]), np.array([0.996]))[0] == pytest.approx(1.0)


def test_ramps_wait_between_steps_and_calls() -> None:
    clock = FakeClock()
    bank = OutputBank(_limits(slew_V_per_s=10.0), 0.001, clock)
    times: list[tuple[float, float]] = []

    def send(channels: IntArray, voltage_V: FloatArray) -> None:
        times.append((clock.now_s(), float(voltage_V[0])))

    bank.write(np.array([0]), np.array([1.0]), send, lambda channels: np.zeros(len(channels)))
    for target in (1.05, 1.1, 1.15):
        bank.write(np.array([0]), np.array([target]), send, _no_measure)
    for (t0, v0), (t1, v1) in itertools.pairwise(times):
        assert v1 - v0 <= 10.0 * (t1 - t0) + 1e-9
    assert times[-1][1] == pytest.approx(1.15)


def test_drivers_are_registered_and_described() -> None:
    listed = {listing.name: listing for listing in list_drivers()}
    for name in FACTORIES:
        assert listed[name].unavailable_because is None, listed[name]
        assert listed[name].description
        assert all(listed[name].options.values()), listed[name].options


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("qontrol", {"binery": True}, r"instruments\.x\.binery.*did you mean 'binary'"),
        ("qontrol", {"modules": 0}, r"instruments\.x\.modules"),
        ("qontrol", {"model": "Q9"}, r"instruments\.x\.model.*Q8iv"),
        ("scpi-source", {"dialect": "agilentish"}, r"instruments\.x\.dialect.*keysight"),
        ("scpi-source", {"dialect": "qdac2", "watchdog_s": 5}, r"instruments\.x\.watchdog_s"),
        ("opendac", {"unit": "kV"}, r"instruments\.x\.unit.*mV"),
        ("scpi-digitiser", {"range_V": -1.0}, r"instruments\.x\.range_V"),
        ("pm100", {"wavelength_nm": "red"}, r"instruments\.x\.wavelength_nm"),
        ("sr830", {"sensitivity": 40}, r"instruments\.x\.sensitivity"),
        ("no-such", {}, r"instruments\.x\.kind.*qontrol"),
    ],
)
def test_wrong_options_are_named(kind: str, options: dict[str, object], field: str) -> None:
    table = InstrumentSettings(kind=kind, address="tcp:127.0.0.1:9", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=field):
        make_instrument("x", table)


@pytest.mark.parametrize("name", ["qontrol", "keysight", "qdac2", "opendac"])
def test_a_changed_digit_on_the_way_is_not_accepted(name: str) -> None:
    """With ``verify`` (Qontrol; the others always read back) a wrong level never passes."""
    case = CASES[name]
    options = case.options | ({"verify": True} if name == "qontrol" else {})
    bench = MemorySourceBench(Case(case.kind, options=options))
    source = bench.make()
    assert isinstance(source, MultichannelSource)
    source.connect()
    feed, rng = bench.simulator.feed, np.random.default_rng(2)
    changed = refused = 0
    known = np.zeros(source.n_channels, dtype=bool)

    def garbled(data: bytes) -> list[Reply]:
        nonlocal changed
        digits = [k for k, byte in enumerate(data) if chr(byte).isdigit()]
        if digits and b"?" not in data[:8] and rng.random() < 0.3:
            changed += 1
            k = int(rng.choice(digits))
            data = data[:k] + b"%d" % rng.integers(10) + data[k + 1 :]
        return feed(data)

    for _ in range(80):
        channels = rng.permutation(4)[:3]
        asked = rng.uniform(1.0, 9.0, 3)
        bench.simulator.feed = garbled  # type: ignore[method-assign]
        try:
            source.write_voltages(channels, asked)
            source.check_errors()
        except InstrumentError:
            refused += 1
            bench.simulator.feed = feed  # type: ignore[method-assign]
            if source.recover():  # then only what is written again may be unknown
                others = np.setdiff1d(np.flatnonzero(known), channels)
                assert not np.isnan(source.setpoint_V[others]).any()
            else:
                assert np.isnan(source.setpoint_V).all()
        setpoint = source.setpoint_V
        known = ~np.isnan(setpoint)
        driven = np.array([bench.output_V(k) for k in range(source.n_channels)])
        assert np.abs(driven - setpoint)[known].max(initial=0.0) <= 0.011
    assert changed >= 20
    assert refused >= 10


def test_a_tripped_channel_is_reported_and_must_be_written_again() -> None:
    """An over-current line that comes unasked: error with its channel, and nothing is hidden."""
    bench = MemorySourceBench(CASES["qontrol"])
    source = bench.make()
    assert isinstance(source, MultichannelSource)
    source.connect()
    channels = np.arange(8)
    source.write_voltages(channels, np.full(8, 2.0))
    bench.plant.voltages[5] = 0.0
    bench.wire.say(b"E02:05\n")
    with pytest.raises(DeviceError, match="over-current") as caught:
        source.measure_voltages(np.array([0]))
    assert (caught.value.code, caught.value.channel) == (2, 5)
    assert np.flatnonzero(np.isnan(source.setpoint_V[:8])).tolist() == [5]
    assert not source.recover()
    source.write_voltages(channels, np.full(8, 2.0))
    assert bench.output_V(5) == pytest.approx(2.0, abs=1e-3)
    source.close()
