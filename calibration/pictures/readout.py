"""Pictures of the read-out: fringes as circles, and noise against averaging."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK, PALETTE

__all__ = ["readout_pictures"]


def readout_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return the ellipses of a typical and of the worst node, and the noise of averages."""
    pictures = []
    if rig.settings.readout.kind == "iq" and "detector_V" in data:
        pictures.append(_ellipses(data["detector_V"], fit, rig))
    if "noise_averaged" in fit.figures:
        pictures.append(_noise(fit))
    return pictures


def _ellipses(detector_V: FloatArray, fit: StepFit, rig: Rig) -> Plot:
    n = len(rig.network.free)
    radius = np.asarray(fit.residuals["radius"])
    known = np.flatnonzero(np.isfinite(radius).any(axis=0))  # the others' detectors are dead
    miss = np.full(n, np.nan)
    miss[known] = np.sqrt(np.nanmean(radius[:, known] ** 2, axis=0))
    order = known[np.argsort(miss[known])]
    chosen = {} if not len(order) else {"typical": order[len(order) // 2], "worst": order[-1]}

    def draw(axes: Any) -> None:
        turn = np.linspace(0, 2 * np.pi, 200)
        for (word, node), colour in zip(chosen.items(), PALETTE.values(), strict=False):
            offset = fit.figures["readout_offset_V"][:, node]
            amplitude = fit.figures["readout_amplitude_V"][:, node]
            error = fit.figures["quadrature_error"][node]
            axes.plot(
                offset[0] + amplitude[0] * np.cos(turn),
                offset[1] + amplitude[1] * np.sin(turn + error),
                lw=0.8,
                color=colour,
            )
            label = f"{word}: node {rig.network.free[node]}, rms {miss[node]:.1e} of its radius"
            axes.plot(
                detector_V[:, node], detector_V[:, n + node], ".", ms=4, color=colour, label=label
            )
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("in-phase [V]")
        axes.set_ylabel("quadrature [V]")
        if chosen:
            axes.legend()

    caption = (
        "Points of a good detector lie on its fitted ellipse, all around. Flattened sides are "
        "clipping, points inside it are moving phases or lost light."
    )
    return Plot("Fringes", caption, draw)


def _noise(fit: StepFit) -> Plot:
    def draw(axes: Any) -> None:
        averaged = fit.figures["noise_averaged"]
        for deviation in fit.figures["noise_scaling_V"].T:
            axes.loglog(averaged, 1e3 * deviation, ".-", lw=0.7, ms=3)
        first = 1e3 * np.nanmedian(fit.figures["noise_scaling_V"][0])
        axes.loglog(averaged, first / np.sqrt(averaged), "--", color=INK, label="as 1/sqrt(N)")
        axes.set_xlabel("conversions averaged, N")
        axes.set_ylabel("Allan deviation [mV]")
        axes.legend()

    caption = (
        "One line a detector. Lines that leave the dashed one level off at what averaging "
        "does not take away; lines that rise again are drift."
    )
    return Plot("Noise against averaging", caption, draw)
