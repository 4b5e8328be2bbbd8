"""Dynamics: settle time, drift, and what follows from them: waits, read counts, nudges."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.calibration.fits.dynamics import (
    Drift,
    best_nudge,
    drift_of,
    nudge_for,
    nudge_response,
    relaxation_time,
    time_to_rest,
)
from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.noise import reads_for
from eqp_hw.calibration.pictures.dynamics import dynamics_pictures
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.errors import LimitError
from eqp_hw.drivers.rig.drive import Drive, DriveMap
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .broken import BoolArray, held_at_zero
from .drives import random_powers
from .injections import choose_powers
from .network import typical_scatter

__all__ = ["DynamicsStep"]

_log = logging.getLogger("eqp_hw.calibration")

_LEVELS = np.array([0.25, 0.5, 0.75, 1.0])
_TURN = 0.35
"""Rad that the strongest nudge turns the phase that answers most."""
_HOPPED = 1.0
_DRAWS = 8
"""Of each drive to nudge at: limits may leave no room for the first."""
_LONG = 4
"""Reads under nudges are so much longer than others."""
_COUPLING, _BIAS = 0.5, 0.2
"""Typical couplings and fields, in shares of their maxima; couplings over the root of the bonds."""
_ROOM = 0.98
_TORQUE = 2.0
"""Of a cost where bias counts most: tan(Δ/2) of the log-cosine at an error Δ of 2.2 rad."""
_SHARE_OF_TOLERANCE = 4.0
_MOST_SAMPLES = 256
_WORTH_TELLING = 3e-3
_COMMON = 2.0
_CONVERSIONS = 4
"""Of one look after a jump."""
_FIRST_LOOK = 200.0
"""The first look is due at the last one's time over this."""
_LONGER = 1.5
_FLOOR = 5.0
"""The largest of many phases goes that many standard deviations astray by chance."""


@final
class DynamicsStep(Step):
    """Jumps between random drives, a long look at one of them, and small nudges of the outputs.

    Parameters
    ----------
    jumps
        Between random drives, each looked at ``looks`` times until long after it is at rest.
    reads
        Reads at a constant drive, for the drift; of ``samples`` conversions.
    repeats
        Equilibria at which the outputs are nudged.
    """

    name: ClassVar[str] = "dynamics"
    description: ClassVar[str] = "settle time, drift, and the nudge that suits noise and curvature"
    needs: ClassVar[tuple[str, ...]] = ("readout", "network")

    def __init__(
        self, jumps: int = 12, looks: int = 48, reads: int = 48, samples: int = 32, repeats: int = 8
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
        held = held_at_zero(session)
        powers = random_powers(session, np.full(self.jumps, 2.0), held)
        drives = [[_typical(session) for _ in range(_DRAWS)] for _ in range(self.repeats)]
        signs = session.rng.choice([-1.0, 1.0], (self.repeats, len(session.rig.network.outputs)))
        done = session.recorded()
        # How long to look: as long as one jump takes until looks agree, and some more.
        session.write_powers(powers[-1])
        until_s = _LONGER * session.settle().duration_s
        for k in range(len(done["settle_s"]) if "settle_s" in done else 0, self.jumps):
            session.progress(k, self.jumps, "jumps")
            self._jump(session, powers[k], until_s)
        rows = NetworkModel(session.rig).rows
        broken = held[rows["nudge_amplitude"]].any() or held[rows["nudge_phase"]].any()
        first = len(done["nudge_V"]) if "nudge_V" in done else 0
        for k in range(self.repeats if broken else first, self.repeats):
            session.progress(k, self.repeats, "nudges")
            self._nudge_any(session, drives[k], signs[k], held)
        # Without a checkpoint: a drift is that of one look.
        session.write_powers(powers[0])
        session.settle()
        for k in range(self.reads):
            session.progress(k, self.reads, "drift")
            read = session.read_detectors(self.samples)
            session.record("drift_V", read.mean(axis=0), "V", "means at constant drives")
            session.record("drift_scatter_V", read.std(axis=0, ddof=1), "V", "of one conversion")
            session.record("drift_s", session.now_s(), "s", "time of the read")
        return session.recorded()

    def _jump(self, session: Session, power_W: FloatArray, until_s: float) -> None:
        """Look at once, then ever more rarely until ``until_s`` after the jump."""
        session.write_powers(power_W)
        started, times, seen = session.now_s(), [], []
        for due_s in np.geomspace(until_s / _FIRST_LOOK, until_s, self.looks):
            waiting = True
            while waiting:
                look = session.read_detectors(_CONVERSIONS).mean(axis=0)
                waiting = session.now_s() - started < due_s
            seen.append(look)
            times.append(session.now_s() - started)
        settled = session.settle()
        session.record("jump_s", np.array(times), "s", "times of the looks after a jump")
        session.record(
            "jump_V", np.array(seen), "V", f"means of {_CONVERSIONS} conversions after a jump"
        )
        session.record("jump_end_V", settled.voltage_V, "V", "where it ended")
        session.record("settle_s", settled.duration_s, "s", "until looks agreed, after these")
        session.record("settled", settled.stable, "", "whether they ever did")
        session.checkpoint()

    def _nudge_any(
        self, session: Session, drives: Sequence[Drive], signs: FloatArray, held: BoolArray
    ) -> None:
        """Nudge at the first of these drives that the limits leave room for, if at any."""
        for drive in drives:
            try:
                self._nudge(session, drive, signs, held)
            except LimitError as error:
                _log.info("no nudges at this drive: %s", error)
            else:
                return
        levels, n = len(_LEVELS), session.n_detectors
        _record_nudges(
            session, np.full(n, np.nan), np.full(levels, np.nan), np.full((levels, 2, n), np.nan)
        )

    def _nudge(self, session: Session, drive: Drive, signs: FloatArray, left: BoolArray) -> None:
        """Nudge all outputs at right angles to their phases, both ways, at several levels."""
        known, rig = session.known, session.rig
        roles, model = DriveMap(rig, known), HeaterModel.of(known)
        limit = _ROOM * session.highest_W
        unknown = np.full(session.n_heaters, np.nan)
        names = [str(channel) for channel in rig.wiring.heaters]
        held, power = choose_powers(model, roles.wanted(drive, unknown), limit, None, left, names)
        power = session.write_powers(power)
        session.settle()
        read = session.read_detectors(_LONG * self.samples).mean(axis=0)
        phases, _ = Detection.of(known).phases(read[None, :])
        sites = rig.network.free_index[rig.network.outputs]
        network = NetworkModel(rig)
        elements = Elements.of(known, network.n_edges)
        local = network.local_fields(elements, elements.theta(power[None, :]), phases)
        along = np.zeros(network.n_free)
        along[sites] = signs
        most = _ROOM * float(known.nudge_maximum.min())
        made = _LEVELS * nudge_for(local.stiffness[0], along, _TURN, most)
        seen = np.full((len(made), 2, session.n_detectors), np.nan)
        for k, size in enumerate(made):
            for side, sign in enumerate((1, -1)):
                field = sign * size * signs * 1j * np.exp(1j * phases[0, sites])
                wanted = roles.wanted(dataclasses.replace(drive, nudge=field), held)
                made_W = choose_powers(model, wanted, limit, held, left, names)[1]
                session.write_powers(made_W)
                session.settle()
                seen[k, side] = session.read_detectors(_LONG * self.samples).mean(axis=0)
        _record_nudges(session, read, made, seen)

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        detection, findings = Detection.of(known), list[Finding]()
        noise = _noise_of_one(data, known, self.samples)
        drift_phases, _ = detection.phases(data["drift_V"])
        drift = drift_of(data["drift_s"], drift_phases, noise / np.sqrt(self.samples))
        findings += [*_of_drift(drift, data["drift_s"], rig), *_of_nudges(data)]
        tolerance = rig.settings.settle.tolerance
        relaxation, rests = _approach(data, detection, noise, tolerance)
        settle = float(np.quantile(rests, 0.9)) if len(rests) else np.nan
        missed = len(data["settled"]) - len(rests)
        if missed:
            text = f"{missed} of {len(data['settled'])} jumps did not come to rest in time"
            findings.append(Finding("warning", "settling", text))
        samples = min(reads_for(float(noise.max()), tolerance / _SHARE_OF_TOLERANCE), _MOST_SAMPLES)
        stated = rig.settings.readout
        # A recommendation fills in what the rig file leaves out.
        used = stated.samples if "samples" in stated.model_fields_set else samples
        beta, beta_error = self._beta(data, detection, known, noise, used)
        of_read = (
            {}
            if used == stated.samples
            else {"readout_noise": np.asarray(noise.max() / np.sqrt(used))}
        )
        freedom = self.reads * (self.samples - 1)
        return StepFit(
            figures={
                **of_read,
                "settle.typical_s": np.asarray(settle),
                "readout.samples": np.asarray(samples),
                "estimator.beta": np.asarray(beta),
                "relaxation_s": np.asarray(np.median(relaxation) if len(relaxation) else np.nan),
                "drift_rate": drift.rate,
                "drift_walk": drift.walk,
                "common_drift_rate": np.asarray(drift.common_rate),
            },
            uncertainties={
                **{name: value / np.sqrt(2 * freedom) for name, value in of_read.items()},
                "settle.typical_s": np.asarray(_of_quantile(rests)),
                "relaxation_s": np.asarray(_of_quantile(relaxation)),
                "estimator.beta": np.asarray(beta_error),
                "drift_rate": drift.rate_error,
                "drift_walk": drift.walk_error,
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
        noise: FloatArray,
        samples: int,
    ) -> tuple[float, float]:
        """Return the recommended nudge for reads of so many conversions, and its error."""
        found = []
        if "nudge_V" not in data:
            return np.nan, np.nan
        for seen, amplitude in zip(data["nudge_V"], data["nudge_amplitude"], strict=True):
            if np.isnan(seen).any():
                continue
            levels = len(amplitude)
            phases, _ = detection.phases(seen.reshape(2 * levels, -1))
            sides = phases.reshape(levels, 2, -1)
            half = wrap(sides[:, 0] - sides[:, 1]) / 2
            if np.abs(half).max() < _HOPPED:
                found.append(nudge_response(amplitude, half, noise / np.sqrt(_LONG * self.samples)))
        most = _ROOM * float(known.nudge_maximum.min())
        beta, error = best_nudge(found, noise / np.sqrt(samples), _TORQUE)
        return min(beta, most), error

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        return dynamics_pictures(data, fit, rig)


def _record_nudges(
    session: Session, free_V: FloatArray, amplitude: FloatArray, seen_V: FloatArray
) -> None:
    session.record("nudge_free_V", free_V, "V", "without nudge")
    session.record("nudge_amplitude", amplitude, "", "of the fields")
    session.record("nudge_V", seen_V, "V", "under torques of both signs, by level")
    session.checkpoint()


def _of_nudges(data: StepData) -> list[Finding]:
    """Tell of nudges that could not be made, and that nothing is recommended of them."""
    if "nudge_V" not in data:
        text = "left out: a channel of the nudges is broken; no estimator.beta is recommended"
        return [Finding("note", "nudges", text)]
    missing = int(np.isnan(data["nudge_V"]).all(axis=(1, 2, 3)).sum())
    if not missing:
        return []
    text = (
        f"{missing} of {len(data['nudge_V'])} left out: limits leave no room for couplings and "
        "fields as experiments begin with (see total_power_W and power_W)"
    )
    return [Finding("warning", "nudges", text)]


def _typical(session: Session) -> Drive:
    """Return couplings, inputs and fields as experiments begin with, drawn at random.

    Couplings of the largest size make a network stiffer than any that learns.
    """
    known, network, rng = session.known, session.rig.network, session.rng
    degree = float(np.bincount(network.edges.ravel()).max())
    highest = float(known.coupling_maximum.min())
    coupling = rng.normal(0, _COUPLING * highest / np.sqrt(degree), network.n_couplings)
    bias = None
    if len(known.bias_maximum):
        angle = rng.uniform(-np.pi, np.pi, len(network.free))
        bias = _BIAS * float(known.bias_maximum.min()) * np.exp(1j * angle)
    return Drive(
        coupling=np.clip(coupling, -highest, highest),
        inputs=rng.uniform(-np.pi / 2, np.pi / 2, len(network.inputs)),
        bias=bias,
        nudge=np.zeros(len(network.outputs), complex),
    )


def _noise_of_one(data: StepData, known: RigCalibration, samples: int) -> FloatArray:
    """Return (n_free,) phase noise of one conversion, rad."""
    deviation = typical_scatter(data["drift_scatter_V"], samples)
    relative = deviation.reshape(2, -1) / known.readout_amplitude_V
    pairs: FloatArray = np.sqrt((relative**2).mean(axis=0))
    return np.maximum(pairs, 1e-9)


def _approach(
    data: StepData, detection: Detection, noise: FloatArray, tolerance: float
) -> tuple[FloatArray, FloatArray]:
    """Return relaxation times of the jumps that show one, and times of those that came to rest."""
    floor = _FLOOR * float(noise.max()) / np.sqrt(_CONVERSIONS)
    distances, ends = [], data["jump_end_V"]
    for seen, end in zip(data["jump_V"], ends, strict=True):
        phases, _ = detection.phases(seen)
        last, _ = detection.phases(end[None, :])
        distances.append(np.abs(wrap(phases - last)).max(axis=1))
    times = data["jump_s"]
    found = [relaxation_time(t, d, floor) for t, d in zip(times, distances, strict=True)]
    relaxation = np.array([one for one in found if np.isfinite(one)])
    typical = float(np.median(relaxation)) if len(relaxation) else np.nan
    rests = np.array(
        [
            time_to_rest(t, d, floor, tolerance, typical)
            for t, d, settled in zip(times, distances, data["settled"], strict=True)
            if settled
        ]
    )
    return relaxation, rests[np.isfinite(rests)]


def _of_quantile(values: FloatArray) -> float:
    """Return the standard error of a median, or of a quantile not far from it."""
    return float(1.3 * np.std(values) / np.sqrt(len(values))) if len(values) else np.nan


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
