"""From the figures of the steps to one `RigCalibration` with uncertainties."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration

from .errors import CalibrationError
from .step import AnyArray, StepFit

__all__ = [
    "FIELDS",
    "Uncertainties",
    "calibration_arrays",
    "compose",
    "from_arrays",
    "further_figures",
    "recommendations",
]

Uncertainties = dict[str, FloatArray]
"""Standard errors by field of `RigCalibration`; NaN where the nominal figure stands."""

FIELDS = tuple(f.name for f in dataclasses.fields(RigCalibration) if f.name != "source")

_NOISE, _SAMPLES = "readout_noise", "readout.samples"
RECOMMENDED = ("readout.", "settle.", "estimator.")
"""Figures of such names are values for keys of the rig file (or of an experiment)."""


def calibration_arrays(calibration: RigCalibration) -> dict[str, FloatArray]:
    """Return all figures by name, scalars as arrays of no dimension."""
    return {name: np.asarray(getattr(calibration, name), dtype=float) for name in FIELDS}


def from_arrays(
    arrays: Mapping[str, AnyArray], nominal: RigCalibration, source: str
) -> RigCalibration:
    """Return a calibration of stored figures; nominal ones where an older file has none.

    Raises
    ------
    CalibrationError
        A figure has another shape than the rig needs.
    """
    figures: dict[str, Any] = {}
    for name in FIELDS:
        wanted = np.asarray(getattr(nominal, name), dtype=float)
        found = np.asarray(arrays.get(name, wanted), dtype=float)
        if found.shape != wanted.shape:
            raise CalibrationError(
                f"figure {name!r} has shape {found.shape}, the rig needs {wanted.shape}"
            )
        figures[name] = float(found) if not wanted.shape else found
    return dataclasses.replace(nominal, **figures, source=source)


def compose(
    nominal: RigCalibration, fits: Iterable[StepFit], source: str
) -> tuple[RigCalibration, Uncertainties]:
    """Return nominal figures replaced by those of fits, later ones over earlier ones.

    An element that a fit could not find is NaN there, and keeps what was known. The noise of a
    read of as many conversions as a fit recommends is not replaced by that of other reads.

    Parameters
    ----------
    fits
        By the time of their measurement.

    Raises
    ------
    CalibrationError
        A figure or uncertainty has another shape than the field of its name.
    """
    figures = calibration_arrays(nominal)
    errors: Uncertainties = {name: np.full(a.shape, np.nan) for name, a in figures.items()}
    as_recommended = False
    for fit in fits:
        recommends = _SAMPLES in fit.figures
        for name in FIELDS:
            if name not in fit.figures:
                continue
            if name == _NOISE and as_recommended and not recommends:
                continue
            as_recommended = as_recommended or (name == _NOISE and recommends)
            found = np.asarray(fit.figures[name], dtype=float)
            error = np.asarray(fit.uncertainties.get(name, np.full(found.shape, np.nan)))
            if found.shape != figures[name].shape or error.shape != found.shape:
                raise CalibrationError(
                    f"figure {name!r} of shape {found.shape} with uncertainties of shape "
                    f"{error.shape}: the rig needs {figures[name].shape}"
                )
            known = np.isfinite(found)
            figures[name] = np.where(known, found, figures[name])
            errors[name] = np.where(known, error, errors[name])
    return from_arrays(figures, nominal, source), errors


def recommendations(fits: Iterable[StepFit]) -> dict[str, float]:
    """Return values for keys of the rig file that steps recommend, by dotted name."""
    return {
        name: float(np.asarray(value))
        for fit in fits
        for name, value in fit.figures.items()
        if name.startswith(RECOMMENDED) and np.shape(value) == () and np.isfinite(value)
    }


def further_figures(fits: Iterable[StepFit]) -> dict[str, FloatArray]:
    """Return what steps found beside fields of `RigCalibration` and recommendations."""
    return {
        name: np.asarray(value, dtype=float)
        for fit in fits
        for name, value in fit.figures.items()
        if name not in FIELDS and not name.startswith(RECOMMENDED)
    }
