"""The driver conformance suite once more, over real pseudo-terminals, TCP ports and VISA."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_bench import CASES
from wire_bench import WireBench

from eqp_hw.drivers.instruments.conformance import InstrumentConformance, SourceConformance

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

SOURCES = [
    ("qontrol", "serial"),
    ("qontrol-binary", "serial"),
    ("keysight", "tcp"),
    ("qdac2", "visa-tcp"),
    ("opendac", "serial"),
]
OTHERS = [("scpi-digitiser", "tcp"), ("pm100", "visa-tcp"), ("sr830", "visa-serial")]


class TestSourcesOnRealWires(SourceConformance):
    @pytest.fixture(params=SOURCES, ids="-".join)
    def bench(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WireBench]:
        name, scheme = request.param
        with WireBench(CASES[name], scheme, tmp_path) as bench:
            yield bench


class TestOthersOnRealWires(InstrumentConformance):
    @pytest.fixture(params=OTHERS, ids="-".join)
    def bench(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WireBench]:
        name, scheme = request.param
        with WireBench(CASES[name], scheme, tmp_path) as bench:
            yield bench
