"""Gradient estimators: one file a family, one table of names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError

from .base import Contrast, Estimator, LinearContrast
from .contrasts import Centred, OneSided, RandomSign, Richardson

__all__ = [
    "ESTIMATORS",
    "Centred",
    "Contrast",
    "Estimator",
    "LinearContrast",
    "OneSided",
    "RandomSign",
    "Richardson",
    "fitting_estimators",
    "make_estimator",
]

ESTIMATORS: Mapping[str, type[LinearContrast]] = MappingProxyType(
    {cls.name: cls for cls in (OneSided, RandomSign, Centred, Richardson)}
)


def make_estimator(kind: str) -> LinearContrast:
    """Return the estimator named ``kind``.

    Raises
    ------
    ConfigurationError
        No estimator has that name.
    """
    try:
        return ESTIMATORS[kind]()
    except KeyError:
        raise ConfigurationError(
            "no such estimator", field="estimator.kind", value=kind, allowed=", ".join(ESTIMATORS)
        ) from None


def fitting_estimators(capabilities: Capabilities) -> list[str]:
    """Return the names of the estimators that a substrate can serve."""
    return [name for name, cls in ESTIMATORS.items() if not cls.requirements.missing(capabilities)]
