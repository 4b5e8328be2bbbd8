"""An array of phase shifters over the channels of any voltage sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np

from eqp_hw.drivers.errors import LimitError, ProtocolError
from eqp_hw.drivers.instruments.interface import MultichannelSource
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.actuation.branches import Wanted, choose_phases
from eqp_hw.rig.actuation.heaters import HeaterModel
from eqp_hw.rig.load import Channel
from eqp_hw.rig.schema import LimitSettings

from .side_by_side import Retry, no_retry, side_by_side

__all__ = ["PhaseShifterArray", "Plan"]


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be written: checked, not yet sent.

    Attributes
    ----------
    phases
        (n,) chosen branches, rad.
    voltage_V
        (n,) drives.
    """

    phases: FloatArray
    voltage_V: FloatArray


@final
class PhaseShifterArray:
    """Phases of heaters, through powers, to voltages; only changed channels are written.

    Parameters
    ----------
    sources
        Connected sources by name in the rig file.
    channels
        (n,) one a heater.
    model
        Calibrated figures of the heaters.
    limits
        Of each source, from the rig file.
    """

    def __init__(
        self,
        sources: Mapping[str, MultichannelSource],
        channels: Sequence[Channel],
        model: HeaterModel,
        limits: Mapping[str, LimitSettings],
    ) -> None:
        self._sources = sources
        self._model = model
        self._limits = limits
        self._names = [str(channel) for channel in channels]
        number = np.array([channel.number for channel in channels], dtype=np.int64)
        owner = np.array([channel.instrument for channel in channels], dtype=object)
        self._rows: dict[str, IntArray] = {
            name: np.flatnonzero(owner == name) for name in dict.fromkeys(owner)
        }
        self._number: dict[str, IntArray] = {n: number[rows] for n, rows in self._rows.items()}
        self._step_V = np.empty(len(channels))
        self._highest_V = np.empty(len(channels))
        for name, rows in self._rows.items():
            self._refuse_missing(name)
            self._step_V[rows] = sources[name].resolution_V
            self._highest_V[rows] = self._highest(name, rows)
        self._held = np.full(len(channels), np.nan)
        self._wanted_V = np.full(len(channels), np.nan)
        self._sent_V = np.full(len(channels), np.nan)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def held(self) -> FloatArray:
        """(n,) phases chosen last, NaN before the first write; not rounded, not wrapped."""
        return self._held.copy()

    @property
    def phase_error(self) -> FloatArray:
        """(n,) the worst error that rounding to the sources' steps can cause, rad."""
        return self._model.phase_step(self._highest_V, self._step_V)

    @property
    def setpoint_V(self) -> FloatArray:
        """(n,) set-points that the sources accepted, NaN where unknown."""
        voltage = np.empty(len(self))
        for name, rows in self._rows.items():
            voltage[rows] = self._sources[name].setpoint_V[self._number[name]]
        return voltage

    @property
    def effective_phases(self) -> FloatArray:
        """(n,) phases that the accepted set-points make, rad, not wrapped."""
        return self._model.phases(self._model.powers_of_voltages(self.setpoint_V))

    def refuse_small_limits(self, span: FloatArray, at_rest: Wanted) -> dict[str, float]:
        """See that the limits leave room for what will be wanted; sends nothing.

        Parameters
        ----------
        span
            (n,) range of phase that each heater needs, rad, beside its neighbours' heat.
        at_rest
            The least that is wanted of all heaters together.

        Returns
        -------
        Power that each source gives at rest, W.

        Raises
        ------
        LimitError
            They do not; names the limit that is too small.
        """
        model = self._model
        heated = np.abs(model.crosstalk - np.diag(np.diag(model.crosstalk))).sum(axis=1)
        needed_W = span / model.phase_per_power * (1.0 + heated)
        short = np.flatnonzero(model.powers_of_voltages(self._highest_V) < needed_W)
        if len(short):
            raise self._too_small(int(short[0]), float(needed_W[short[0]]), span)
        power_limit = model.powers_of_voltages(self._highest_V)
        _, power = choose_phases(model, at_rest, power_limit, None, self._names)
        resting_W = {name: float(power[rows].sum()) for name, rows in self._rows.items()}
        for name, least in resting_W.items():
            most = self._limits[name].total_power_W
            if most is not None and least > most:
                raise LimitError(
                    "couplings and fields that are all zero need more already",
                    field=f"instruments.{name}.limits.total_power_W",
                    value=most,
                    allowed=f"at least {_rounded_up(least)} W",
                )
        return resting_W

    def _too_small(self, row: int, needed_W: float, span: FloatArray) -> LimitError:
        name = self._names[row].partition(":")[0]
        limits, resistance = self._limits[name], float(self._model.resistance_ohm[row])
        needed_V = float(np.sqrt(needed_W * resistance) + self._step_V[row])
        candidates = {
            "voltage_V": (limits.voltage_V, needed_V, "V"),
            "current_A": (limits.current_A, needed_V / resistance, "A"),
            "power_W": (limits.power_W, needed_V**2 / resistance, "W"),
        }
        turns = f"{span[row] / np.pi:.0f} pi of phase beside its neighbours' heat"
        for key, (limit, least, unit) in candidates.items():
            if limit is not None and limit < least:
                return LimitError(
                    f"leaves {self._names[row]} less than {turns}",
                    field=f"instruments.{name}.limits.{key}",
                    value=limit,
                    allowed=f"at least {_rounded_up(least)} {unit}",
                )
        return LimitError(
            f"{self._names[row]} needs {needed_V:.4g} V for {turns}",
            field=f"instruments.{name}",
            value=f"{self._sources[name].full_scale_V:g} V full scale",
            allowed="an instrument that drives more, or heaters of less resistance or half-wave "
            "power (calibration)",
        )

    def plan(self, wanted: Wanted, *, forget: bool = False) -> Plan:
        """Choose branches and voltages for all heaters; sends nothing.

        Parameters
        ----------
        wanted
            (n,) all heaters, "do not care" where they shall stay.
        forget
            Choose branches afresh instead of staying near the present ones.

        Raises
        ------
        LimitError
            Some phase cannot be reached within the limits.
        """
        power_limit = self._model.powers_of_voltages(self._highest_V)
        held = None if forget else self._held
        phases, power = choose_phases(self._model, wanted, power_limit, held, self._names)
        for name, rows in self._rows.items():
            most = self._limits[name].total_power_W
            if most is not None and power[rows].sum() > most:
                raise LimitError(
                    "the heaters together need more power than the limit",
                    field=f"instruments.{name}.limits.total_power_W",
                    value=float(power[rows].sum()),
                    allowed=f"at most {most:g} W",
                )
        return Plan(phases, self._model.voltages(power))

    def write(self, plan: Plan, retry: Retry = no_retry) -> FloatArray:
        """Send what has changed, different instruments side by side; return effective phases.

        Raises
        ------
        InstrumentError
            Something was not accepted; set-points of that instrument may be unknown.
        """
        self._held = plan.phases.copy()
        self._wanted_V = plan.voltage_V.copy()
        self._write_changed(retry)
        return self.effective_phases

    def forget(self) -> None:
        """Say that the outputs are no longer those that were written: start afresh."""
        self._held[:] = np.nan
        self._wanted_V[:] = np.nan
        self._sent_V[:] = np.nan

    def rewrite(self, retry: Retry = no_retry) -> None:
        """Write again what the sources do not hold (any more)."""
        if np.isfinite(self._wanted_V).all():
            self._write_changed(retry)

    def _write_changed(self, retry: Retry) -> None:
        stale = self._stale()
        jobs = {
            name: partial(retry, name, partial(self._send, name))
            for name, rows in self._rows.items()
            if stale[rows].any()
        }
        side_by_side(jobs)
        still = np.flatnonzero(self._stale())
        if len(still):
            first = int(still[0])
            raise ProtocolError(
                f"{self._names[first]} holds {self.setpoint_V[first]:.5f} V where "
                f"{self._wanted_V[first]:.5f} V was written",
                instrument=self._names[first].partition(":")[0],
                advice="is another program writing to this instrument?",
            )

    def _stale(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Tell which channels do not hold what is wanted; NaN counts as not held.

        Some converters round down and say so: what they hold may be a whole step off what was
        asked, and asking again would not help.
        """
        changed = np.abs(self._wanted_V - self._sent_V) > 0.5 * self._step_V
        held = np.abs(self.setpoint_V - self._sent_V) <= 1.5 * self._step_V
        return np.asarray(changed | ~held)

    def _send(self, name: str) -> None:
        inside = self._stale()[self._rows[name]]
        rows = self._rows[name][inside]
        self._sent_V[rows] = np.nan
        self._sources[name].write_voltages(self._number[name][inside], self._wanted_V[rows])
        self._sent_V[rows] = self._wanted_V[rows]

    def _highest(self, name: str, rows: IntArray) -> FloatArray:
        limits, resistance = self._limits[name], self._model.resistance_ohm[rows]
        highest = np.full(len(rows), self._sources[name].full_scale_V)
        if limits.voltage_V is not None:
            highest = np.minimum(highest, limits.voltage_V)
        if limits.current_A is not None:
            highest = np.minimum(highest, limits.current_A * resistance)
        if limits.power_W is not None:
            highest = np.minimum(highest, np.sqrt(limits.power_W * resistance))
        # A set-point is rounded: the last half step below the limit must stay below it.
        return highest - self._step_V[rows]

    def _refuse_missing(self, name: str) -> None:
        most, source = int(self._number[name].max()), self._sources[name]
        if most >= source.n_channels:
            raise LimitError(
                f"the instrument has {source.n_channels} channels",
                field="wiring",
                value=f"{name}:{most}",
                allowed=f"{name}:0 to {name}:{source.n_channels - 1}",
            )


def _rounded_up(value: float) -> str:
    """Return a number to be shown that does as well as ``value``."""
    return f"{np.ceil(1e4 * value) / 1e4:g}"
