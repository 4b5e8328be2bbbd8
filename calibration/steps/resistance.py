"""Resistances: every heater at several voltages, its current read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from eqp_hw.calibration.fits.resistance import ResistanceFit, fit_resistances
from eqp_hw.calibration.pictures.resistance import resistance_pictures
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .drives import fitting

__all__ = ["ResistanceStep"]

_FROM_NOMINAL = 0.3
_WORTH_TELLING = 0.01


@final
class ResistanceStep(Step):
    """Voltage and current of all heaters at rising powers.

    Parameters
    ----------
    levels
        Voltages between none and the highest.
    half_waves
        Power of the highest, in nominal half-wave powers.
    repeats
        Read-backs of each.
    """

    name: ClassVar[str] = "resistance"
    description: ClassVar[str] = "resistances from voltage and current; open and stuck channels"

    def __init__(self, levels: int = 7, half_waves: float = 3.0, repeats: int = 4) -> None:
        self.levels, self.half_waves, self.repeats = levels, half_waves, repeats

    @override
    def measure(self, session: Session) -> StepData:
        top = np.minimum(
            self.half_waves * session.known.half_wave_power_W, 0.98 * session.highest_W
        )
        top = fitting(session, top)
        done = session.recorded()
        first = len(done["setpoint_V"]) if "setpoint_V" in done else 0
        for k in range(first, self.levels):
            session.progress(k, self.levels, "voltage and current")
            session.write_powers(top * (k / (self.levels - 1)) ** 2)
            session.settle()
            back = [session.read_back() for _ in range(self.repeats)]
            voltage = np.mean([one.voltage_V for one in back], axis=0)
            current = np.mean([one.current_A for one in back], axis=0)
            session.record("voltage_V", voltage, "V", "measured by the sources")
            session.record("current_A", current, "A", "measured by the sources")
            session.record("setpoint_V", session.setpoint_V, "V", "set-points as accepted")
        session.all_zero()
        return session.recorded()

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        fit = fit_resistances(
            data["setpoint_V"], data["voltage_V"], data["current_A"], known.resistance_ohm
        )
        return StepFit(
            figures={
                "resistance_ohm": fit.resistance_ohm,
                "resistance_slope_per_W": fit.slope_per_W,
                "open_heaters": fit.open,
                "stuck_heaters": fit.stuck,
            },
            uncertainties={
                "resistance_ohm": fit.error_ohm,
                "resistance_slope_per_W": fit.slope_error,
            },
            residuals={"current_A": fit.residual_A},
            findings=_findings(fit, data, known, rig),
            units={"resistance_slope_per_W": "1/W", "current_A": "A"},
        )

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        return resistance_pictures(data, fit, rig)


def _findings(fit: ResistanceFit, data: StepData, known: RigCalibration, rig: Rig) -> list[Finding]:
    found = []
    top_W = data["setpoint_V"].max(axis=0) ** 2 / known.resistance_ohm
    for row, channel in enumerate(rig.wiring.heaters):
        name = str(channel)
        if fit.stuck[row]:
            at = float(np.nanmedian(data["voltage_V"][:, row]))
            text = f"stuck: the output measures {at:.3f} V whatever is written"
            found.append(Finding("fault", name, text))
        elif fit.open[row]:
            text = "draws no current: dead heater, or an open cable"
            found.append(Finding("fault", name, text))
        elif fit.metered[row]:
            relative = fit.resistance_ohm[row] / known.resistance_ohm[row] - 1
            if abs(relative) > _FROM_NOMINAL:
                text = (
                    f"{fit.resistance_ohm[row]:.0f} ohm where {known.resistance_ohm[row]:.0f} ohm "
                    "are stated: another load, or a damaged heater"
                )
                found.append(Finding("warning", name, text))
            bend = abs(fit.slope_per_W[row]) * top_W[row] / 2
            if bend > _WORTH_TELLING:
                text = (
                    f"the resistance changes by {200 * bend:.1f} % up to {top_W[row]:.3g} W: "
                    "powers from V²/R are wrong by half of that"
                )
                found.append(Finding("warning", name, text))
    if not fit.metered.all():
        count = int((~fit.metered).sum())
        text = f"{count} channels have no current meter: their nominal resistance is kept"
        found.append(Finding("note", "resistance", text))
    return found
