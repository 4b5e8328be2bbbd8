"""What the limits of a rig file leave each heater, judged before anything is sent.

The drivers check every write again; here all channels of all instruments are judged together, so
that a refused request moves none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.drivers.errors import LimitError
from eqp_hw.drivers.instruments.interface import MultichannelSource
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import Rig

__all__ = ["ChannelLimits"]

_ROUNDING = 1e-9


@final
class ChannelLimits:
    """Limits of all heaters of a rig.

    Parameters
    ----------
    rig
        Its tables state limits, and loads (``resistance_ohm`` of an instrument).
    sources
        Connected.

    Attributes
    ----------
    owners
        Rows of heaters and their channel numbers, by instrument.
    resolution_V
        (n_heaters,).
    """

    def __init__(self, rig: Rig, sources: Mapping[str, MultichannelSource]) -> None:
        self._rig = rig
        self._sources = sources
        heaters = rig.wiring.heaters
        owner = np.array([channel.instrument for channel in heaters], dtype=object)
        number = np.array([channel.number for channel in heaters], dtype=np.int64)
        self.owners: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}
        self.resolution_V = np.empty(len(heaters))
        for name in dict.fromkeys(owner):
            rows = np.flatnonzero(owner == name)
            self.owners[name] = (rows, number[rows])
            self.resolution_V[rows] = sources[name].resolution_V

    def highest_V(self, resistance_ohm: FloatArray) -> FloatArray:
        """Return (n_heaters,) the most that each channel may be driven to, by its own limits.

        Powers and currents are those of the resistance known or of the one that the
        instrument's table states, whichever is reached first.
        """
        highest = np.empty(len(resistance_ohm))
        for name, (rows, _) in self.owners.items():
            limits = self._rig.settings.instruments[name].limits
            least = self._loads(name, resistance_ohm[rows])
            own = np.full(len(rows), self._sources[name].full_scale_V)
            if limits.voltage_V is not None:
                own = np.minimum(own, limits.voltage_V)
            if limits.current_A is not None:
                own = np.minimum(own, limits.current_A * least)
            if limits.power_W is not None:
                own = np.minimum(own, np.sqrt(limits.power_W * least))
            # A set-point is rounded: the last half step below the limit must stay below it.
            highest[rows] = own - self.resolution_V[rows]
        return highest

    def refuse(
        self,
        voltage_V: FloatArray,
        held_V: FloatArray,
        resistance_ohm: FloatArray,
        gain_V: float,
    ) -> None:
        """See that drives are within the limits of channels and instruments.

        Parameters
        ----------
        voltage_V
            (n_heaters,) NaN where a heater stays as it is.
        held_V
            (n_heaters,) what it holds.
        gain_V
            Drive of the gain switch.

        Raises
        ------
        LimitError
            They are not; names the first channel, or the instrument, and the limit.
        """
        highest = self.highest_V(resistance_ohm)
        slack = self.resolution_V * (1 + _ROUNDING)
        wrong = np.isinf(voltage_V) | (voltage_V < 0) | (voltage_V > highest + slack)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise LimitError(
                "beyond the limits of the channel",
                field=f"{self._rig.wiring.heaters[row]}.voltage_V",
                value=float(voltage_V[row]),
                allowed=f"0 to {highest[row]:.4g} V (instruments."
                f"{self._rig.wiring.heaters[row].instrument}.limits)",
            )
        after = np.where(np.isfinite(voltage_V), voltage_V, held_V)
        switch = self._rig.wiring.gain_switch
        for name, (rows, _) in self.owners.items():
            most = self._rig.settings.instruments[name].limits.total_power_W
            if most is None:
                continue
            total = float((after[rows] ** 2 / self._loads(name, resistance_ohm[rows])).sum())
            if switch is not None and switch.instrument == name:
                load = self._rig.settings.instruments[name].options.get("resistance_ohm")
                total += gain_V**2 / load if load else 0.0
            if total > most * (1 + _ROUNDING):
                raise LimitError(
                    "all channels together would need more power than the limit",
                    field=f"instruments.{name}.limits.total_power_W",
                    value=total,
                    allowed=f"at most {most:g} W",
                )

    def refuse_gain(self, off_V: float) -> None:
        """See that the gain switch's drive is within the limits of its source; LimitError."""
        switch = self._rig.wiring.gain_switch
        if switch is None:
            return
        name = switch.instrument
        table = self._rig.settings.instruments[name]
        load = table.options.get("resistance_ohm")
        most = [self._sources[name].full_scale_V]
        if table.limits.voltage_V is not None:
            most.append(table.limits.voltage_V)
        if load and table.limits.current_A is not None:
            most.append(table.limits.current_A * load)
        if load and table.limits.power_W is not None:
            most.append((table.limits.power_W * load) ** 0.5)
        if off_V > min(most):
            raise LimitError(
                f"{switch} switches the gain, and its drive is above the limits of {name}",
                field="wiring.gain_off_V",
                value=off_V,
                allowed=f"at most {min(most):.4g} V",
            )

    def _loads(self, name: str, resistance_ohm: FloatArray) -> FloatArray:
        stated = self._rig.settings.instruments[name].options.get("resistance_ohm")
        if stated is None:
            return resistance_ohm
        least: FloatArray = np.minimum(resistance_ohm, float(stated))
        return least
