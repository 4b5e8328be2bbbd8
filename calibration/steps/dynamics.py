"""Dynamics: settle time, drift, and what follows from them: waits, read counts, nudges."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.calibration.fits.dynamics import (
    Drift,
    best_nudge,
    drift_of,
    nudge_response,
    relaxation_time,
)
from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.noise import reads_for
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Step, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .drives import random_powers
from .injections import with_fields
from .network import typical_scatter

__all__ = ["DynamicsStep"]

_LEVELS = np.array([0.2, 0.4, 0.6, 0.8])
_SHARE_OF_TOLERANCE = 4.0
_MOST_SAMPLES = 256
_WORTH_TELLING = 3e-3
_COMMON = 2.0


@final
class DynamicsStep(Step):
    """Jumps between random drives, a long look at one of them, and small nudges of the outputs.

    Parameters
    ----------
    jumps
        Between random drives, each looked at ``looks`` times at once.
    reads
        Reads at a constant drive, for the drift; of ``samples`` conversions.
    repeats
        Equilibria at which the outputs are nudged.
    """

    name: ClassVar[str] = "dynamics"
    description: ClassVar[str] = "settle time, drift, and the nudge that suits noise and curvature"
    needs: ClassVar[tuple[str, ...]] = ("readout", "network")

    def __init__(
        self, jumps: int = 12, looks: int = 12, reads: int = 48, samples: int = 32, repeats: int = 4
    ) -> None:
        self.jumps, self.looks, self.reads = jumps, looks, reads
        self.samples, self.repeats = samples, repeats

    @override
    def unavailable_because(self, rig: Rig) -> str | None:
        if rig.settings.readout.kind != "iq":
            return "only for in-phase and quadrature detectors so far"
        return None

    @override
    def measure(self, session: Session) -> StepData:
        powers = random_powers(session, np.full(self.jumps + self.repeats, 2.0))
        done = session.recorded()
        for k in range(len(done["settle_s"]) if "settle_s" in done else 0, self.jumps):
            session.progress(k, self.jumps, "jumps")
            self._jump(session, powers[k])
        for k in range(len(done["nudge_free_V"]) if "nudge_free_V" in done else 0, self.repeats):
            session.progress(k, self.repeats, "nudges")
            self._nudge(session, powers[self.jumps + k])
        session.write_powers(powers[0])
        session.settle()
        for k in range(len(done["drift_V"]) if "drift_V" in done else 0, self.reads):
            session.progress(k, self.reads, "drift")
            read = session.read_detectors(self.samples)
            session.record("drift_V", read.mean(axis=0), "V", "means at constant drives")
            session.record("drift_scatter_V", read.std(axis=0, ddof=1), "V", "of one conversion")
            session.record("drift_s", session.now_s(), "s", "time of the read")
        return session.recorded()

    def _jump(self, session: Session, power_W: FloatArray) -> None:
        session.write_powers(power_W)
        started, times, seen = session.now_s(), [], []
        for _ in range(self.looks):
            seen.append(session.read_detectors(1)[0])
            times.append(session.now_s() - started)
        settled = session.settle()
        session.record("jump_s", np.array(times), "s", "times of the looks after a jump")
        session.record("jump_V", np.array(seen), "V", "single conversions after a jump")
        session.record("jump_end_V", settled.voltage_V, "V", "where it ended")
        session.record("settle_s", times[-1] + settled.duration_s, "s", "jump to rest")
        session.record("settled", settled.stable)

    def _nudge(self, session: Session, power_W: FloatArray) -> None:
        """Nudge all outputs at right angles to their phases, both ways, at several levels."""
        known, rig = session.known, session.rig
        n = len(rig.network.free)
        base = with_fields(session, power_W, "nudge", np.zeros(len(known.nudge_maximum), complex))
        session.write_powers(base)
        session.settle()
        read = session.read_detectors(4 * self.samples).mean(axis=0)
        session.record("nudge_free_V", read, "V", "without nudge")
        phases, _ = Detection.of(known).phases(read[None, :])
        sites = rig.network.free_index[rig.network.outputs]
        seen, made = np.full((len(_LEVELS), 2, 2 * n), np.nan), np.zeros(len(_LEVELS))
        for k, level in enumerate(_LEVELS):
            made[k] = level * known.nudge_maximum.min()
            for side, sign in enumerate((1, -1)):
                field = made[k] * np.exp(1j * (phases[0, sites] + sign * np.pi / 2))
                session.write_powers(with_fields(session, base, "nudge", field))
                session.settle()
                seen[k, side] = session.read_detectors(4 * self.samples).mean(axis=0)
        session.record("nudge_V", seen, "V", "under torques of both signs, by level")
        session.record("nudge_amplitude", made, "", "of the fields")

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        detection, findings = Detection.of(known), list[Finding]()
        noise = _noise_of_one(data, known, self.samples)
        drift_phases, _ = detection.phases(data["drift_V"])
        drift = drift_of(data["drift_s"], drift_phases, noise / np.sqrt(self.samples))
        findings += _of_drift(drift, data["drift_s"], rig)
        settle = float(np.quantile(data["settle_s"], 0.9))
        missed = int((~data["settled"].astype(bool)).sum())
        if missed:
            text = f"{missed} of {len(data['settled'])} jumps did not come to rest in time"
            findings.append(Finding("warning", "settling", text))
        tolerance = rig.settings.settle.tolerance
        samples = min(reads_for(float(noise.max()), tolerance / _SHARE_OF_TOLERANCE), _MOST_SAMPLES)
        one_read = float(noise.max()) / np.sqrt(samples)
        beta, beta_error = self._beta(data, detection, known, rig, noise, one_read)
        return StepFit(
            figures={
                "settle.typical_s": np.asarray(settle),
                "readout.samples": np.asarray(samples),
                "estimator.beta": np.asarray(beta),
                "relaxation_s": np.asarray(_relaxation(data, detection, noise)),
                "drift_rate": drift.rate,
                "drift_walk": drift.walk,
                "common_drift_rate": np.asarray(drift.common_rate),
            },
            uncertainties={
                "settle.typical_s": np.asarray(
                    1.3 * data["settle_s"].std() / np.sqrt(len(data["settle_s"]))
                ),
                "estimator.beta": np.asarray(beta_error),
                "drift_rate": drift.rate_error,
                "common_drift_rate": np.asarray(drift.common_error),
            },
            findings=findings,
            units={
                "settle.typical_s": "s",
                "relaxation_s": "s",
                "drift_rate": "rad/s",
                "drift_walk": "rad/sqrt(s)",
                "common_drift_rate": "rad/s",
            },
        )

    def _beta(
        self,
        data: StepData,
        detection: Detection,
        known: RigCalibration,
        rig: Rig,
        noise: FloatArray,
        one_read: float,
    ) -> tuple[float, float]:
        """Return the recommended nudge: the median over equilibria and outputs, and its error."""
        sites = rig.network.free_index[rig.network.outputs]
        found = []
        for seen, amplitude in zip(data["nudge_V"], data["nudge_amplitude"], strict=True):
            levels = len(amplitude)
            phases, _ = detection.phases(seen.reshape(2 * levels, -1))
            sides = phases.reshape(levels, 2, -1)
            half = wrap(sides[:, 0] - sides[:, 1]) / 2
            for site in sites:
                read = float(noise[site]) / np.sqrt(4 * self.samples)
                response = nudge_response(amplitude, half[:, site], read)
                if response.susceptibility > 4 * response.susceptibility_error:
                    found.append(best_nudge(response, one_read))
        if not found:
            return np.nan, np.nan
        most = 0.9 * float(known.nudge_maximum.min())
        spread = float(np.std(found)) / np.sqrt(len(found))
        return min(float(np.median(found)), most), spread


def _noise_of_one(data: StepData, known: RigCalibration, samples: int) -> FloatArray:
    """Return (n_free,) phase noise of one conversion, rad."""
    deviation = typical_scatter(data["drift_scatter_V"], samples)
    relative = deviation.reshape(2, -1) / known.readout_amplitude_V
    pairs: FloatArray = np.sqrt((relative**2).mean(axis=0))
    return np.maximum(pairs, 1e-9)


def _relaxation(data: StepData, detection: Detection, noise: FloatArray) -> float:
    found = []
    for times, seen, end in zip(data["jump_s"], data["jump_V"], data["jump_end_V"], strict=True):
        phases, _ = detection.phases(seen)
        last, _ = detection.phases(end[None, :])
        distance = np.abs(wrap(phases - last)).max(axis=1)
        found.append(relaxation_time(times, distance, 5 * float(noise.max())))
    known = [one for one in found if np.isfinite(one)]
    return float(np.median(known)) if known else np.nan


def _of_drift(drift: Drift, time_s: FloatArray, rig: Rig) -> list[Finding]:
    found = []
    if drift.significance > 5 and drift.common_rms > _COMMON * drift.own_rms:
        text = (
            f"the reference drifts: all phases turn alike, by {1e3 * drift.common_rms:.2g} mrad "
            f"rms in {np.ptp(time_s):.3g} s ({drift.common_rate:+.2g} rad/s)"
        )
        found.append(Finding("fault", "reference", text))
        return found
    moved = np.abs(drift.rate) * float(np.ptp(time_s))
    for node in np.flatnonzero(
        (np.abs(drift.rate) > 5 * drift.rate_error) & (moved > _WORTH_TELLING)
    ):
        text = f"drifts by {drift.rate[node]:+.2g} rad/s at constant drives"
        found.append(Finding("warning", f"node {rig.network.free[node]}", text))
    return found
