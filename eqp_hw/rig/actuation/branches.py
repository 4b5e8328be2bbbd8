"""Which of the many equivalent phases each heater is driven to.

A phase shifter gives the same physics at θ and θ + 2π, a coupler J = J_max cos θ also at −θ, an
injection amplitude A sin(θ/2) also at 2π − θ. A heater can only heat: P ≥ 0, and P stays below a
limit. The choice is made for all heaters together, since each one's heat reaches its neighbours
(X P = …), and keeps every heater close to the phase it holds, so that a small change of what is
wanted is a small change of power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import LimitError
from eqp_hw.network.graph import FloatArray

from .heaters import HeaterModel

__all__ = ["Wanted", "choose_phases"]

_BoolArray = npt.NDArray[np.bool_]

MARGIN = 0.15 * np.pi
"""Distance above zero power, rad, of a branch chosen afresh; a held one may come closer."""


@final
@dataclass(frozen=True, eq=False)
class Wanted:
    """Equivalent phases of n heaters: ``base[:, f] + period·k`` for all families f and whole k.

    Attributes
    ----------
    base
        (n, n_families) rad; NaN for a family that does not exist. All NaN: do not care, the
        heater stays where it is.
    period
        (n,) rad.
    """

    base: FloatArray
    period: FloatArray

    @classmethod
    def phases(cls, phases: FloatArray) -> Wanted:
        """Plain phases, equivalent modulo 2π; NaN: do not care."""
        none = np.full(len(phases), np.nan)
        return cls(np.stack([phases, none], axis=1), np.full(len(phases), 2 * np.pi))

    @classmethod
    def join(cls, parts: list[Wanted]) -> Wanted:
        """Return the heaters of all parts, one after the other."""
        return cls(
            np.concatenate([part.base for part in parts]),
            np.concatenate([part.period for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.period)

    @property
    def free(self) -> _BoolArray:
        """(n,) heaters of which nothing is wanted."""
        return np.asarray(np.isnan(self.base).all(axis=1))

    def nearest(self, phases: FloatArray) -> FloatArray:
        """Return (n,) the equivalent phases closest to ``phases``."""
        period = self.period[:, None]
        turns = np.round((phases[:, None] - self.base) / period)
        return self._closest(self.base + period * turns, phases)

    def at_least(self, phases: FloatArray, *, above: bool = False) -> FloatArray:
        """Return (n,) the lowest equivalent phases ≥ ``phases``, or > with ``above``."""
        period = self.period[:, None]
        slack = 1e-9 if above else -1e-9
        turns = np.ceil((phases[:, None] + slack - self.base) / period)
        return self._closest(self.base + period * turns, phases)

    def below(self, phases: FloatArray) -> FloatArray:
        """Return (n,) the highest equivalent phases < ``phases``."""
        mirrored = Wanted(-self.base, self.period)
        return -mirrored.at_least(-phases, above=True)

    def _closest(self, candidates: FloatArray, phases: FloatArray) -> FloatArray:
        distance = np.where(np.isnan(candidates), np.inf, np.abs(candidates - phases[:, None]))
        chosen = candidates[np.arange(len(candidates)), distance.argmin(axis=1)]
        kept: FloatArray = np.where(self.free, phases, chosen)
        return kept


def choose_phases(
    model: HeaterModel,
    wanted: Wanted,
    power_limit_W: FloatArray,
    held: FloatArray | None = None,
    names: list[str] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Choose a branch for every heater.

    Parameters
    ----------
    model, wanted
        n heaters.
    power_limit_W
        (n,) largest powers.
    held
        (n,) phases chosen last time, NaN where there is none. A heater of which nothing is
        wanted stays there as far as its neighbours' heat allows.
    names
        Of the channels, for messages.

    Returns
    -------
    (n,) phases, equivalent to those wanted, and (n,) powers that give them, 0 ≤ P ≤ limit.

    Raises
    ------
    LimitError
        Some heater has no branch within its limit; nothing is clipped.
    """
    phases = _start(model, wanted, held)
    raised = np.zeros(len(wanted), dtype=bool)
    lowered = np.zeros(len(wanted), dtype=bool)
    rounding = 1e-9 * model.half_wave_power_W
    while True:
        power = model.powers(phases)
        low, high = power < -rounding, power > power_limit_W + rounding
        if not (low.any() or high.any()):
            return phases, np.clip(power, 0.0, power_limit_W)  # rounding errors only
        # Raising a heater heats its neighbours, which then need less: low ones stay low. So
        # all are raised together, and one that had to be lowered before has no branch at all.
        raised |= low
        lowered |= high
        stuck = np.flatnonzero(raised & lowered)
        if len(stuck):
            raise _no_branch(int(stuck[0]), wanted, power, power_limit_W, names)
        phases = np.where(low, wanted.at_least(phases, above=True), phases)
        phases = np.where(high, wanted.below(phases), phases)
        # Where nothing is wanted the power gives way: to its neighbours' heat, or its limit.
        idle = wanted.free & (low | high)
        missing = np.clip(power, 0.0, power_limit_W) - power
        phases = np.where(idle, phases + model.phase_per_power * missing, phases)


def _start(model: HeaterModel, wanted: Wanted, held: FloatArray | None) -> FloatArray:
    known = np.zeros(len(wanted), dtype=bool) if held is None else np.isfinite(held)
    if held is not None and known.all():
        return wanted.nearest(held)
    lowest = model.phase_offset + MARGIN + np.maximum(model.neighbours_phase, 0.0)
    fresh = wanted.at_least(lowest)
    if held is None:
        return fresh
    kept: FloatArray = np.where(known, wanted.nearest(np.where(known, held, 0.0)), fresh)
    return kept


def _no_branch(
    index: int,
    wanted: Wanted,
    power: FloatArray,
    limit: FloatArray,
    names: list[str] | None,
) -> LimitError:
    name = names[index] if names else f"heater {index}"
    return LimitError(
        f"no equivalent phase of {name} lies between zero power and its limit",
        field=f"{name}.power_W",
        value=float(power[index]),
        allowed=f"0 to {limit[index]:.4g} W; the limits in the rig file must leave room for "
        f"{wanted.period[index] / np.pi:.0f} pi of phase beside the neighbours' heat",
    )
