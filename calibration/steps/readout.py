"""Read-out: offsets, amplitudes, quadrature error or phase steps of all detectors; their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits.clipping import clip_levels, unclipped
from eqp_hw.calibration.fits.ellipse import fit_ellipse
from eqp_hw.calibration.fits.noise import (
    NoiseFloor,
    NoiseScaling,
    noise_floor,
    noise_scaling,
    usable_bits,
)
from eqp_hw.calibration.pictures.readout import readout_pictures
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .drives import measure_drives, random_powers
from .frames import framed_powers, is_stepped, measure_frames
from .stepped_readout import fit_stepping, of_stepping

__all__ = ["ReadoutStep"]

_OF_NOISE = 3.0
"""Of the noise of what is averaged: 60 drives of a dead detector scatter by 1 +- .1 of it."""
_NOTHING = 1e-4
"""Of the amplitude stated: less than any converter tells."""
_FAINT = 0.1
_POOR_FIT = 4.0
_WHITE = 4.0
_METERS = 8
"""Drives whose voltages and currents are read back: the steps' powers have errors, too."""


@final
class ReadoutStep(Step):
    """Detectors' figures from equilibria all around the circle, and their noise.

    In-phase and quadrature detectors trace ellipses; one detector a node and a stepped reference
    arm make fringes of common steps, which are found along with offsets and amplitudes.

    Parameters
    ----------
    drives
        Random drives.
    samples
        Conversions averaged at each.
    series
        Successive conversions for the scaling of the noise.
    """

    name: ClassVar[str] = "readout"
    description: ClassVar[str] = "detector offsets, amplitudes, quadrature or step errors, noise"
    needs: ClassVar[tuple[str, ...]] = ("resistance",)

    def __init__(self, drives: int = 60, samples: int = 16, series: int = 512) -> None:
        self.drives, self.samples, self.series = drives, samples, series

    @override
    def measure(self, session: Session) -> StepData:
        stepped, tops = is_stepped(session.rig), np.full(self.drives, 3.0)
        if stepped:
            framed = framed_powers(session, tops, from_zero=True)
            powers = framed.power_W
        else:
            powers = random_powers(session, tops)
        if "series_V" not in session.recorded():
            session.write_powers(powers[0])
            session.settle()
            session.record(
                "series_V",
                session.read_detectors(self.series),
                "V",
                "successive conversions at rest",
            )
        if stepped:
            return measure_frames(session, framed, self.samples, meters=_METERS)
        return measure_drives(session, powers, self.samples)

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        scaling = noise_scaling(data["series_V"][0])
        seen = _stepping(data, known, rig, scaling) if is_stepped(rig) else None
        made = _ellipses(data, known, rig, scaling, self.samples) if seen is None else seen
        amplitude = made.figures["readout_amplitude_V"]
        noise = _phase_noise(scaling, amplitude, rig)
        known_noise = noise[np.isfinite(noise)]
        worst = np.asarray(known_noise.max() if len(known_noise) else np.nan)
        floor = noise_floor(scaling)
        in_phase = _in_phase(rig) / np.nanmin(amplitude) if known_noise.size else np.nan
        findings = [*made.findings, *_of_noise(scaling, floor, float(worst), known)]
        return StepFit(
            figures={
                **made.figures,
                "readout_noise": worst,
                "phase_noise": noise,
                "usable_bits": np.array([usable_bits(float(one)) for one in noise]),
                "noise_averaged": scaling.averaged,
                "noise_scaling_V": scaling.deviation,
                "noise_exponent": np.asarray(scaling.exponent),
                "noise_floor_V": floor.floor,
                "noise_floor": np.asarray(floor.floor.max() * in_phase),
            },
            uncertainties={
                **made.uncertainties,
                "readout_noise": worst / np.sqrt(2 * self.series / 3),
                "noise_scaling_V": scaling.error,
                "noise_exponent": np.asarray(scaling.exponent_error),
                "noise_floor_V": floor.error,
                "noise_floor": np.asarray(floor.error.max() * in_phase),
            },
            residuals=made.residuals,
            findings=findings,
            units={**made.units, "phase_noise": "rad", "noise_floor": "rad"},
        )

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        return readout_pictures(data, fit, rig)


def _in_phase(rig: Rig) -> float:
    """Return by how much the voltage noise of a read enters a phase, in fringe amplitudes."""
    return float(np.sqrt(2 / rig.settings.readout.steps)) if is_stepped(rig) else 1.0


def _ellipses(
    data: StepData, known: RigCalibration, rig: Rig, scaling: NoiseScaling, samples: int
) -> StepFit:
    detector = data["detector_V"]
    n = len(rig.network.free)
    values, errors = np.full((5, n), np.nan), np.full((5, n), np.nan)
    radius = np.full((len(detector), n), np.nan)
    misfit = np.full(n, np.nan)
    findings = _dead(data, detector, known, rig)
    dead = {finding.subject for finding in findings}
    findings += _clipped(detector, data["scatter_V"], rig)
    whole = unclipped(detector, data["scatter_V"])
    for node in range(n):
        pair = [str(rig.wiring.in_phase[node]), str(rig.wiring.quadrature[node])]
        if dead & set(pair):
            continue
        try:
            used = whole[:, node] & whole[:, n + node]
            fit = fit_ellipse(detector[used, node], detector[used, n + node])
        except FitError as error:
            misfit[node] = np.inf
            findings.append(Finding("fault", f"node {rig.network.free[node]}", str(error)))
            continue
        values[:, node] = fit.values
        errors[:, node] = np.sqrt(np.diag(fit.covariance))
        radius[used, node] = fit.residual
        expected = scaling.deviation[0, [node, n + node]].mean() / np.sqrt(samples)
        misfit[node] = fit.noise_V / max(expected, 1e-12)
    findings += [*_strangers(detector, misfit, rig), *_faint(values[2:4], known, rig)]
    return StepFit(
        figures={
            "readout_offset_V": values[:2],
            "readout_amplitude_V": values[2:4],
            "quadrature_error": values[4],
        },
        uncertainties={
            "readout_offset_V": errors[:2],
            "readout_amplitude_V": errors[2:4],
            "quadrature_error": errors[4],
        },
        residuals={"radius": radius},
        findings=findings,
    )


def _stepping(data: StepData, known: RigCalibration, rig: Rig, scaling: NoiseScaling) -> StepFit:
    flat = data["frame_V"].reshape(-1, len(rig.wiring.detectors))
    findings = [*_dead(data, flat, known, rig), *_clipped(flat, None, rig)]
    # One clipped frame spoils a fringe, and the steps are common to all.
    unusable = {finding.subject for finding in findings}
    alive = np.array([str(channel) not in unusable for channel in rig.wiring.detectors])
    fit = fit_stepping(data, known, alive)
    made = of_stepping(fit, data, known, rig, scaling)
    findings += _faint(made.figures["readout_amplitude_V"], known, rig)
    return replace(made, findings=[*findings, *made.findings])


def _phase_noise(scaling: NoiseScaling, amplitude_V: FloatArray, rig: Rig) -> FloatArray:
    """Return (n_free,) standard deviations of one read as the rig file defines it."""
    k = int(np.argmin(np.abs(scaling.averaged - rig.settings.readout.samples)))
    scale = np.sqrt(scaling.averaged[k] / rig.settings.readout.samples)
    noise = scaling.deviation[k].reshape(amplitude_V.shape) * scale / amplitude_V
    phase: FloatArray = _in_phase(rig) * np.sqrt((noise**2).mean(axis=0))
    return phase


def _dead(data: StepData, detector: FloatArray, known: RigCalibration, rig: Rig) -> list[Finding]:
    """Name detectors that show no more than their noise, however little light others get."""
    swing = detector.std(axis=0)
    noise = np.median(data["scatter_V"], axis=0) / np.sqrt(float(data["samples"][0]))
    least = np.maximum(_OF_NOISE * noise, _NOTHING * known.readout_amplitude_V.ravel())
    found = []
    for column, channel in enumerate(rig.wiring.detectors):
        if swing[column] < least[column]:
            at = float(np.median(detector[:, column]))
            text = f"dead or open detector: it stays at {at:.4f} V whatever the phases do"
            found.append(Finding("fault", str(channel), text))
    return found


def _faint(amplitude_V: FloatArray, known: RigCalibration, rig: Rig) -> list[Finding]:
    """Tell of fringes that are far smaller than stated, though they can be read."""
    share = (amplitude_V / known.readout_amplitude_V).ravel()
    found = []
    for column in np.flatnonzero(share < _FAINT):
        text = f"its fringe is {100 * share[column]:.2g} % of that stated: little light, or gain"
        found.append(Finding("warning", str(rig.wiring.detectors[column]), text))
    return found


def _clipped(detector: FloatArray, scatter_V: FloatArray | None, rig: Rig) -> list[Finding]:
    """Name detectors whose extreme value comes again and again: the range of the converter."""
    found = []
    lowest, highest = clip_levels(detector, scatter_V)
    for column, channel in enumerate(rig.wiring.detectors):
        for level, word in ((highest[column], "above"), (lowest[column], "below")):
            if np.isfinite(level):
                text = f"clipped {word} {level:.3f} V: widen the range of the digitiser"
                found.append(Finding("fault", str(channel), text))
    return found


def _strangers(detector: FloatArray, misfit: FloatArray, rig: Rig) -> list[Finding]:
    """Find detectors that were swapped: pairs of misfits whose exchange makes both ellipses."""
    n = len(misfit)
    bad = np.flatnonzero(misfit > _POOR_FIT)
    findings: list[Finding] = []
    explained: set[int] = set()
    names = [str(channel) for channel in rig.wiring.detectors]
    for a, one in enumerate(bad):
        for two in bad[a + 1 :]:
            for half in (0, n):
                order = np.arange(2 * n)
                order[[half + one, half + two]] = half + two, half + one
                if all(_good(detector[:, order], k, misfit[k]) for k in (int(one), int(two))):
                    text = f"swapped with {names[half + two]}: exchanged, both make ellipses"
                    findings.append(Finding("fault", names[half + one], text))
                    explained |= {int(one), int(two)}
    for node in bad:
        if int(node) not in explained and np.isfinite(misfit[node]):
            text = (
                f"I and Q scatter {misfit[node]:.1f} times more about their ellipse than the "
                "noise explains: unsteady light, or detectors of different nodes"
            )
            findings.append(Finding("warning", f"node {rig.network.free[node]}", text))
    return findings


def _good(detector: FloatArray, node: int, before: float) -> bool:
    n = detector.shape[1] // 2
    try:
        fit = fit_ellipse(detector[:, node], detector[:, n + node])
    except FitError:
        return False
    spread = float(np.std(fit.residual))
    return spread < 0.02 and (not np.isfinite(before) or before > _POOR_FIT)


def _of_noise(
    scaling: NoiseScaling, floor: NoiseFloor, noise: float, known: RigCalibration
) -> list[Finding]:
    found = []
    if known.readout_noise > 0 and noise > 1.5 * known.readout_noise:
        text = f"{noise:.2e} rad a read, {known.readout_noise:.2e} are stated in the rig file"
        found.append(Finding("warning", "readout noise", text))
    if scaling.exponent > -0.5 + max(0.1, _WHITE * scaling.exponent_error):
        text = (
            f"averages of N conversions fall as N^{scaling.exponent:.2f}, not N^-0.5: "
            "averaging helps less than it should (hum, drift, or a filter)"
        )
        found.append(Finding("warning", "readout noise", text))
    if floor.significance > _WHITE:
        worst = int(np.argmax(floor.floor))
        text = (
            f"averaging stops helping at {1e3 * floor.floor[worst]:.2g} mV: beyond "
            f"{floor.worth_averaging[worst]:.0f} conversions an average is more floor than noise"
        )
        found.append(Finding("note", "readout noise", text))
    return found
