"""Byte-level simulators of instruments, one kind a module, by the name of the kind.

They know their grammar and the plant, never their wire. Channels of the plant count from 0 as
in the rig file, whatever the instrument's own numbers are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings

from ..interface import PlantFace, SimulatedInstrument

__all__ = ["SIMULATORS", "SimulatorFactory"]


class SimulatorFactory(Protocol):
    """Makes the simulated twin of one ``[instruments.NAME]`` table."""

    def __call__(
        self,
        name: str,
        settings: InstrumentSettings,
        plant: PlantFace,
        rng: np.random.Generator,
        lab: VirtualLabSettings | None = None,
    ) -> SimulatedInstrument:
        """Return the instrument as it is just after power-up; ``lab`` gives bits and ranges.

        Raises
        ------
        ConfigurationError
            A wrong value of an option, named ``instruments.NAME.option``.
        """


SIMULATORS: Mapping[str, SimulatorFactory] = MappingProxyType({})
"""Kind → factory; the kinds are those of the drivers."""
