from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from wire_lines import MakeTwin

from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.virtual_lab.faults import FaultPlan
from eqp_hw.sim_backends.virtual_lab.instruments import SimulatorFactory
from eqp_hw.sim_backends.virtual_lab.twin import Twin


@pytest.fixture
def make_twin(
    make_tiny_rig: Callable[..., Rig], line_simulators: dict[str, SimulatorFactory]
) -> Iterator[MakeTwin]:
    twins: list[Twin] = []

    def make(faults: FaultPlan | None = None, **virtual_lab: object) -> Twin:
        rig = make_tiny_rig(virtual_lab=virtual_lab)
        twins.append(Twin(rig, faults=faults, simulators=line_simulators))
        return twins[-1].start()

    yield make
    for twin in twins:
        twin.close()
        twin.close()
