"""Calibrations that have found something broken."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.calibrations import MeasuredCalibration

__all__ = ["dead_heaters", "refuse_faults"]

_log = logging.getLogger("eqp_hw.sim_backends.twin")

OPEN = "open_heaters"
"""Figure of a step: (n_heaters,) 1 where no current flows."""
_SHOWN = 4


def refuse_faults(found: MeasuredCalibration, *, accept: bool) -> None:
    """Refuse a calibration with faults, or say that they are accepted.

    Raises
    ------
    ConfigurationError
        It has faults, and they are not accepted; lists them.
    """
    if not found.faults:
        return
    more = len(found.faults) - _SHOWN
    listed = "; ".join(found.faults[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    if accept:
        _log.warning(
            "%s has found broken: %s; of that the twin has heaters that draw no current and "
            "bonds that are not reciprocal, nothing else",
            found.path,
            listed,
        )
        return
    raise ConfigurationError(
        f"it has found broken: {listed}. What is broken does not act as its figures say, so a "
        "rehearsal would promise too much",
        source=found.path,
        field="substrate.calibration",
        allowed='one without faults (mend them and calibrate anew), or substrate.faults = "accept"',
    )


def dead_heaters(n: int, further: Mapping[str, FloatArray]) -> IntArray:
    """Return the rows of heaters that draw no current, of n."""
    flags = np.asarray(further.get(OPEN, np.zeros(n)))
    if flags.shape != (n,):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(flags > 0)
