"""The measured calibration that a rig file names, if any; who measured it is not known here."""

from __future__ import annotations

import logging

from eqp_hw.rig.calibrations import NOMINAL, MeasuredCalibration, calibration_tools

from .bench import Bench

__all__ = ["measured_calibration", "names_calibration"]

_log = logging.getLogger("eqp_hw.drivers.rig")


def names_calibration(bench: Bench) -> bool:
    """Tell whether the rig file asks for a measured calibration."""
    return bench.rig.settings.calibration.file not in (None, NOMINAL)


def measured_calibration(bench: Bench) -> MeasuredCalibration | None:
    """Return the calibration that ``calibration.file`` names; None for nominal figures.

    What it recommends for keys that the rig file leaves out is taken over by the bench.

    Raises
    ------
    ConfigurationError
        It cannot be used; says why. No output has moved.
    """
    if not names_calibration(bench):
        return None
    found = calibration_tools().load(bench.rig, bench.lasting_identities)
    bench.rig, taken = bench.rig.with_recommended(found.recommended)
    _log.info("calibration %s; recommended by it: %s", found.path, taken or "nothing")
    return found
