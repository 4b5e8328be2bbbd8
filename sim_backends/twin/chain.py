"""From what is commanded to volts, as the rig computes it: its figures, its steps, its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from eqp_hw.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.actuation.branches import Wanted, choose_phases
from eqp_hw.rig.actuation.drive import Drive, DriveMap
from eqp_hw.rig.actuation.heaters import HeaterModel
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .sources import Drives

__all__ = ["Chain"]


@final
class Chain:
    """Heaters of a rig with the sources that drive them, without the wire.

    The formulas are those of the drivers: branches are chosen near the ones held, the crosstalk
    that the calibration states is taken off, a channel is written where its voltage changes by
    more than half a step of its source, and rounded to whole steps.

    Parameters
    ----------
    rig
        Wiring and limits.
    known
        Its calibration.
    drives
        Steps and highest voltages of its sources.

    Raises
    ------
    LimitError
        The limits leave no room for couplings and fields that are all zero.
    """

    def __init__(self, rig: Rig, known: RigCalibration, drives: Drives) -> None:
        self._model = HeaterModel.of(known)
        self.map = DriveMap(rig, known)
        self._step_V = drives.step_V
        self._power_limit_W = self._model.powers_of_voltages(drives.highest_V)
        self._names = [str(channel) for channel in rig.wiring.heaters]
        owner = np.array([channel.instrument for channel in rig.wiring.heaters], dtype=object)
        self._totals = [
            (name, np.flatnonzero(owner == name), table.limits.total_power_W)
            for name, table in rig.settings.instruments.items()
            if table.limits.total_power_W is not None and (owner == name).any()
        ]
        n = len(owner)
        self._held = np.full(n, np.nan)
        self._sent_V = np.full(n, np.nan)
        self._choose(self.map.at_rest, None)

    def apply(self, drive: Drive) -> None:
        """Drive the heaters; refused whole where something is out of range.

        Raises
        ------
        ParameterError, CapabilityError
            A coupling or field beyond its channel.
        LimitError
            A phase or the sum of powers beyond a limit.
        """
        phases, power = self._choose(drive, self._held)
        voltage = self._model.voltages(power)
        kept = np.abs(voltage - self._sent_V) <= 0.5 * self._step_V
        self._held = phases
        self._sent_V = np.where(kept, self._sent_V, voltage)

    def _choose(self, drive: Drive, held: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        where = np.full(len(self._names), np.nan) if held is None else held
        wanted: Wanted = self.map.wanted(drive, where)
        phases, power = choose_phases(self._model, wanted, self._power_limit_W, held, self._names)
        for name, rows, most in self._totals:
            if most is not None and power[rows].sum() > most:
                raise LimitError(
                    "the heaters together need more power than the limit",
                    field=f"instruments.{name}.limits.total_power_W",
                    value=float(power[rows].sum()),
                    allowed=f"at most {most:g} W",
                )
        return phases, power

    @property
    def setpoint_V(self) -> FloatArray:
        """(n,) set-points, whole steps of the sources; NaN before the first write."""
        rounded: FloatArray = np.rint(self._sent_V / self._step_V) * self._step_V
        return rounded

    def phases(self, setpoint_V: FloatArray) -> FloatArray:
        """Return the (n,) phases that set-points make by the calibration's figures, rad."""
        return self._model.phases(self._model.powers_of_voltages(setpoint_V))

    def memory(self) -> dict[str, FloatArray]:
        """Return what the next write depends on."""
        return {"held": self._held.copy(), "sent_V": self._sent_V.copy()}

    def remember(self, memory: Mapping[str, FloatArray]) -> None:
        """Take up what `memory` returned."""
        self._held = np.array(memory["held"], dtype=np.float64)
        self._sent_V = np.array(memory["sent_V"], dtype=np.float64)
