"""Random drives of all heaters at once, measured one after the other, resumable."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import StepData
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray

__all__ = ["fitting", "measure_drives", "random_powers", "record_meters"]

_SHRINK = 0.97


def random_powers(
    session: Session,
    half_waves: FloatArray,
    held: npt.NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Return (m, n_heaters) powers, uniform from 0 to so many nominal half-wave powers.

    Parameters
    ----------
    half_waves
        (m,) upper end of each drive, in half-wave powers; less where a limit is lower.
    held
        (n_heaters,) heaters that get none.
    """
    top_W = half_waves[:, None] * session.known.half_wave_power_W
    top_W = np.minimum(top_W, 0.98 * session.highest_W)
    drawn = session.rng.uniform(0.0, 1.0, (len(half_waves), session.n_heaters))
    if held is not None:
        drawn[:, held] = 0.0
    return np.stack([fitting(session, power) for power in drawn * top_W])


def fitting(session: Session, power_W: FloatArray, kept: slice = slice(0)) -> FloatArray:
    """Return powers scaled down, all alike, until they are within the limits of their sum.

    Parameters
    ----------
    kept
        Heaters whose powers stay as they are; they must leave the others some room.
    """
    for _ in range(200):
        voltage = np.sqrt(power_W * session.known.resistance_ohm)
        try:
            session.refuse(voltage)
        except LimitError:
            stay = power_W[kept].copy()
            power_W = _SHRINK * power_W
            power_W[kept] = stay
        else:
            return power_W
    session.refuse(np.sqrt(power_W * session.known.resistance_ohm))
    return power_W


def measure_drives(
    session: Session,
    power_W: FloatArray,
    samples: int,
    *,
    meters: int = 0,
    doing: str = "random drives",
) -> StepData:
    """Drive, wait, read; what was recorded before an interruption is not measured again.

    Records, one row a drive: ``setpoint_V`` (n_heaters,), ``detector_V`` and its scatter
    ``scatter_V`` (n_detectors,), ``stable``, ``time_s``; and at the last ``meters`` drives what
    the sources measure, ``back_voltage_V`` and ``back_current_A`` at ``back_setpoint_V``.
    """
    done = session.recorded()
    first = len(done["stable"]) if "stable" in done else 0
    for k in range(first, len(power_W)):
        session.progress(k, len(power_W), doing)
        session.write_powers(power_W[k])
        settled = session.settle()
        read = session.read_detectors(samples)
        session.record("setpoint_V", session.setpoint_V, "V", "set-points as accepted")
        session.record("detector_V", read.mean(axis=0), "V", f"mean of {samples} conversions")
        scatter = read.std(axis=0, ddof=1) if samples > 1 else np.full(read.shape[1], np.nan)
        session.record("scatter_V", scatter, "V", "standard deviation of one conversion")
        session.record("samples", samples, "", "conversions averaged")
        session.record("time_s", session.now_s(), "s", "since the session began")
        if k >= len(power_W) - meters:
            record_meters(session)
        session.record("stable", settled.stable, "", "whether the detectors came to rest")
        session.checkpoint()
    session.progress(len(power_W), len(power_W), doing)
    return session.recorded()


def record_meters(session: Session) -> None:
    """Record what the sources measure of themselves now."""
    back = session.read_back()
    session.record("back_setpoint_V", session.setpoint_V, "V", "set-points of the read-backs")
    session.record("back_voltage_V", back.voltage_V, "V", "measured by the sources")
    session.record("back_current_A", back.current_A, "A", "measured by the sources")
