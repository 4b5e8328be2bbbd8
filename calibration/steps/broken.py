"""Heaters that were found broken: what is told of them to the steps to come.

A heater without effect, or one whose channel is exchanged with another's, is held at no power from
then on. Its phase is then the offset that the network step has found, whatever it would do under
power, so that all that is whole can still be judged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.fits.diagnosis import Diagnosis
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import AnyArray, StepData

__all__ = ["BoolArray", "broken_figures", "held_at_zero", "recorded_broken", "rows_of"]

BoolArray = npt.NDArray[np.bool_]
_IDLE, _SWAPPED, _RECORDED = "without_effect", "swapped_with", "held_at_zero"


def rows_of(diagnosis: Diagnosis) -> list[int]:
    """Return the rows of all heaters that were found broken."""
    return [*diagnosis.without_effect, *(row for pair in diagnosis.swapped for row in pair)]


def broken_figures(diagnosis: Diagnosis, n_heaters: int) -> dict[str, AnyArray]:
    """Return what was found as figures: who has no effect, and whose channel is whose."""
    idle, other = np.zeros(n_heaters, dtype=bool), np.arange(n_heaters)
    idle[list(diagnosis.without_effect)] = True
    for one, two in diagnosis.swapped:
        other[[one, two]] = two, one
    return {_IDLE: idle, _SWAPPED: other}


def _broken(found: Mapping[str, AnyArray], n_heaters: int) -> BoolArray:
    idle = np.asarray(found.get(_IDLE, np.zeros(n_heaters)))
    other = np.asarray(found.get(_SWAPPED, np.arange(n_heaters)))
    return np.asarray((idle > 0) | (other != np.arange(n_heaters)))


def held_at_zero(session: Session) -> BoolArray:
    """Return (n_heaters,) which heaters a step leaves at no power, and record them."""
    held = _broken(session.found, session.n_heaters)
    if _RECORDED not in session.recorded():
        text = "heaters found broken before: no power"
        session.record(_RECORDED, held, "", text)
    return held


def recorded_broken(data: StepData, n_heaters: int) -> BoolArray:
    """Return (n_heaters,) which heaters the step at hand has left at no power."""
    if _RECORDED not in data:
        return np.zeros(n_heaters, dtype=bool)
    return np.asarray(data[_RECORDED][0], dtype=bool)
