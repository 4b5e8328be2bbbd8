"""Standard errors of all figures: as stated, or the rig's own spread where none was measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Rig

__all__ = ["standard_errors"]

_log = logging.getLogger("eqp_hw.sim_backends.twin")

_HEATERS = ("half_wave_power_W", "phase_offset", "crosstalk")
_RELATIVE = (
    "half_wave_power_W",
    "coupling_maximum",
    "bias_maximum",
    "nudge_maximum",
    "readout_amplitude_V",
)
_FIELDS = (*_HEATERS, *_RELATIVE[1:], "resistance_ohm", "readout_offset_V", "quadrature_error")


def standard_errors(
    rig: Rig, known: RigCalibration, uncertainties: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Return standard errors of all figures, finite.

    A figure whose uncertainty is NaN was never measured: the nominal one stands in. It errs as
    the measured ones of its kind scatter about theirs, root mean square, and that is logged. Not
    so couplers between clamped nodes, which do nothing; neighbours from which the calibration
    takes no heat at all; and resistances, whose error is one of the half-wave power. A field that
    ``uncertainties`` leaves out altogether is exact.
    """
    nominal = nominal_calibration(rig)
    idle = _idle_couplers(rig)
    errors: dict[str, FloatArray] = {}
    for name in _FIELDS:
        figures = np.asarray(getattr(known, name), dtype=np.float64)
        stated = np.asarray(uncertainties.get(name, np.zeros(())), dtype=np.float64)
        error = np.array(np.broadcast_to(stated, figures.shape))
        missing = np.isnan(error)
        error[missing] = 0.0
        if name == "crosstalk":
            missing &= (figures != 0) & ~np.eye(len(figures), dtype=bool)
        if name in (*_HEATERS, "coupling_maximum"):
            missing[: len(idle)][idle] = False
        if missing.any() and name != "resistance_ohm":
            measured = ~missing if name != "crosstalk" else (error > 0) & ~missing
            if name in (*_HEATERS, "coupling_maximum"):
                measured[: len(idle)][idle] = False
            spread = _spread(name, figures, getattr(nominal, name), measured)
            error[missing] = spread * (np.abs(figures[missing]) if name in _RELATIVE else 1.0)
            _tell(rig, name, missing, spread if measured.any() else None)
        errors[name] = error
    return errors


def _spread(name: str, figures: FloatArray, nominal: FloatArray, measured: np.ndarray) -> float:
    """Return the root mean square of figures about nominal ones, relative for some fields."""
    if not measured.any():
        return 0.0
    apart = figures - nominal
    if name == "phase_offset":
        apart = wrap(apart)
    if name in _RELATIVE:
        apart = apart / nominal
    return float(np.sqrt(np.mean(apart[measured] ** 2)))


def _tell(rig: Rig, name: str, missing: np.ndarray, spread: float | None) -> None:
    first = int(np.argwhere(missing)[0][-1 if name.startswith("readout") else 0])
    place = f"{rig.wiring.heaters[first]}" if name in _HEATERS else f"element {first}"
    if spread is None:
        tail = "nor of any other element: rehearsed as if the nominal figure were exact"
    else:
        percent = "%" if name in _RELATIVE else ""
        size = 100 * spread if percent else spread
        tail = f"rehearsed with an error of {size:.3g}{percent}, as measured ones scatter"
    _log.warning(
        "%s of %s%s was never measured, %s",
        name,
        place,
        f" and {missing.sum() - 1} more" if missing.sum() > 1 else "",
        tail,
    )


def _idle_couplers(rig: Rig) -> np.ndarray:
    """Return (n_couplings,) which join clamped nodes alone."""
    network = rig.network
    clamped = (network.free_index[network.edges] < 0).all(axis=1)
    idle = np.ones(network.n_couplings, dtype=bool)
    idle[network.coupling_group[~clamped]] = False
    return idle
