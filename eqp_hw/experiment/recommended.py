"""What the calibration in force recommends to an experiment: the nudge, β."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from eqp_hw.learning.estimators import AUTO, Alternative, Centred
from eqp_hw.substrate import Substrate

from .schema import EstimatorSettings, ExperimentSettings

__all__ = ["BETA", "calibration_record", "with_recommended_beta", "with_stated_beta"]

_log = logging.getLogger("eqp_hw.experiment")

BETA = "estimator.beta"
_CENTRED = (AUTO, Centred.name, Alternative.name)
"""Estimators whose bias and noise are those of a centred difference, or may be."""
_FACTOR = 2.0
"""A stated β that differs by more is told."""
_ROOM = 0.9
"""Of the strongest nudge, which some costs exceed at unit torque."""


def calibration_record(substrate: Substrate) -> dict[str, Any] | None:
    """Return path, time, check sum and recommendations of the measured calibration, if any."""
    found: dict[str, Any] | None = getattr(substrate, "calibration_record", None)
    return found


def with_recommended_beta(settings: ExperimentSettings, substrate: Substrate) -> ExperimentSettings:
    """Return settings with the calibration's β where the experiment leaves it out.

    It is recommended for centred differences, of reads as the rig takes them: other estimators
    keep their default. A stated β stays; one that differs by more than a factor of two is told.
    """
    table = settings.estimator
    record = calibration_record(substrate)
    beta, stated = _recommended(record), table.beta
    if beta is None or record is None or isinstance(stated, str) or table.kind not in _CENTRED:
        return settings
    beta = min(beta, _ROOM * substrate.capabilities.nudge_maximum)
    if "beta" in table.model_fields_set:
        if not 1 / _FACTOR <= stated / beta <= _FACTOR:
            _log.warning(
                "%s = %g is stated; the calibration recommends %.2g (noise and curvature of "
                "centred differences): %s",
                BETA,
                stated,
                beta,
                record["path"],
            )
        return settings
    beta = float(f"{beta:.3g}")
    _log.warning(
        "%s = %g, as the calibration recommends, since the experiment states none: %s",
        BETA,
        beta,
        record["path"],
    )
    return with_stated_beta(settings, beta)


def with_stated_beta(settings: ExperimentSettings, beta: float) -> ExperimentSettings:
    """Return settings that state this β."""
    plain = settings.estimator.model_dump(exclude_unset=True)
    table = EstimatorSettings.model_validate({**plain, "beta": beta})
    return settings.model_copy(update={"estimator": table})


def _recommended(record: Mapping[str, Any] | None) -> float | None:
    value = ((record or {}).get("recommended") or {}).get(BETA)
    return float(value) if isinstance(value, (int, float)) and value > 0 else None
