"""Settled is what no longer moves, not what has waited long enough."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.rig.schema import SettleSettings

__all__ = ["Settled", "StabilityRule", "rule_of", "wait_until_stable"]

NOISE_FACTOR = 5 * np.sqrt(2)
"""Two reads of one phase differ by √2 σ; the largest of many nodes by several times that."""


@final
@dataclass(frozen=True, eq=False)
class Settled:
    """How a wait ended.

    Attributes
    ----------
    stable
        Whether the last looks agreed.
    phases
        (n,) the last look.
    looks
        How many there were.
    duration_s
        Wall time.
    last_change
        Largest change between the last two looks, rad.
    """

    stable: bool
    phases: FloatArray
    looks: int
    duration_s: float
    last_change: float


@final
@dataclass(frozen=True)
class StabilityRule:
    """When successive looks count as agreeing.

    Attributes
    ----------
    tolerance
        Largest change that may still be to come, rad.
    noise
        Standard deviation of one look, rad.
    resolution
        Smallest step of one look, rad.
    agreeing
        Successive looks that must agree, each one with the last.
    """

    tolerance: float
    noise: float
    resolution: float
    agreeing: int

    @property
    def floor(self) -> float:
        """Largest change that noise alone explains, rad."""
        return float(NOISE_FACTOR * self.noise + self.resolution + 1e-9)

    def holds(self, changes: list[float], span: float) -> bool:
        """Tell whether the last looks agree.

        Parameters
        ----------
        changes
            Largest changes between successive looks so far, rad.
        span
            Largest change between the last look and any of the last ``agreeing`` ones, rad:
            what creeps below the noise from look to look shows over several.

        Notes
        -----
        A change beyond the noise is followed up: of an exponential approach, d·r/(1 − r) is
        still to come after changes of ratio r, and that must be within the tolerance. So a slow
        drift cannot pass as settled because the looks came fast.
        """
        needed = self.agreeing - 1
        if len(changes) < needed or span > self.tolerance + self.floor:
            return False
        last = changes[-1]
        before = changes[-2] if len(changes) > 1 else 0.0
        if last <= self.floor:
            # Once a move was seen, one look that shows none may be a turning point.
            return before <= self.floor
        if last >= before:
            return False
        return last * last / (before - last) <= self.tolerance


def wait_until_stable(
    look: Callable[[], FloatArray],
    rule: StabilityRule,
    timeout_s: float,
    now: Callable[[], float] = time.monotonic,
    *,
    least_s: float = 0.0,
) -> Settled:
    """Look until successive looks agree, or ``timeout_s`` has passed.

    Parameters
    ----------
    look
        Reads (n,) phases.
    rule
        What counts as agreeing.
    least_s
        Looks before count for nothing: what moves by less than the noise from one to the next
        shows in none of them.
    """
    started = now()
    recent = deque([look()], maxlen=rule.agreeing)
    changes: list[float] = []
    while True:
        recent.append(look())
        last = recent[-1]
        apart = [float(np.abs(wrap(last - one)).max(initial=0.0)) for one in list(recent)[:-1]]
        changes.append(apart[-1])
        waited = now() - started
        stable = waited >= least_s and rule.holds(changes, max(apart))
        if stable or waited > timeout_s:
            return Settled(stable, last, len(changes) + 1, waited, changes[-1])


def rule_of(settings: SettleSettings, noise: float, bits: int | None) -> StabilityRule:
    """Return the rule of a rig file's ``[settle]`` for a read-out of that noise and bits."""
    resolution = 0.0 if bits is None else 2 * np.pi / 2**bits
    return StabilityRule(settings.tolerance, noise, resolution, settings.agreeing)
