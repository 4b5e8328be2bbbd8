"""Steps and highest drives of a rig's sources, from the rig file alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.rig.schema import InstrumentSettings

__all__ = ["Drives", "drives_of"]

_QONTROL = 12.0, 12.0 / (2**16 - 1)
_OPENDAC = 10.0, 10.0 / (2**15 - 1)
_SCPI = {"keysight": (20.0, 1), "rohde-schwarz": (32.0, 1), "keithley-tsp": (40.0, 2)}
_OTHER = 10.0, 2
"""Full scale in V, and how many times it the converter spans."""


@final
@dataclass(frozen=True, eq=False)
class Drives:
    """(n_heaters,) steps and highest voltages, V, in the order of `Wiring.heaters`."""

    step_V: FloatArray
    highest_V: FloatArray


def drives_of(rig: Rig, known: RigCalibration) -> Drives:
    """Return steps and highest voltages of all heaters.

    An instrument states its full scale only once it is connected; that of its kind, by its
    manual, is taken, or ``full_scale_V`` and ``bits`` of its table.
    """
    heaters = rig.wiring.heaters
    step, highest = np.empty(len(heaters)), np.empty(len(heaters))
    for row, channel in enumerate(heaters):
        table = rig.settings.instruments[channel.instrument]
        full, step[row] = _scale(table)
        limits, resistance = table.limits, float(known.resistance_ohm[row])
        most = [full]
        if limits.voltage_V is not None:
            most.append(limits.voltage_V)
        if limits.current_A is not None:
            most.append(limits.current_A * resistance)
        if limits.power_W is not None:
            most.append(float(np.sqrt(limits.power_W * resistance)))
        highest[row] = min(most) - step[row]
    return Drives(step, highest)


def _scale(table: InstrumentSettings) -> tuple[float, float]:
    """Return full scale and step of an instrument, V."""
    if table.kind in ("qontrol", "opendac"):
        return _QONTROL if table.kind == "qontrol" else _OPENDAC
    full, spans = _SCPI.get(str(table.options.get("dialect")), _OTHER)
    full = float(table.options.get("full_scale_V") or full)
    return full, spans * full / (2 ** int(table.options.get("bits", 16)) - 1)
