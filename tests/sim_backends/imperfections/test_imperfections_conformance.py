"""An imperfect substrate is still a substrate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from imperfection_bench import LAYERED, TIED, Hardware, around, imperfect, table

from eqp_hw.conformance.suite import SubstrateConformance
from eqp_hw.substrate import Substrate

KNOWN = {
    "noise": [table("readout-noise", sigma=0.002)],
    "phase bits": [table("phase-bits", bits=14)],
    "dithered": [table("phase-bits", bits=12, dither="uniform")],
    "coupling bits": [table("coupling-bits", bits=8, low=-1.2, high=1.2)],
    "range": [table("coupling-bits", low=-1.5, high=1.5)],
    "bias bits": [table("bias-bits", bits=8, maximum=2.0)],
    "clock": [table("clock", read_s=0.1)],
    "all": [
        table("coupling-bits", bits=8, low=-1.2, high=1.2),
        table("bias-bits", bits=10, maximum=2.0),
        table("readout-noise", sigma=0.002, common_mode=0.001),
        table("phase-bits", bits=14),
    ],
}


@pytest.mark.parametrize("tables", KNOWN.values(), ids=KNOWN)
class TestImperfectEmulatorConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self, tables: list[dict[str, object]]) -> Iterator[Substrate]:
        with imperfect(*tables, network=LAYERED) as substrate:
            yield substrate


class TestTiedConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self) -> Iterator[Substrate]:
        tables = [
            table("coupling-bits", bits=8, low=-1.2, high=1.2),
            table("coupling-disorder", relative=1e-12),
        ]
        with imperfect(*tables, network=TIED) as substrate:
            yield substrate


class TestImperfectHardwareConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self) -> Iterator[Substrate]:
        hardware = Hardware(noise=0.002)
        with around(hardware, table("readout-noise", sigma=0.002), table("clock")) as substrate:
            yield substrate
