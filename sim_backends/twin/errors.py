"""What a calibration may be wrong by: hidden errors drawn from its stated uncertainties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.sim_backends.imperfections.interface import (
    Draws,
    Imperfection,
    RawReads,
    Setup,
    Signal,
)

from .heaters import Heaters, amplitude_phase, injection

__all__ = ["StatedErrors", "log_reciprocity"]

_SHARE = 0.05
"""Of J_max: a difference of J_ij and J_ji beyond it is the bond's own, not the fit's error."""


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


@final
class StatedErrors(Imperfection):
    """Errors of heater phases, maxima and detectors, each drawn once, N(0, σ) of its own.

    A heater turns by offset + swing: the swing errs by what the half-wave power errs by beyond
    the resistance (a resistance that is wrong cancels against a half-wave power found with it),
    the offset by its own error and by what crosstalk makes wrong at half a wave of all others.

    Parameters
    ----------
    setup
        As for all imperfections.
    heaters, known
        The rig's heaters and calibration.
    uncertainties
        Standard errors by field of `RigCalibration`; what is missing or NaN errs by nothing.
    further
        Other figures of the calibration.
    """

    def __init__(
        self,
        setup: Setup,
        heaters: Heaters,
        known: RigCalibration,
        uncertainties: Mapping[str, FloatArray],
        further: Mapping[str, FloatArray],
    ) -> None:
        super().__init__(setup)
        self._heaters = heaters
        self._figures = known

        def sigma(name: str) -> FloatArray:
            shape = np.shape(getattr(known, name))
            stated = np.nan_to_num(uncertainties.get(name, np.zeros(shape)))
            return np.asarray(np.broadcast_to(stated, shape), dtype=np.float64)

        def draw(name: str) -> FloatArray:
            error = sigma(name)
            drawn: FloatArray = error * setup.generator(f"error of {name}").standard_normal(
                error.shape
            )
            return drawn

        power, resistance = known.half_wave_power_W, known.resistance_ohm
        slope = (sigma("half_wave_power_W") / power) ** 2 - (
            sigma("resistance_ohm") / resistance
        ) ** 2
        rng = setup.generator("error of half-wave power")
        self._slope = np.sqrt(np.maximum(slope, 0.0)) * rng.standard_normal(len(power))
        leak = draw("crosstalk")
        np.fill_diagonal(leak, 0.0)
        self._offset = draw("phase_offset") + np.pi * (leak @ power) / power
        self._maximum = {
            name: getattr(known, name) + draw(name)
            for name in ("coupling_maximum", "bias_maximum", "nudge_maximum")
        }
        self._volts = draw("readout_offset_V")
        self._gain = draw("readout_amplitude_V")
        self._skew = draw("quadrature_error")
        maximum = known.coupling_maximum[setup.network.coupling_group]
        self._log_ratio = log_reciprocity(further, maximum)

    def _turned(self, theta: FloatArray, role: str) -> FloatArray:
        rows = self._heaters.rows[role]
        swing = self._heaters.swing(theta, role)
        turned: FloatArray = theta + self._offset[rows] - swing * self._slope[rows]
        return turned

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        network, maximum = self.setup.network, self._figures.coupling_maximum
        coupling = np.empty(network.n_couplings)
        coupling[network.coupling_group] = signal.forward
        theta = self._heaters.coupler(coupling, maximum)
        made = self._maximum["coupling_maximum"] * np.cos(self._turned(theta, "couplings"))
        bonds, half = made[network.coupling_group], np.exp(self._log_ratio / 2)
        changed = signal.with_couplings(bonds * half, bonds / half)
        if not len(self._figures.bias_maximum):
            return changed
        bias, free = signal.bias.copy(), network.free
        bias[free] = self._injected(signal.bias[free], "bias")
        return changed.with_bias(bias)

    def _injected(self, field: ComplexArray, role: str) -> ComplexArray:
        amplitude, phase = amplitude_phase(field, getattr(self._figures, f"{role}_maximum"))
        return injection(
            self._turned(amplitude, f"{role}_amplitude"),
            self._turned(phase, f"{role}_phase"),
            self._maximum[f"{role}_maximum"],
        )

    @override
    def inputs(self, phases: FloatArray) -> FloatArray:
        return self._turned(phases, "inputs")

    @override
    def nudge(self, field: ComplexArray) -> ComplexArray:
        return self._injected(field, "nudge")

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        if len(self._volts) < 2:
            return phases  # N steps of one detector: its offset and amplitude cancel
        free = self.setup.network.free
        angle, gain = phases[..., free], self._figures.readout_amplitude_V
        cosine, sine = np.cos(angle), np.sin(angle + self._skew)
        (offset_I, offset_Q), (gain_I, gain_Q) = self._volts, self._gain
        phases[..., free] = np.arctan2(
            sine + (offset_Q + gain_Q * sine) / gain[1],
            cosine + (offset_I + gain_I * cosine) / gain[0],
        )
        return phases

    @override
    def truth(self) -> Draws:
        return {
            "phase_offset": self._offset,
            "slope": self._slope,
            "log_reciprocity": self._log_ratio,
            **self._maximum,
        }
