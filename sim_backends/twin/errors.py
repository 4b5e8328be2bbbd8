"""What a calibration may be wrong by: a rig drawn from its figures and stated uncertainties."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.randomness import RandomStreams
from eqp_hw.rig.calibration import RigCalibration

__all__ = ["drawn_rig", "log_reciprocity"]

_SHARE = 0.05
"""Of J_max: a difference of J_ij and J_ji beyond it is the bond's own, not the fit's error."""

_PLAIN = (
    "phase_offset",
    "coupling_maximum",
    "bias_maximum",
    "nudge_maximum",
    "readout_amplitude_V",
    "readout_offset_V",
    "quadrature_error",
)


def log_reciprocity(further: Mapping[str, FloatArray], maximum: FloatArray) -> FloatArray:
    """Return (n_edges,) ln(J_ij/J_ji) from couplings measured at both ends of each bond.

    Parameters
    ----------
    further
        With ``coupling_forward`` and ``coupling_reverse``, (n_edges,), NaN at clamped nodes;
        without them, and where they differ by less than the fit errs, it is 0.
    maximum
        (n_edges,) J_max.
    """
    one, two = (
        np.asarray(further.get(f"coupling_{way}", np.full(maximum.shape, np.nan)))
        for way in ("forward", "reverse")
    )
    ratio = np.zeros(maximum.shape)
    if one.shape != maximum.shape or two.shape != maximum.shape:
        return ratio
    apart = np.isfinite(one) & np.isfinite(two) & (np.abs(one - two) > _SHARE * maximum)
    apart &= one * two > 0
    ratio[apart] = np.log(one[apart] / two[apart])
    return ratio


def drawn_rig(
    known: RigCalibration, errors: Mapping[str, FloatArray], streams: RandomStreams
) -> RigCalibration:
    """Return the rig that the twin is: every figure with an error of its own, N(0, σ).

    A resistance is taken as it stands: a wrong one cancels against the half-wave power and the
    crosstalk that were found with it. The half-wave power errs by what its error is beyond that,
    the crosstalk by ΔX off the diagonal: the heat that was not taken off moves with the drives.

    Parameters
    ----------
    known
        Figures of the calibration.
    errors
        Standard errors by field, all finite.
    streams
        Of the twin's seed.
    """

    def normal(name: str) -> FloatArray:
        shape = np.shape(getattr(known, name))
        drawn: FloatArray = streams.generator(f"twin error of {name}").standard_normal(shape)
        return drawn

    figures = {name: getattr(known, name) + errors[name] * normal(name) for name in _PLAIN}
    power = known.half_wave_power_W
    own = (errors["half_wave_power_W"] / power) ** 2
    own = own - (errors["resistance_ohm"] / known.resistance_ohm) ** 2
    scale = 1.0 + np.sqrt(np.maximum(own, 0.0)) * normal("half_wave_power_W")
    leak = errors["crosstalk"] * normal("crosstalk")
    np.fill_diagonal(leak, 0.0)
    return dataclasses.replace(
        known,
        **figures,
        # A figure that was never measured may err by much; a heater heats all the same.
        half_wave_power_W=power * np.maximum(scale, 0.05),
        crosstalk=known.crosstalk + leak,
        source="drawn from the stated uncertainties",
    )
