"""Faults of a wire on demand: which, how often, and where in the conversation.

A transaction is one portion of bytes that a client sent, normally one request. A plan either
draws a fault for each transaction with given probabilities, or names transactions one by one.
All draws come from the plan's seed and the wire's name, so that a run of faults is repeatable.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import numpy as np

from eqp_hw.errors import ConfigurationError
from eqp_hw.randomness import RandomStreams

__all__ = ["REPLY_FAULTS", "FaultInjector", "FaultKind", "FaultPlan", "FaultTiming", "Scheduled"]


class FaultKind(enum.StrEnum):
    """What can go wrong on a wire."""

    DELAY = "delay"
    """The reply comes late (real time)."""
    LOSS = "loss"
    """The reply never comes."""
    SPLIT = "split"
    """The reply comes in two parts with a pause between."""
    GARBLE = "garble"
    """Some bytes of the reply are changed."""
    DUPLICATE = "duplicate"
    """The reply comes twice."""
    STALE = "stale"
    """The reply is held back and comes just before the next one."""
    SLOW_DRAIN = "slow-drain"
    """The reply trickles; the instrument takes no bytes meanwhile."""
    LOST_REQUEST = "lost-request"
    """The request never reaches the instrument."""
    GARBLED_REQUEST = "garbled-request"
    """Some bytes of the request are changed on their way to the instrument."""
    POWER_CYCLE = "power-cycle"
    """The instrument restarts before it sees the request: all state lost, outputs at zero."""
    UNPLUG = "unplug"
    """The cable is pulled before the instrument sees the request, and put back later."""


REPLY_FAULTS = frozenset(
    {
        FaultKind.DELAY,
        FaultKind.LOSS,
        FaultKind.SPLIT,
        FaultKind.GARBLE,
        FaultKind.DUPLICATE,
        FaultKind.STALE,
        FaultKind.SLOW_DRAIN,
    }
)
"""Faults that need a reply: where a request has none they wait for the next reply."""


@final
@dataclass(frozen=True)
class FaultTiming:
    """Figures of the faults; times are real, since a client's deadlines are.

    Attributes
    ----------
    delay_s
        Of a delayed reply.
    pause_s
        Between the parts of a split reply.
    trickle_s, trickle_bytes
        Pause after each so many bytes of a slow reply.
    unplugged_s
        Until the cable is back.
    garble_bytes
        Largest number of bytes changed.
    garble_mask
        Bits that are flipped in a changed byte; 0 flips random ones. 0x80 makes bytes that
        no text protocol can mistake for another.
    """

    delay_s: float = 0.1
    pause_s: float = 0.01
    trickle_s: float = 0.005
    trickle_bytes: int = 4
    unplugged_s: float = 0.2
    garble_bytes: int = 2
    garble_mask: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0 or (name.endswith("_bytes") and value < 1):
                raise ConfigurationError("not a size", field=f"faults.timing.{name}", value=value)


@final
@dataclass(frozen=True)
class Scheduled:
    """A fault of one transaction of one wire; ``transaction`` counts from 0."""

    instrument: str
    transaction: int
    kind: FaultKind


@final
@dataclass(frozen=True)
class FaultPlan:
    """Faults of all wires.

    Attributes
    ----------
    probabilities
        Of each kind, per transaction; their sum is at most 1.
    instruments
        Wires that are drawn for; empty for all.
    schedule
        Explicit faults, beside the drawn ones.
    most
        Largest number of drawn faults a wire; None for no limit.
    seed, timing
        See the module and `FaultTiming`.
    """

    probabilities: Mapping[FaultKind, float] = field(default_factory=dict)
    instruments: tuple[str, ...] = ()
    schedule: tuple[Scheduled, ...] = ()
    most: int | None = None
    seed: int = 0
    timing: FaultTiming = FaultTiming()

    def __post_init__(self) -> None:
        values = list(self.probabilities.values())
        if any(not value >= 0 for value in values) or sum(values) > 1:
            raise ConfigurationError(
                "not probabilities of exclusive events",
                field="faults.probabilities",
                value=dict(self.probabilities),
                allowed="0 or more each, at most 1 together",
            )
        object.__setattr__(self, "probabilities", MappingProxyType(dict(self.probabilities)))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FaultPlan:
        """Read a plan as `to_json` writes it; keys may be left out.

        Raises
        ------
        ConfigurationError
            An unknown key or kind, or a value of the wrong type.
        """
        try:
            known = dict(content)
            chances = {FaultKind(k): float(v) for k, v in known.pop("probabilities", {}).items()}
            schedule = tuple(
                Scheduled(str(name), int(number), FaultKind(kind))
                for name, number, kind in known.pop("schedule", [])
            )
            timing = FaultTiming(**known.pop("timing", {}))
            instruments = tuple(known.pop("instruments", ()))
            return cls(chances, instruments, schedule, timing=timing, **known)
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"not a plan of faults ({error})",
                field="faults",
                value=dict(content),
                allowed=f"probabilities of {', '.join(FaultKind)}; instruments, schedule, most, "
                "seed, timing",
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return nested lists and mappings that `from_json` reads."""
        return {
            "probabilities": {kind.value: value for kind, value in self.probabilities.items()},
            "instruments": list(self.instruments),
            "schedule": [[s.instrument, s.transaction, s.kind.value] for s in self.schedule],
            "most": self.most,
            "seed": self.seed,
            "timing": dict(vars(self.timing)),
        }


@final
class FaultInjector:
    """Decides for one wire, and counts what was really injected."""

    def __init__(self, instrument: str, plan: FaultPlan | None = None) -> None:
        self._instrument = instrument
        self._plan = FaultPlan()
        self._drawn = 0
        self.transactions = 0
        self.counts: Counter[FaultKind] = Counter()
        self.use(FaultPlan() if plan is None else plan)

    def use(self, plan: FaultPlan) -> None:
        """Follow another plan from now on; its schedule counts from the wire's start."""
        self._plan = plan
        self._drawn = 0
        self.rng = RandomStreams(plan.seed).generator(f"faults of {self._instrument}")
        chosen = not plan.instruments or self._instrument in plan.instruments
        self._chances = dict(plan.probabilities) if chosen else {}
        self._schedule = {
            item.transaction: item.kind
            for item in plan.schedule
            if item.instrument == self._instrument
        }

    @property
    def timing(self) -> FaultTiming:
        """Figures of the faults."""
        return self._plan.timing

    def next(self) -> FaultKind | None:
        """Return the fault of the transaction that begins now, if any."""
        number = self.transactions
        self.transactions += 1
        if number in self._schedule:
            return self._schedule[number]
        if not self._chances or (self._plan.most is not None and self._drawn >= self._plan.most):
            return None
        draw = self.rng.random()
        for kind, chance in self._chances.items():
            draw -= chance
            if draw < 0:
                self._drawn += 1
                return kind
        return None

    def count(self, kind: FaultKind) -> None:
        """Say that a fault took place."""
        self.counts[kind] += 1

    def garble(self, data: bytes) -> bytes:
        """Return ``data`` with 1 to `FaultTiming.garble_bytes` bytes changed."""
        changed = bytearray(data)
        if not changed:
            return data
        most = min(self.timing.garble_bytes, len(changed))
        places = self.rng.choice(len(changed), size=self.rng.integers(1, most + 1), replace=False)
        for place in np.sort(places).tolist():
            mask = self.timing.garble_mask & 0xFF or int(self.rng.integers(1, 256))
            changed[place] ^= mask
        return bytes(changed)
