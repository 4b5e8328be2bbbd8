"""Long conversations with faults drawn at random: what a driver accepts is what is driven."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from memory_bench import CASES, MemoryBench, MemorySourceBench

from eqp_hw.drivers.errors import InstrumentError
from eqp_hw.drivers.instruments.interface import Instrument, MultichannelSource

N_STEPS = 150


def _late(bench: MemoryBench) -> None:
    bench.wire.late_replies = 1


def _lost(bench: MemoryBench) -> None:
    bench.wire.lost_replies = 1


def _swallowed(bench: MemoryBench) -> None:
    bench.wire.swallowed_requests = 1


def _twice(bench: MemoryBench) -> None:
    bench.wire.doubled_replies = 1


def _restart(bench: MemoryBench) -> None:
    bench.power_cycle()


def _garbled(bench: MemoryBench) -> None:
    bench.wire.garble_requests = 1


def _stray(bench: MemoryBench) -> None:
    bench.wire.say(b"\xff\x00+1.0")


FAULTS: list[Callable[[MemoryBench], None]] = [
    _late,
    _lost,
    _swallowed,
    _twice,
    _restart,
    _garbled,
    _stray,
]


def _recovered(instrument: Instrument) -> bool:
    """Recover as a rig does: a few attempts, then the error counts."""
    for _ in range(4):
        try:
            return instrument.recover()
        except InstrumentError:
            pass
    return instrument.recover()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.source])
def test_accepted_set_points_are_driven(name: str) -> None:
    bench = MemorySourceBench(CASES[name])
    rng = np.random.default_rng(17)
    source = bench.make()
    assert isinstance(source, MultichannelSource)
    source.connect()
    n = source.n_channels
    failures = accepted = 0
    known = np.zeros(n, dtype=bool)
    for _ in range(N_STEPS):
        channels = rng.permutation(n)[: int(rng.integers(1, n + 1))]
        asked = rng.uniform(0.0, 8.0, len(channels))
        fault = rng.random() < 0.4
        if fault:
            FAULTS[int(rng.integers(len(FAULTS)))](bench)
        try:
            source.write_voltages(channels, asked)
            source.check_errors()
        except InstrumentError:
            failures += 1
            if _recovered(source):  # then only what is written again may be unknown
                others = np.setdiff1d(np.flatnonzero(known), channels)
                assert not np.isnan(source.setpoint_V[others]).any()
            else:
                assert np.isnan(source.setpoint_V).all()
        else:
            accepted += 1
            driven = np.array([bench.output_V(int(k)) for k in channels])
            assert np.abs(driven - asked).max() <= 1.01 * source.resolution_V + 1e-4
            assert not np.isnan(source.setpoint_V[channels]).any()
        everything = np.array([bench.output_V(k) for k in range(n)])
        setpoint = source.setpoint_V
        known = ~np.isnan(setpoint)
        assert np.abs((everything - setpoint)[known]).max(initial=0.0) <= 1e-3
    assert failures >= 5
    assert accepted >= N_STEPS // 2
    source.close()
    assert max(abs(bench.output_V(k)) for k in range(n)) <= source.resolution_V


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.source])
def test_accepted_readings_are_true(name: str) -> None:
    bench = MemoryBench(CASES[name])
    rng = np.random.default_rng(19)
    meter = bench.make()
    meter.connect()
    failures = accepted = 0
    for _ in range(N_STEPS):
        k = int(rng.integers(3))
        if rng.random() < 0.4:
            FAULTS[int(rng.integers(len(FAULTS)))](bench)
        try:
            value = bench.question(meter, k)
        except InstrumentError:
            failures += 1
            _recovered(meter)
        else:
            accepted += 1
            assert value == pytest.approx(bench.answer(k), abs=bench.tolerance, rel=0)
    assert failures >= 3
    assert accepted >= N_STEPS // 2
    meter.close()
