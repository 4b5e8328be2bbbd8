"""Serial numbers of simulated instruments: another truth seed is another bench.

So a calibration of one twin is refused on another one, as it would be in a lab.
"""

from __future__ import annotations

from eqp_hw.rig.schema import InstrumentSettings

__all__ = ["numbered"]

_MODULES = 64
"""Modules that one chain can have; each has a serial number of its own."""


def numbered(settings: InstrumentSettings, truth_seed: int) -> InstrumentSettings:
    """Return an instrument's table with a serial number of the truth seed.

    One that the rig file states stays, and seed 0 has the simulators' own ones. An OpenDAC tells
    none at all, as the real one.
    """
    if not truth_seed or "serial" in settings.options:
        return settings
    serial: int | str = f"VL{truth_seed:06d}"
    if settings.kind == "qontrol":  # 16 bits: beyond about a thousand seeds they come again
        serial = 1 + _MODULES * (truth_seed % (0xFE00 // _MODULES))
    elif settings.kind == "opendac":
        return settings
    return settings.model_copy(update={"serial": serial})
