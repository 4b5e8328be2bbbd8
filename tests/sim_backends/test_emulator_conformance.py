from __future__ import annotations

from collections.abc import Iterator

import pytest

from eqp_hw.conformance.suite import SubstrateConformance
from eqp_hw.network.graph import Network
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.engines import compiled_unavailable_because

LAYERED = Network.create(
    9,
    [(i, j) for i in range(3) for j in range(3, 7)] + [(i, j) for i in range(3, 7) for j in (7, 8)],
    inputs=range(3),
    outputs=(7, 8),
)
LATTICE = Network.create(
    16,
    [(4 * r + c, 4 * r + c + 1) for r in range(4) for c in range(3)]
    + [(4 * r + c, 4 * r + c + 4) for r in range(3) for c in range(4)],
    inputs=(0, 1),
    outputs=(15,),
)
ENGINES = ["reference"] + ([] if compiled_unavailable_because() else ["native", "krylov"])


@pytest.mark.parametrize("network", [LAYERED, LATTICE], ids=["layered", "lattice"])
@pytest.mark.parametrize("engine", ENGINES)
class TestEmulatorConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self, network: Network, engine: str) -> Iterator[XYEmulator]:
        options = EmulatorOptions.model_validate({"engine": engine})
        with XYEmulator(network, options) as emulator:
            yield emulator
