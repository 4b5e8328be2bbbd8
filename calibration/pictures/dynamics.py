"""Picture of the dynamics: how detectors come to rest after a jump."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK

__all__ = ["dynamics_pictures"]

CONVERSIONS = 4
"""Of one look after a jump."""


def dynamics_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return the distance to where the detectors end, in time after each jump."""
    del rig
    if any(name not in data for name in ("jump_s", "jump_V", "jump_end_V")):
        return []
    distance = np.abs(data["jump_V"] - data["jump_end_V"][:, None, :]).max(axis=2)
    noise_V = _largest_noise(data)
    wait_s = float(np.asarray(fit.figures.get("settle.typical_s", np.nan)))

    def draw(axes: Any) -> None:
        for seconds, left in zip(data["jump_s"], distance, strict=True):
            known = np.isfinite(seconds) & np.isfinite(left)
            axes.loglog(1e3 * seconds[known], left[known], ".-", lw=0.7, ms=3)
        if noise_V is not None:
            axes.axhline(noise_V, ls=":", color=INK, label="noise of a look")
            axes.set_ylim(bottom=min(0.1 * noise_V, float(np.nanmin(distance))))
        if np.isfinite(wait_s):
            axes.axvline(1e3 * wait_s, ls="--", color=INK, label="recommended wait")
        if noise_V is not None or np.isfinite(wait_s):
            axes.legend()
        axes.set_xlabel("time after the jump [ms]")
        axes.set_ylabel("largest distance of a detector from its end [V]")

    caption = (
        "One line a jump. A rig that is at rest when it is read has its lines at the noise right "
        "of the dashed wait; lines still falling there want a longer `settle.typical_s`. Lines "
        "that begin at the noise came to rest before the first look."
    )
    return [Plot("Coming to rest", caption, draw)]


def _largest_noise(data: StepData) -> float | None:
    """Return the median of the largest noise of all detectors, V, in one look; None: not known."""
    if "drift_scatter_V" not in data:
        return None
    d = data["jump_V"].shape[2]
    one = float(np.nanmedian(data["drift_scatter_V"])) / np.sqrt(CONVERSIONS)
    # All d normal deviates are within x with probability (2 Phi(x) - 1)^d.
    return one * NormalDist().inv_cdf((1 + 0.5 ** (1 / d)) / 2) if one > 0 else None
