"""What all heaters of a rig are for; the formulas stand in the core."""

from __future__ import annotations

from eqp_hw.rig.actuation.drive import Drive, DriveMap

__all__ = ["Drive", "DriveMap"]
