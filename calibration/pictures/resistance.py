"""Picture of the resistances: how far each heater is from its data sheet, and which are broken."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.calibration.step import Plot, StepData, StepFit
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Rig
from eqp_hw.views.plots.canvas import INK, PALETTE, whole_ticks

__all__ = ["resistance_pictures"]


def resistance_pictures(data: StepData, fit: StepFit, rig: Rig) -> list[Plot]:
    """Return resistances from nominal, in per cent; open and stuck channels marked at zero."""
    del data
    if "resistance_ohm" not in fit.figures:
        return []
    found, nominal = fit.figures["resistance_ohm"], nominal_calibration(rig).resistance_ohm
    away = 100 * (found / nominal - 1)
    error = 100 * fit.uncertainties.get("resistance_ohm", np.zeros_like(found)) / nominal
    lost = ~np.isfinite(found)
    none = np.zeros(len(found), dtype=bool)
    open_, stuck = (
        np.asarray(fit.figures.get(name, none), dtype=bool)
        for name in ("open_heaters", "stuck_heaters")
    )
    marks = (
        ("open", "x", "vermillion", open_),
        ("stuck", "s", "purple", stuck),
        ("no meter", "+", "sky", lost & ~open_ & ~stuck),
    )

    def draw(axes: Any) -> None:
        known = np.flatnonzero(~lost)
        bars = np.where(np.isfinite(error), error, 0.0)
        axes.errorbar(known, away[known], yerr=bars[known], fmt=".", ms=4, lw=0.8)
        axes.axhline(0.0, lw=0.7, color=INK)
        for word, marker, colour, which in marks:
            rows = np.flatnonzero(which)
            if len(rows):
                at = np.zeros(len(rows))
                axes.plot(rows, at, marker, ls="", color=PALETTE[colour], label=word)
        if open_.any() or stuck.any() or lost.any():
            axes.legend()
        axes.set_xlim(-1, len(found))
        axes.set_xlabel("heater, in the order of the rig file")
        axes.set_ylabel("resistance from nominal [%]")
        whole_ticks(axes.xaxis)

    caption = (
        "How far the heaters are from their data sheet, bars of one standard error. A cloud is the "
        "spread of production; a point far outside it is another load or a damaged heater."
    )
    if not (open_.any() or stuck.any()):
        caption += " No channel is open or stuck."
    return [Plot("Resistances", caption, draw)]
