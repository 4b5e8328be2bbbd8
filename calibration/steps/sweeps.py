"""Sweeps: one heater at a time, as a second opinion on the network step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.calibration.fits.crosstalk import expected_crosstalk
from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.sweep import SweepFit, fit_sweep
from eqp_hw.calibration.pictures.sweeps import beside_joint_fit, sweep_pictures
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .broken import held_at_zero, recorded_broken
from .drives import fitting, measure_drives, random_powers
from .network import at_rest, typical_scatter

__all__ = ["SweepStep"]

_SIGNIFICANT = 6.0
_WORTH_TELLING = 0.01


@final
class SweepStep(Step):
    """Every heater swept alone, all others held at random powers.

    Parameters
    ----------
    levels
        Powers of each sweep.
    half_waves
        The highest, in half-wave powers.
    samples
        Conversions averaged at each.
    """

    name: ClassVar[str] = "sweeps"
    description: ClassVar[str] = "one heater at a time: phase against power, and whom it heats"
    needs: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, levels: int = 6, half_waves: float = 2.6, samples: int = 32) -> None:
        self.levels, self.half_waves, self.samples = levels, half_waves, samples

    @override
    def unavailable_because(self, rig: Rig) -> str | None:
        if rig.settings.readout.kind != "iq" or not rig.wiring.bias_amplitude:
            return "it builds on a calibrated network"
        return None

    @override
    def measure(self, session: Session) -> StepData:
        n = session.n_heaters
        heater = np.repeat(np.arange(n), self.levels)
        share = np.tile(np.linspace(0, 1, self.levels), n)
        # Another base each time: no heater may be judged where its node happens not to feel it.
        held = held_at_zero(session)
        bases = random_powers(session, np.full(n, 1.2), held)
        power = np.repeat(bases, self.levels, axis=0)
        top = np.minimum(
            self.half_waves * session.known.half_wave_power_W, 0.98 * session.highest_W
        )
        power[np.arange(len(power)), heater] = share * np.where(held, 0.0, top)[heater]
        power = np.stack([fitting(session, one) for one in power])
        return measure_drives(session, power, self.samples, doing="one heater at a time")

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        model, quiet = NetworkModel(rig), at_rest(data, rig)
        elements, detection = Elements.of(known, model.n_edges), Detection.of(known)
        power = data["setpoint_V"] ** 2 / known.resistance_ohm
        scatter = typical_scatter(data["scatter_V"], self.samples).reshape(2, -1)
        noise = np.sqrt(((scatter / known.readout_amplitude_V) ** 2).mean(axis=0) / self.samples)
        noise = np.maximum(noise, 1e-6)
        near, n = expected_crosstalk(rig), model.n_heaters
        slopes, errors = np.full((n, n), np.nan), np.full((n, n), np.nan)
        theta, theta_error = (np.full((n, self.levels), np.nan) for _ in range(2))
        findings: list[Finding] = []
        for heater in np.flatnonzero(model.seen & ~recorded_broken(data, n)):
            part = np.arange(heater * self.levels, (heater + 1) * self.levels)
            good = part[quiet[part]]
            if len(good) < 4:
                text = "its sweep did not come to rest"
                findings.append(Finding("warning", str(rig.wiring.heaters[heater]), text))
                continue
            rows = np.append(heater, np.flatnonzero(near[:, heater] & model.seen))
            fit = fit_sweep(
                model,
                elements,
                detection,
                int(heater),
                rows,
                power[good],
                data["detector_V"][good],
                noise,
            )
            slopes[rows, heater], errors[rows, heater] = fit.slopes, fit.errors
            theta[heater, quiet[part]] = fit.theta
            theta_error[heater, quiet[part]] = fit.theta_error
            findings += _of_sweep(fit, elements, int(heater), float(power[good].max()), rig)
        own = np.diag(elements.slope)
        crosstalk = slopes / own[:, None]
        np.fill_diagonal(crosstalk, np.where(model.seen, 1.0, np.nan))
        crosstalk_error = errors / own[:, None]
        np.fill_diagonal(crosstalk_error, np.where(model.seen, 0.0, np.nan))
        found = np.diag(slopes)
        return StepFit(
            figures={
                "sweep_half_wave_power_W": np.pi / found,
                "sweep_crosstalk": crosstalk,
                "sweep_phase": theta,
            },
            uncertainties={
                "sweep_half_wave_power_W": np.pi / found**2 * np.diag(errors),
                "sweep_crosstalk": crosstalk_error,
                "sweep_phase": theta_error,
            },
            findings=findings,
            units={"sweep_half_wave_power_W": "W", "sweep_phase": "rad"},
        )

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        return sweep_pictures(data, fit, rig)

    @override
    def comparisons(self, fit: StepFit, others: Mapping[str, StepFit]) -> Sequence[Plot]:
        return beside_joint_fit(fit, others["network"]) if "network" in others else []


def _of_sweep(
    fit: SweepFit, elements: Elements, heater: int, top_W: float, rig: Rig
) -> list[Finding]:
    name, own = str(rig.wiring.heaters[heater]), elements.slope[heater, heater]
    away, error = fit.slopes[0] / own - 1, fit.errors[0] / own
    if abs(away) > max(_SIGNIFICANT * error, _WORTH_TELLING):
        text = (
            f"swept alone its half-wave power is {100 * abs(away):.1f} % "
            f"{'lower' if away > 0 else 'higher'} than in the joint fit (+- {100 * error:.1f} %)"
        )
        return [Finding("warning", name, text)]
    sag = abs(fit.bend) * top_W**2 / 8
    if sag > 0.02 and abs(fit.bend) > _SIGNIFICANT * fit.bend_error:
        text = f"its phase is not linear in power: {1e3 * sag:.0f} mrad off a straight line"
        return [Finding("warning", name, text)]
    return []
