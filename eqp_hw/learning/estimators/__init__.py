"""Gradient estimators: one file a family, one table of names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError
from eqp_hw.validation import construct

from .asymmetric import AsymmetricEP
from .base import Contrast, Estimate, Estimator, LinearContrast, Round, Statistic
from .cauchy import Cauchy
from .chebyshev import Chebyshev
from .contrasts import Alternative, Centred, OneSided, RandomSign, Richardson
from .coupled import Coupled
from .dual import DualPropagation
from .lock_in import LockIn
from .transposed import Transposed

__all__ = [
    "AUTO",
    "ESTIMATORS",
    "Alternative",
    "AsymmetricEP",
    "Cauchy",
    "Centred",
    "Chebyshev",
    "Contrast",
    "Coupled",
    "DualPropagation",
    "Estimate",
    "Estimator",
    "LinearContrast",
    "LockIn",
    "OneSided",
    "RandomSign",
    "Richardson",
    "Round",
    "Statistic",
    "Transposed",
    "fitting_estimators",
    "make_estimator",
]

ESTIMATORS: Mapping[str, type[Estimator]] = MappingProxyType(
    {
        cls.name: cls
        for cls in (
            OneSided,
            RandomSign,
            Centred,
            Richardson,
            Chebyshev,
            Cauchy,
            LockIn,
            Alternative,
            Coupled,
            DualPropagation,
            AsymmetricEP,
            Transposed,
        )
    }
)
"""Estimators by name; every one can be made without options."""

AUTO = "auto"
"""The kind that leaves the choice to the controller."""


def make_estimator(kind: str, options: Mapping[str, object] | None = None) -> Estimator:
    """Return the estimator named ``kind``.

    Parameters
    ----------
    kind
        Name in `ESTIMATORS`.
    options
        Arguments of its constructor; defaults where left out.

    Raises
    ------
    ConfigurationError
        No estimator has that name, or an option is unknown or wrong.
    """
    if kind not in ESTIMATORS:
        raise ConfigurationError(
            "no such estimator",
            field="estimator.kind",
            value=kind,
            allowed=", ".join([AUTO, *ESTIMATORS]),
        )
    return construct(ESTIMATORS[kind], options or {}, field="estimator")


def fitting_estimators(capabilities: Capabilities) -> list[str]:
    """Return the names of the estimators that a substrate can serve."""
    return [
        name for name, cls in ESTIMATORS.items() if not cls().requirements.missing(capabilities)
    ]
