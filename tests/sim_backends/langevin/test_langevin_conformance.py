"""At T = 0, given time enough, the Langevin substrate is as good as any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eqp_hw.conformance.suite import SubstrateConformance
from eqp_hw.network.builders import layered
from eqp_hw.sim_backends.langevin.options import LangevinOptions
from eqp_hw.sim_backends.langevin.substrate import LangevinSubstrate


class TestLangevinConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self) -> Iterator[LangevinSubstrate]:
        options = LangevinOptions(temperature=0.0, settle_time=150.0, read_interval=0.5)
        with LangevinSubstrate(layered([3, 4, 2]), options) as substrate:
            yield substrate
