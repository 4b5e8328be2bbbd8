"""Pictures of the joint fit: residuals beside the noise, and how far the rig is from nominal."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK, PALETTE, whole_ticks

__all__ = ["network_pictures", "read_noise"]

_WIDEST = 6.0
"""Standard deviations shown; what lies beyond is counted in the outermost bars."""


def network_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return residuals in units of the noise, their size in time, and what differs from nominal."""
    pictures = []
    residual = np.asarray(fit.residuals.get("phase", np.empty((0, 0))))
    if residual.ndim == 2 and residual.size:
        noise = read_noise(data, fit, rig)
        if noise is not None and noise.shape == residual.shape[1:]:
            pictures.append(_histogram(residual / noise))
        pictures.append(_in_time(residual))
    if "half_wave_power_W" in fit.figures:
        pictures.append(_from_nominal(fit, rig))
    if "crosstalk" in fit.figures and "crosstalk" in fit.uncertainties:
        pictures += _by_distance(fit, rig)
    return pictures


def read_noise(data: StepData, fit: StepFit, rig: Rig) -> FloatArray | None:
    """Return (n_free,) noise of a phase read at these drives, rad; None with N-step read-out."""
    if rig.settings.readout.kind != "iq" or "scatter_V" not in data:
        return None
    scatter = np.median(data["scatter_V"], axis=0).reshape(2, -1)
    share = scatter / fit.figures["readout_amplitude_V"]
    noise: FloatArray = np.sqrt((share**2).mean(axis=0) / float(data["samples"][0]))
    return noise


def _histogram(values: FloatArray) -> Plot:
    values = values[np.isfinite(values)]

    def draw(axes: Any) -> None:
        edges = np.linspace(-_WIDEST, _WIDEST, 61)
        shown = np.clip(values, -_WIDEST, _WIDEST)
        axes.hist(shown, bins=edges, density=True, color=PALETTE["blue"], alpha=0.6)
        at = np.linspace(-_WIDEST, _WIDEST, 300)
        axes.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color=INK, label="noise alone")
        axes.set_xlabel("measured minus predicted phase, in standard deviations of the read-out")
        axes.set_ylabel("density")
        axes.legend(title=f"rms {np.sqrt((values**2).mean()):.2f}")

    caption = (
        "Residuals of a fit to be trusted are the read-out's noise: the bars fill the line, rms "
        "near 1. Wide bars are something that the model does not know: drift, a fault, clipping."
    )
    return Plot("Residuals beside the noise", caption, draw)


def _in_time(residual: FloatArray) -> Plot:
    size = 1e3 * np.sqrt(np.nanmean(residual**2, axis=1))

    def draw(axes: Any) -> None:
        axes.plot(np.arange(len(size)), size, ".", ms=3, color=PALETTE["blue"])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("drive, in the order of measuring")
        axes.set_ylabel("residual over all nodes, rms [mrad]")
        whole_ticks(axes.xaxis)

    caption = (
        "Level from the first drive to the last. A slope or a bowl is drift within the step; "
        "single drives far above the others had not come to rest."
    )
    return Plot("Residuals in time", caption, draw)


def _from_nominal(fit: StepFit, rig: Rig) -> Plot:
    found, error = fit.figures["half_wave_power_W"], fit.uncertainties["half_wave_power_W"]
    nominal = nominal_calibration(rig).half_wave_power_W
    away = 100 * (found / nominal - 1)
    lost = np.flatnonzero(~np.isfinite(found))

    def draw(axes: Any) -> None:
        at = np.arange(len(away))
        axes.errorbar(at, away, yerr=100 * error / nominal, fmt=".", ms=4, lw=0.8)
        axes.axhline(0.0, lw=0.7, color=INK)
        if len(lost):
            axes.plot(
                lost, np.zeros(len(lost)), "x", color=PALETTE["vermillion"], label="not found"
            )
            axes.legend()
        axes.set_xlabel("heater, in the order of the rig file")
        axes.set_ylabel("half-wave power from nominal [%]")
        whole_ticks(axes.xaxis)

    caption = (
        "How far the heaters are from their data sheet, bars of one standard error. A cloud is the "
        "spread of production; single ones far outside it are worth a look at their wiring."
    )
    return Plot("Half-wave powers", caption, draw)


def _by_distance(fit: StepFit, rig: Rig) -> list[Plot]:
    """Return crosstalk against how many channels two heaters of one instrument are apart."""
    heaters = rig.wiring.heaters
    names = np.array([channel.instrument for channel in heaters])
    number = np.array([channel.number for channel in heaters])
    apart = np.where(names[:, None] == names, np.abs(number[:, None] - number), 0)
    share, error = 100 * fit.figures["crosstalk"], 100 * fit.uncertainties["crosstalk"]
    fitted = np.isfinite(share) & (error > 0) & (apart > 0)
    if not fitted.any():
        return []
    levels = 100 * np.array(rig.settings.calibration.crosstalk, dtype=float)
    most = int(apart[fitted].max())

    def draw(axes: Any) -> None:
        # Both directions of a pair beside each other, so that their bars can be told apart.
        way = 0.08 * np.sign(np.arange(len(heaters)) - np.arange(len(heaters))[:, None])
        axes.errorbar(
            (apart + way)[fitted],
            share[fitted],
            yerr=error[fitted],
            fmt=".",
            ms=3,
            lw=0.8,
            alpha=0.6,
            color=PALETTE["blue"],
        )
        for distance in range(1, most + 1):
            level = levels[distance - 1] if distance <= len(levels) else 0.0
            axes.plot([distance - 0.3, distance + 0.3], [level, level], color=INK, lw=1.0)
        axes.set_xlim(0.4, most + 0.6)
        axes.set_xlabel("channels apart (left: heated by a higher channel)")
        axes.set_ylabel("crosstalk [%]")
        whole_ticks(axes.xaxis)

    caption = (
        "Share of a heater's power that reaches another one, bars of one standard error, dashes "
        "the levels of the rig file. Shares fall with distance, and are nowhere below zero by "
        "more than their bars; what stands out far away is heat, or a cable, that goes another way."
    )
    return [Plot("Crosstalk against distance", caption, draw)]
