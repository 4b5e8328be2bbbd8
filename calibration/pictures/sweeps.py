"""Pictures of the sweeps: whether phases are linear in power, and agree with the joint fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK, PALETTE, whole_ticks

__all__ = ["beside_joint_fit", "sweep_pictures"]

_LEAST = 4
"""Powers of a sweep that a straight line is compared with."""
_USUAL = 2.0
CERTAIN = 0.02
"""Rad, the largest error of a phase that is drawn."""


def sweep_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return phase against power of all heaters, and how far each is from a straight line.

    Phases that an equilibrium hardly tells are left out: at a power where its node does not feel
    the heater. Files without errors of phases have no such pictures.
    """
    theta, error = (
        np.asarray(part.get("sweep_phase", np.empty((0, 0))), dtype=float)
        for part in (fit.figures, fit.uncertainties)
    )
    if theta.ndim != 2 or error.shape != theta.shape or "setpoint_V" not in data:
        return []
    n, levels = theta.shape
    setpoint = data["setpoint_V"]
    if not n or setpoint.shape != (n * levels, n):
        return []
    nominal = nominal_calibration(rig)
    own = np.arange(n)
    power = setpoint.reshape(n, levels, n)[own, :, own] ** 2 / nominal.resistance_ohm[:, None]
    half_waves = power / nominal.half_wave_power_W[:, None]
    certain = np.where(error <= CERTAIN, theta, np.nan)
    turned, left = _lines(half_waves, certain, error)
    if not np.isfinite(left).any():
        return []
    unsure = int((np.isfinite(theta) & ~np.isfinite(left)).sum())
    names = [str(channel) for channel in rig.wiring.heaters]
    return [
        _against_power(half_waves, turned, unsure),
        _off_the_line(half_waves, left, error, names),
    ]


def _lines(at: FloatArray, theta: FloatArray, error: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return phases beside the start of each row's straight line, and beside the line itself."""
    turned, left = np.full_like(theta, np.nan), np.full_like(theta, np.nan)
    for row in range(len(theta)):
        seen = np.isfinite(theta[row]) & (error[row] > 0)
        if seen.sum() < _LEAST or not np.ptp(at[row, seen]) > 0:
            continue
        slope, start = np.polyfit(at[row, seen], theta[row, seen], 1, w=1 / error[row, seen])
        turned[row] = theta[row] - start
        left[row] = turned[row] - slope * at[row]
    return turned, left


def _against_power(half_waves: FloatArray, turned: FloatArray, unsure: int) -> Plot:
    def draw(axes: Any) -> None:
        for at, phase in zip(half_waves, turned, strict=True):
            seen = np.isfinite(phase)
            if seen.any():
                axes.plot(at[seen], phase[seen] / np.pi, ".-", lw=0.6, ms=3, color=PALETTE["blue"])
        top = float(np.nanmax(half_waves))
        axes.plot([0, top], [0, top], "--", color=INK, label="nominal")
        axes.legend()
        axes.set_xlabel("power of the heater, in nominal half-wave powers")
        axes.set_ylabel("phase turned [π]")

    caption = (
        "One line a heater, swept alone. A fan of straight lines about the dashed one is the "
        "spread of half-wave powers; bent or crossing lines are heaters not to be trusted."
    )
    if unsure:
        caption += (
            f" {unsure} phases are not drawn: their nodes did not feel the heater well enough "
            f"to tell them within {1e3 * CERTAIN:.0f} mrad."
        )
    return Plot("Phase against power", caption, draw)


def _off_the_line(
    half_waves: FloatArray, left: FloatArray, error: FloatArray, names: list[str]
) -> Plot:
    outlying = np.where(np.isfinite(left), np.abs(left) / error, 0.0).max(axis=1)
    worst = int(np.argmax(outlying))

    def draw(axes: Any) -> None:
        for row, (at, away) in enumerate(zip(half_waves, left, strict=True)):
            seen = np.isfinite(away)
            if seen.any() and row != worst:
                axes.plot(at[seen], 1e3 * away[seen], ".", ms=3, color=PALETTE["blue"], alpha=0.6)
        seen = np.isfinite(left[worst])
        axes.errorbar(
            half_waves[worst, seen],
            1e3 * left[worst, seen],
            yerr=1e3 * error[worst, seen],
            fmt=".-",
            lw=1.0,
            color=PALETTE["vermillion"],
            label=f"{names[worst]}: {outlying[worst]:.1f} standard errors",
        )
        axes.axhline(0.0, lw=0.7, color=INK)
        axes.legend(title="most off the line")
        axes.set_xlabel("power of the heater, in nominal half-wave powers")
        axes.set_ylabel("phase minus straight line [mrad]")

    caption = (
        "The calibration takes phases as linear in power: points that scatter about zero say so, "
        "and the heater most off its line stays within some four errors. A bow that its bars do "
        "not reach is a heater for which it does not hold."
    )
    return Plot("Off a straight line", caption, draw)


def beside_joint_fit(fit: StepFit, joint: StepFit) -> list[Plot]:
    """Return how far sweeps are from the joint fit, in standard errors of the difference.

    Parameters
    ----------
    fit, joint
        Of the sweeps, and of the network step.
    """
    pairs = (
        ("sweep_half_wave_power_W", "half_wave_power_W"),
        ("sweep_crosstalk", "crosstalk"),
    )
    power, crosstalk = (_difference(fit, one, joint, two) for one, two in pairs)
    plots = []
    if power is not None:
        plots.append(_of_powers(power))
    if crosstalk is not None:
        off = crosstalk[~np.eye(len(crosstalk), dtype=bool)]
        plots.append(_of_crosstalk(off[np.isfinite(off)]))
    return plots


def _difference(fit: StepFit, one: str, joint: StepFit, two: str) -> FloatArray | None:
    parts = (fit.figures.get(one), joint.figures.get(two))
    errors = (fit.uncertainties.get(one), joint.uncertainties.get(two))
    if any(part is None for part in (*parts, *errors)):
        return None
    first, second = (np.asarray(part, dtype=float) for part in parts)
    error = np.hypot(*(np.asarray(part, dtype=float) for part in errors))
    if first.shape != second.shape or error.shape != first.shape:
        return None
    away = np.full(first.shape, np.nan)
    known = np.isfinite(first - second) & (error > 0)
    away[known] = (first - second)[known] / error[known]
    return away if known.any() else None


def _of_powers(away: FloatArray) -> Plot:
    def draw(axes: Any) -> None:
        axes.axhspan(-_USUAL, _USUAL, color=INK, alpha=0.08, lw=0, label="19 of 20 by chance")
        axes.plot(np.arange(len(away)), away, ".", ms=4, color=PALETTE["blue"])
        axes.axhline(0.0, lw=0.7, color=INK)
        axes.legend()
        axes.set_xlim(-1, len(away))
        axes.set_xlabel("heater, in the order of the rig file")
        axes.set_ylabel("sweep minus joint fit [standard errors]")
        whole_ticks(axes.xaxis)

    caption = (
        "Half-wave powers found twice, by sweeps and by all heaters at once: nineteen points in "
        "twenty within the band is agreement. Points far outside are heaters that one of the two "
        "has wrong."
    )
    return Plot("Half-wave powers found twice", caption, draw)


def _of_crosstalk(away: FloatArray) -> Plot:
    widest = 6.0

    def draw(axes: Any) -> None:
        shown = np.clip(away, -widest, widest)
        edges = np.linspace(-widest, widest, 49)
        axes.hist(shown, bins=edges, density=True, color=PALETTE["blue"], alpha=0.6)
        at = np.linspace(-widest, widest, 300)
        axes.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color=INK, label="chance alone")
        axes.set_xlabel("crosstalk by sweeps minus joint fit, in standard errors")
        axes.set_ylabel("density")
        axes.legend(title=f"rms {np.sqrt((away**2).mean()):.2f}, {away.size} pairs")

    caption = (
        "Bars that fill the line are agreement, and errors that are as stated. Wider bars, or a "
        "heap at the edge, are heat that goes another way than the joint fit takes it."
    )
    return Plot("Crosstalk found twice", caption, draw)
