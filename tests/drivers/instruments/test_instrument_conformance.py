"""Every registered driver against its simulator, over a wire in memory."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from memory_bench import CASES, MemoryBench, MemorySourceBench

from eqp_hw.drivers.instruments.conformance import InstrumentConformance, SourceConformance
from eqp_hw.drivers.instruments.registry import ENTRY_POINT_GROUP

SOURCES = [name for name, case in CASES.items() if case.source]
OTHERS = [name for name, case in CASES.items() if not case.source]


def test_every_registered_driver_is_inspected() -> None:
    registered = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    ours = {
        entry.name
        for entry in entry_points(group=ENTRY_POINT_GROUP)
        if entry.value.startswith("eqp_hw.drivers.")
    }
    assert ours
    assert ours <= registered
    assert ours == {case.kind for case in CASES.values()}


class TestSources(SourceConformance):
    @pytest.fixture(params=SOURCES)
    def bench(self, request: pytest.FixtureRequest) -> MemorySourceBench:
        return MemorySourceBench(CASES[request.param])


class TestOthers(InstrumentConformance):
    @pytest.fixture(params=OTHERS)
    def bench(self, request: pytest.FixtureRequest) -> MemoryBench:
        return MemoryBench(CASES[request.param])
