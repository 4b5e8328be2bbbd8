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
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, SimulatedInstrument

from .digitiser import make_digitiser
from .opendac import make_opendac
from .pm100 import make_pm100
from .qontrol import make_qontrol
from .scpi_source import make_scpi_source
from .sr830 import make_sr830

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


SIMULATORS: Mapping[str, SimulatorFactory] = MappingProxyType(
    {
        "opendac": make_opendac,
        "pm100": make_pm100,
        "qontrol": make_qontrol,
        "scpi-digitiser": make_digitiser,
        "scpi-source": make_scpi_source,
        "sr830": make_sr830,
    }
)
"""Kind → factory; the kinds are those of the drivers."""
