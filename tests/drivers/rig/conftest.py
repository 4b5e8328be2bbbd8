from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.rig.load import make_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def open_rig() -> Iterator[Callable[..., tuple[RigSubstrate, Twin]]]:
    """Return a maker of a rig over its twin; keywords as in `rig_samples.content`."""
    from rig_samples import content

    with ExitStack() as stack:

        def make(faults: Any = None, **tables: Any) -> tuple[RigSubstrate, Twin]:
            twin = stack.enter_context(Twin(make_rig(content(**tables)), faults=faults))
            substrate = stack.enter_context(RigSubstrate.open(twin.rig, guarded=False))
            return substrate, twin

        yield make
