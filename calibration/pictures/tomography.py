"""Picture of tomography: both directions of each bond against what was commanded."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK, PALETTE

__all__ = ["tomography_pictures"]


def tomography_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return J_ij and J_ji as measured less as commanded."""
    del data, rig
    commanded = np.asarray(fit.figures["coupling_commanded"])

    def draw(axes: Any) -> None:
        ways = (("coupling_forward", "J_ij", "blue"), ("coupling_reverse", "J_ji", "orange"))
        for name, label, colour in ways:
            axes.errorbar(
                commanded,
                1e3 * (fit.figures[name] - commanded),
                yerr=1e3 * fit.uncertainties[name],
                fmt=".",
                ms=4,
                lw=0.8,
                color=PALETTE[colour],
                label=label,
            )
        axes.axhline(0.0, lw=0.7, color=INK)
        axes.set_xlabel("coupling commanded")
        axes.set_ylabel("measured minus commanded [1e-3]")
        axes.legend()

    caption = (
        "Two thirds of the bars of a good rig cross zero. Pairs on opposite sides are bonds that "
        "are not reciprocal, points far below at large couplings are dead or exchanged ones."
    )
    return [Plot("Couplings in place", caption, draw)]
