"""Element curves over a heater's phase; the formulas stand in the core."""

from __future__ import annotations

from eqp_hw.rig.actuation.curves import (
    coupling_of,
    coupling_targets,
    field_of,
    field_targets,
    refuse_coupling,
    refuse_field,
)

__all__ = [
    "coupling_of",
    "coupling_targets",
    "field_of",
    "field_targets",
    "refuse_coupling",
    "refuse_field",
]
