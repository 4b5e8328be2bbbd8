"""Picture of tomography: both directions of each bond against what was commanded."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.physics.reciprocity import TOLERATED
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK, PALETTE

__all__ = ["tomography_pictures"]


def tomography_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return J_ij and J_ji as measured less as commanded."""
    del data, rig
    if "coupling_commanded" not in fit.figures:
        return []
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
    return [Plot("Couplings in place", caption, draw), *_reciprocity(fit)]


def _reciprocity(fit: StepFit) -> list[Plot]:
    """Return the reciprocity index by couplings and by probe torques, beside what is tolerated."""
    words = {"reciprocity_index": "by couplings", "probed_index": "by probe torques"}
    found = {
        word: (float(fit.figures[name]), float(fit.uncertainties.get(name, np.nan)))
        for name, word in words.items()
        if name in fit.figures and np.isfinite(fit.figures[name])
    }
    if not found:
        return []
    each = np.asarray(fit.figures.get("probed_index_each", np.empty(0)), dtype=float).ravel()
    each = each[np.isfinite(each)]

    def draw(axes: Any) -> None:
        for at, (value, error) in enumerate(found.values()):
            bar = error if np.isfinite(error) else 0.0
            axes.errorbar(at, value, yerr=bar, fmt="o", ms=5, color=PALETTE["blue"])
        if len(each) and "by probe torques" in found:
            beside = np.full(len(each), len(found) - 0.9)
            axes.plot(beside, each, "_", color=INK, label="single equilibria")
        axes.axhline(TOLERATED, ls="--", color=PALETTE["vermillion"], label="told from here on")
        axes.axhline(0.0, lw=0.7, color=INK)
        axes.set_xlim(-0.5, len(found) - 0.3)
        axes.set_xticks(range(len(found)), list(found))
        axes.set_xlabel("how it was measured")
        axes.set_ylabel("reciprocity index")
        axes.legend()

    caption = (
        "0 is a network whose bonds act alike at both ends; plain nudges are off by twice the "
        "index. Both ways agree on a good rig, below the dashed line; above it gradients are wrong."
    )
    return [Plot("Reciprocity", caption, draw)]
