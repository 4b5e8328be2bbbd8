"""When an oscillating nudge is how strong, and when it is read; the same for all dynamics.

Time runs from the onset. Over the first lead period the amplitude rises smoothly from 0 to 1 as
s(x) = 10x³ − 15x⁴ + 6x⁵, so that hardly any transient is excited; without a lead period the
nudge is switched on at its crest, and the transient is part of what is read.
"""

from __future__ import annotations

import math

import numpy as np

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.substrate import Oscillation

__all__ = ["checked_oscillation", "drive", "read_angles", "read_times"]


def checked_oscillation(oscillation: Oscillation) -> Oscillation:
    """Return ``oscillation``.

    Raises
    ------
    ConfigurationError
        A frequency that is not positive, no read, or a negative lead.
    """
    frequency = oscillation.angular_frequency
    if not (math.isfinite(frequency) and frequency > 0):
        raise ConfigurationError(
            "the nudge does not oscillate",
            field="oscillation.angular_frequency",
            value=frequency,
            allowed="a finite number > 0",
        )
    for name, least in (("lead_periods", 0), ("periods", 1), ("reads_per_period", 1)):
        value = getattr(oscillation, name)
        if value < least:
            raise ConfigurationError(
                "too few",
                field=f"oscillation.{name}",
                value=value,
                allowed=f"{least} or more",
            )
    return oscillation


def read_angles(oscillation: Oscillation) -> FloatArray:
    """Return ωt of each read, (n_reads,) rad, 0 at the first."""
    number = oscillation.periods * oscillation.reads_per_period
    return 2.0 * np.pi * np.arange(number) / oscillation.reads_per_period


def read_times(oscillation: Oscillation) -> FloatArray:
    """Return the time of each read since the onset, (n_reads,)."""
    angles = read_angles(oscillation) + 2.0 * np.pi * oscillation.lead_periods
    return angles / oscillation.angular_frequency


def drive(oscillation: Oscillation, time: FloatArray) -> FloatArray:
    """Return the factor on the crest field at times since the onset: s(t)·cos(ωt)."""
    turn = oscillation.angular_frequency * time
    swing: FloatArray = np.cos(turn)
    if oscillation.lead_periods:
        x = np.clip(turn / (2.0 * np.pi), 0.0, 1.0)
        swing = swing * x**3 * (10.0 - 15.0 * x + 6.0 * x * x)
    return swing
