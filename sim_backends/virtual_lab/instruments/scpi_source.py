"""Kind ``scpi-source``: the dialects of multichannel sources."""

from __future__ import annotations

from typing import Final

import numpy as np

from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, SimulatedInstrument

from .common import Options
from .source_keysight import KeysightSource
from .source_qdac2 import Qdac2Source
from .source_rohde_schwarz import RohdeSchwarzSource
from .source_tsp import TspSource

__all__ = ["DIALECTS", "make_scpi_source"]

DIALECTS: Final = ("keysight", "rohde-schwarz", "keithley-tsp", "qdac2")


def make_scpi_source(
    name: str,
    settings: InstrumentSettings,
    plant: PlantFace,
    rng: np.random.Generator,
    lab: VirtualLabSettings | None = None,
) -> SimulatedInstrument:
    """Make a source; options ``dialect``, ``channels``, ``serial``, ``full_scale_V``/``_A``."""
    options = Options(name, settings)
    dialect = options.text("dialect", DIALECTS[0], DIALECTS)
    bits = (lab or VirtualLabSettings()).source_bits
    if dialect == "keithley-tsp":
        return TspSource(
            name,
            plant,
            rng,
            channels=options.integer("channels", 2, 1, 128),
            bits=bits,
            serial=options.text("serial", "4000001"),
        )
    if dialect == "qdac2":
        return Qdac2Source(
            name,
            plant,
            rng,
            channels=options.integer("channels", 24, 1, 96),
            full_A=options.number("full_scale_A", 0.05, 1e-6, 1.0),
            bits=bits,
            serial=options.text("serial", "103"),
        )
    make = KeysightSource if dialect == "keysight" else RohdeSchwarzSource
    keysight = dialect == "keysight"
    return make(
        name,
        plant,
        rng,
        channels=options.integer("channels", 4, 1, 64),
        full_V=options.number("full_scale_V", 20.0 if keysight else 32.0, 0.1, 1000.0),
        full_A=options.number("full_scale_A", 5.0, 1e-3, 100.0),
        bits=bits,
        serial=options.text("serial", "MY00000001" if keysight else "100001"),
    )
