"""What goes wrong in a calibration, beside the instruments' own errors."""

from __future__ import annotations

from eqp_hw.errors import EqpError

__all__ = ["CalibrationError", "FitError"]


class CalibrationError(EqpError):
    """A calibration file cannot be made, read, continued or used."""


class FitError(EqpError):
    """Measured data do not determine what was to be fitted; says what was missing in them."""
