"""The decision table: from figures and capabilities to a `NudgePlan`, with one sentence why.

`TABLE` is read from the top. The first row that applies, and of which the substrate serves a
candidate, decides; among its candidates the least predicted error does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.learning.estimators import AUTO, Alternative, LinearContrast, make_estimator
from eqp_hw.learning.nudge_plan import NudgePlan

from .beta import best_beta, nudge_limit, predicted_errors, typical_response
from .figures import Figures
from .nudges import AllowedNudges

__all__ = ["CONFIDENCE", "TABLE", "Candidate", "Demands", "Row", "decide"]

CONFIDENCE = 300.0
"""κ: reads of a state are repeated until N ≥ 2·(κσ/|Δφ|)², as far as the budget goes; the noise
of a difference of two states is then a third of a per cent of the largest shift. (Most nodes
turn ten times less than that one.)"""

_PAYS = 0.9
"""A higher order must promise an error this much lower: its prediction is less certain."""
_ATTENUATION, _ATTENUATION_MOST = 0.1, 0.01
"""Attenuation by noise is corrected from this share of the predicted error, and from 1 % in any
case: unlike noise it does not average out over samples and steps."""


@final
@dataclass(frozen=True)
class Demands:
    """What was asked for by hand, and the limits of the choice.

    Attributes
    ----------
    kind, options
        An estimator, or "auto".
    beta, repeats
        A number, or None for automatic.
    interleave, attenuation
        True asks for it in any case.
    displacement
        Largest phase shift to aim at, rad.
    read_budget
        Reads of a sample for all states of an estimate together.
    """

    kind: str = AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    beta: float | None = None
    repeats: int | None = None
    interleave: bool = False
    attenuation: bool = False
    displacement: float = 0.15
    read_budget: int = 16


@final
@dataclass(frozen=True)
class Candidate:
    """An estimator to consider.

    Attributes
    ----------
    kind, options
        As of `make_estimator`.
    like
        The contrast with the same bias and noise, where the estimator is none itself.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    like: LinearContrast | None = None

    @property
    def label(self) -> str:
        """Name with its options."""
        return "-".join([self.kind, *(str(value) for value in self.options.values())])

    def served_by(self, capabilities: Capabilities) -> bool:
        """Return whether the substrate offers what it needs."""
        needs = make_estimator(self.kind, self.options).requirements
        return not needs.missing(capabilities)


@final
@dataclass(frozen=True)
class _Offer:
    """A candidate with its best settings."""

    candidate: Candidate
    beta: float
    repeats: int
    error: float


@final
@dataclass(frozen=True, eq=False)
class _Case:
    """Everything that the table may look at."""

    figures: Figures
    capabilities: Capabilities
    demands: Demands

    def offers(self, candidates: tuple[Candidate, ...]) -> list[_Offer]:
        """Return what can be served, the least predicted error first."""
        served = [c for c in candidates if c.served_by(self.capabilities)]
        offers = [offer for c in served if (offer := self._offer(c)) is not None]
        return sorted(offers, key=lambda offer: offer.error)

    def _offer(self, candidate: Candidate) -> _Offer | None:
        figures, demands = self.figures, self.demands
        estimator = make_estimator(candidate.kind, candidate.options)
        contrast = candidate.like
        if contrast is None and isinstance(estimator, LinearContrast):
            contrast = estimator
        allowed = AllowedNudges(self.capabilities, estimator.requirements.amplitudes)
        if contrast is None or np.iscomplexobj(contrast.contrast(1, _RNG).factors):
            contrast = _NEUTRAL
        recipe = contrast.contrast(1, _RNG)
        states = len(recipe.factors) + int(recipe.free_weight.any())
        reads = self._reads(states)
        if reads is None:
            return None
        if demands.beta is not None:
            amplitude = np.median(figures.amplitude, keepdims=True)
            betas = allowed.nearest(np.array([demands.beta]), amplitude)
            error = float(predicted_errors(contrast, figures, betas, reads)[0])
            return _Offer(candidate, demands.beta, reads, error)
        beta, error = best_beta(contrast, figures, allowed, demands.displacement, reads)
        return _Offer(candidate, beta, reads, error)

    def _reads(self, states: int) -> int | None:
        """Return the reads of each of so many states, None if the budget has not one each."""
        demands, noise = self.demands, self.figures.noise
        if demands.repeats is not None:
            fits = states * demands.repeats <= demands.read_budget or demands.kind != AUTO
            return demands.repeats if fits or states <= _FEWEST else None
        affordable = demands.read_budget // states
        if not affordable:
            return None if demands.kind == AUTO and states > _FEWEST else 1
        wanted = math.ceil(2 * (CONFIDENCE * noise.single / demands.displacement) ** 2)
        # Two reads at least, from which their own standard error follows.
        reads = max(1, min(max(wanted, 2 if noise.single else 1), affordable))
        if self.interleaved and reads > 1:
            reads -= reads % 2  # as many on the way back as on the way there
        return reads

    @property
    def interleaved(self) -> bool:
        """Whether to measure to and fro."""
        return self.demands.interleave or self.figures.noise.drift > 0


_RNG = np.random.default_rng(0)
"""For the shape of a contrast alone; nothing random is taken from it."""
_NEUTRAL = Alternative()
"""Two states, order β²: what is assumed of an estimator that is no weighted sum of states."""
_FEWEST = 2


@final
@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    condition
        In words.
    holds
        The same as a function.
    candidates
        Estimators to choose among.
    because
        Goes into the sentence.
    """

    condition: str
    holds: Callable[[_Case], bool]
    candidates: tuple[Candidate, ...]
    because: str


_SECOND = (Candidate("centred"), Candidate("alternative"))
_HIGHER = (
    Candidate("richardson"),
    Candidate("chebyshev", {"nodes": 4}),
    Candidate("chebyshev", {"nodes": 6}),
    Candidate("chebyshev", {"nodes": 8}),
)
_FIRST = (Candidate("one-sided"), Candidate("random-sign"))


def _higher_order_pays(case: _Case) -> bool:
    second, higher = case.offers(_SECOND), case.offers(_HIGHER)
    return bool(higher) and (not second or higher[0].error < _PAYS * second[0].error)


TABLE: tuple[Row, ...] = (
    Row(
        "directed network, J programmable both ways and fast, nudges at hidden nodes",
        lambda case: case.figures.directed,
        (Candidate("transposed", like=_NEUTRAL),),
        "couplings are directed, so that only nudges of the transposed network give the gradient",
    ),
    Row(
        "directed network otherwise",
        lambda case: case.figures.directed,
        (Candidate("asymmetric", like=_NEUTRAL), *_SECOND, *_FIRST),
        "couplings are directed and the substrate cannot nudge the transposed network",
    ),
    Row(
        "no nudge away from the target, or no way back to a stored free state",
        lambda case: not (case.capabilities.signed_nudge and case.capabilities.state_restore),
        _FIRST,
        "the substrate offers no pair of nudges of both signs from one free state",
    ),
    Row(
        "averaged noise low against curvature: a higher order is predicted to be 10 % better",
        _higher_order_pays,
        _HIGHER,
        "noise is low enough for a higher order to pay",
    ),
    Row(
        "otherwise",
        lambda _: True,
        _SECOND,
        "noise leaves nothing for a higher order to gain",
    ),
    Row("nothing of the above can be served", lambda _: True, _FIRST, "nothing else is served"),
)


def decide(
    figures: Figures,
    capabilities: Capabilities,
    demands: Demands,
    before: NudgePlan | None = None,
) -> NudgePlan:
    """Choose how to measure.

    Parameters
    ----------
    figures
        As probed.
    capabilities
        Of the substrate: only what it serves is chosen.
    demands
        What is fixed, and the limits.
    before
        The plan in force, which stays where no sample gave an answer.
    """
    if not len(figures.response):
        return _blind(figures, capabilities, demands, before)
    case = _Case(figures, capabilities, demands)
    if demands.kind != AUTO:
        offers = case.offers((Candidate(demands.kind, demands.options),))
        return _plan(case, offers, f"{demands.kind} was asked for")
    for row in TABLE:
        if row.holds(case) and (offers := case.offers(row.candidates)):
            return _plan(case, offers, row.because)
    raise AssertionError("the last row serves every substrate")


def _plan(case: _Case, offers: list[_Offer], because: str) -> NudgePlan:
    best, noise, demands = offers[0], case.figures.noise, case.demands
    lost = noise.single**2 / best.repeats  # 1 - exp(-s^2)
    return NudgePlan(
        kind=best.candidate.kind,
        options=dict(best.candidate.options),
        beta=best.beta,
        repeats=best.repeats,
        interleave=case.interleaved,
        attenuation=demands.attenuation or _attenuated(lost, best.error),
        reason=_reason(case, best, because, lost),
        nudge_limit=nudge_limit(case.figures, best.beta) if demands.beta is None else None,
    )


def _attenuated(lost: float, error: float) -> bool:
    return lost > min(_ATTENUATION * error, _ATTENUATION_MOST)


def _reason(case: _Case, best: _Offer, because: str, lost: float) -> str:
    figures, noise = case.figures, case.figures.noise
    shift = best.beta * typical_response(figures)
    n = len(figures.response)
    reads = f"{best.repeats} read{'s' if best.repeats > 1 else ''} of each state"
    parts = [
        f"{best.candidate.label} at beta = {best.beta:.3g} with {reads}, because {because}: "
        f"phases are read to {_rad(noise.single)} once and {_rad(noise.averaged(best.repeats))} "
        f"averaged, the nudge turns them by up to {shift:.2g} rad, and the predicted error is "
        f"{_percent(best.error)}"
    ]
    if case.demands.kind == AUTO:
        others = [
            f"{offer.candidate.label} {_percent(offer.error)}"
            for offer in case.offers((*_SECOND, *_HIGHER, *_FIRST))
            if offer.candidate.label != best.candidate.label
        ]
        if others:
            parts[0] += f" ({', '.join(others[:3])})"
    if noise.drift:
        parts.append(f"+ - - + since phases drifted by {_rad(noise.drift)} in the probe")
    if _attenuated(lost, best.error):
        parts.append(f"corrected for attenuation by {_percent(lost)}")
    if figures.hops:
        parts.append(f"{figures.hops} hops met")
    return "; ".join(parts) + f" ({n} of {figures.samples} probe samples)"


def _blind(
    figures: Figures, capabilities: Capabilities, demands: Demands, before: NudgePlan | None
) -> NudgePlan:
    """Return a plan though no probe sample stood out of the noise."""
    if before is not None:
        reason = "as before, because no probe sample answered the nudge beyond the noise"
        return NudgePlan(**{**before.__dict__, "reason": reason})
    kind, options = demands.kind, demands.options
    if kind == AUTO:
        kind = next(c.kind for c in (*_SECOND, *_FIRST) if c.served_by(capabilities))
        options = {}
    repeats = demands.repeats or max(1, demands.read_budget // 2 if figures.noise.single else 1)
    return NudgePlan(
        kind,
        demands.beta or BLIND_BETA,
        repeats,
        interleave=demands.interleave,
        attenuation=demands.attenuation,
        options=dict(options),
        reason=f"{kind} at beta = {demands.beta or BLIND_BETA:g}, because no probe sample "
        "answered the nudge beyond the noise",
    )


BLIND_BETA = 0.05
"""β where nothing is known."""


def _rad(value: float) -> str:
    return f"{value:.2g} rad"


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"
