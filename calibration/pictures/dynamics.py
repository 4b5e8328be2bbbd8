"""Picture of the dynamics: how detectors come to rest after a jump."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK

__all__ = ["dynamics_pictures"]


def dynamics_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return the distance to where the detectors end, in time after each jump."""
    del rig
    if any(name not in data for name in ("jump_s", "jump_V", "jump_end_V")):
        return []
    distance = np.abs(data["jump_V"] - data["jump_end_V"][:, None, :]).max(axis=2)
    wait_s = float(np.asarray(fit.figures.get("settle.typical_s", np.nan)))

    def draw(axes: Any) -> None:
        for seconds, left in zip(data["jump_s"], distance, strict=True):
            known = np.isfinite(seconds) & np.isfinite(left)
            axes.semilogy(1e3 * seconds[known], left[known], ".-", lw=0.7, ms=3)
        if np.isfinite(wait_s):
            axes.axvline(1e3 * wait_s, ls="--", color=INK, label="recommended wait")
            axes.legend()
        axes.set_xlabel("time after the jump [ms]")
        axes.set_ylabel("largest distance of a detector from its end [V]")

    caption = (
        "One line a jump. Straight falls to the noise left of the dashed line are a rig at rest "
        "when it is read; lines still falling there want a longer `settle.typical_s`."
    )
    return [Plot("Coming to rest", caption, draw)]
