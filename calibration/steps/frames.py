"""Random drives of a rig with N-step read-out: each is read in frames, one a step.

Only the step shifter moves between the frames of a drive. Its heat reaches its neighbours, so the
phases that it reads may move a little as well: what is recorded is the power of every frame, and
nothing is assumed of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import StepData
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .drives import record_meters

__all__ = ["FramedPowers", "Frames", "framed_powers", "frames_of", "is_stepped", "measure_frames"]

_SHRINK = 0.97
_ROUNDS = 200
_LEAST_TURN = 0.6


def is_stepped(rig: Rig) -> bool:
    """Tell whether phases are read by steps of a reference arm."""
    return rig.settings.readout.kind == "n-step"


@final
@dataclass(frozen=True, eq=False)
class FramedPowers:
    """Powers to drive to.

    Attributes
    ----------
    power_W
        (m, n_heaters), the step shifter's being that of the first frame.
    step_W
        (N,) what is added to it in each frame.
    """

    power_W: FloatArray
    step_W: FloatArray


@final
@dataclass(frozen=True, eq=False)
class Frames:
    """What was recorded.

    Attributes
    ----------
    signal_V
        (m, N, n) means.
    power_W
        (m, n_heaters), the step shifter's being the mean over its frames.
    step_W
        (m, N) power of the step shifter in each frame, beside that mean.
    noise_V
        (n,) standard deviation of one conversion.
    samples
        Conversions averaged in one frame.
    """

    signal_V: FloatArray
    power_W: FloatArray
    step_W: FloatArray
    noise_V: FloatArray
    samples: int


def framed_powers(session: Session, half_waves: FloatArray, *, from_zero: bool) -> FramedPowers:
    """Return random powers as `random_powers` does, with room for the steps on top.

    Parameters
    ----------
    half_waves
        (m,) upper end of each drive, in half-wave powers; less where a limit is lower.
    from_zero
        First frames at no power; else at random powers as well, as far as limits leave room.

    Raises
    ------
    LimitError
        Limits leave the steps no room; nothing was sent.
    """
    rig, row, m = session.rig, session.n_heaters - 1, len(half_waves)
    highest = 0.98 * session.highest_W
    n_steps = rig.settings.readout.steps
    turn = 2 * session.known.half_wave_power_W[row] * (n_steps - 1) / n_steps
    if highest[row] < _LEAST_TURN * turn:
        raise LimitError(
            "its limits leave no room for the phase steps",
            field=f"{rig.wiring.heaters[row]}.power_W",
            value=float(highest[row]),
            allowed=f"{turn:.3g} W and more for {n_steps} steps",
        )
    span = min(turn, highest[row])
    top = np.minimum(half_waves[:, None] * session.known.half_wave_power_W, highest)
    top[:, row] = 0.0 if from_zero else np.minimum(top[:, row], highest[row] - span)
    power = session.rng.uniform(0.0, 1.0, (m, session.n_heaters)) * top
    for k in range(m):
        power[k] = _fitting(session, power[k], row, span)
    return FramedPowers(power, span * np.linspace(0.0, 1.0, n_steps))


def _fitting(session: Session, power_W: FloatArray, row: int, span: float) -> FloatArray:
    """Return powers scaled down until they fit the limits of their sum with the last step on."""
    for attempt in range(_ROUNDS + 1):
        last = power_W.copy()
        last[row] += span
        try:
            session.refuse(np.sqrt(last * session.known.resistance_ohm))
        except LimitError:
            if attempt == _ROUNDS:
                raise
            power_W = _SHRINK * power_W
        else:
            break
    return power_W


def measure_frames(
    session: Session,
    powers: FramedPowers,
    samples: int,
    *,
    meters: int = 0,
    doing: str = "random drives",
) -> StepData:
    """Drive, then step, wait and read N times; else as `measure_drives`.

    Records, one row a drive: ``setpoint_V`` (n_heaters,) of the first frame, ``step_setpoint_V``
    (N,) of the step shifter, ``frame_V`` (N, n_detectors), ``scatter_V`` (n_detectors,) over all
    frames, ``stable``, ``time_s``, and the read-backs.
    """
    done, row = session.recorded(), session.n_heaters - 1
    first = len(done["stable"]) if "stable" in done else 0
    for k in range(first, len(powers.power_W)):
        session.progress(k, len(powers.power_W), doing)
        # To and fro: the way back to the first frame would be one more wait.
        order = np.arange(len(powers.step_W))[:: 1 if k % 2 == 0 else -1]
        frame, scatter = np.empty((len(order), session.n_detectors)), np.zeros(session.n_detectors)
        setpoint, stable = np.empty(len(order)), True
        drive = powers.power_W[k].copy()
        lowest = drive
        for j in order:
            drive[row] = powers.power_W[k, row] + powers.step_W[j]
            session.write_powers(drive)
            settled = session.settle()
            read = session.read_detectors(samples)
            frame[j] = read.mean(axis=0)
            scatter += read.var(axis=0, ddof=1) / len(order)
            setpoint[j] = session.setpoint_V[row]
            stable = stable and settled.stable
            if j == 0:
                lowest = session.setpoint_V
        session.record("setpoint_V", lowest, "V", "set-points as accepted, first frame")
        session.record("step_setpoint_V", setpoint, "V", "set-points of the step shifter")
        session.record("frame_V", frame, "V", f"means of {samples} conversions, by step")
        session.record("scatter_V", np.sqrt(scatter), "V", "standard deviation of one conversion")
        session.record("samples", samples, "", "conversions averaged in a frame")
        session.record("time_s", session.now_s(), "s", "since the session began")
        if k >= len(powers.power_W) - meters:
            record_meters(session)
        session.record("stable", stable, "", "whether the detectors came to rest")
        session.checkpoint()
    session.progress(len(powers.power_W), len(powers.power_W), doing)
    return session.recorded()


def frames_of(data: StepData, known: RigCalibration) -> Frames:
    """Return frames as `measure_frames` recorded them, powers by the resistances known."""
    row = len(known.resistance_ohm) - 1
    power = data["setpoint_V"] ** 2 / known.resistance_ohm
    step = data["step_setpoint_V"] ** 2 / known.resistance_ohm[row]
    power[:, row] = step.mean(axis=1)
    return Frames(
        data["frame_V"],
        power,
        step - power[:, row, None],
        np.sqrt(np.median(data["scatter_V"] ** 2, axis=0)),
        int(data["samples"][0]),
    )
