"""Lock-in: a slow oscillating nudge, and the harmonics of what the phases do."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NoReturn, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Requirements
from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import phasor_average, wrap
from eqp_hw.substrate import (
    BoolArray,
    Measurement,
    Oscillation,
    Reading,
    SettleOutcome,
    SettleStatus,
)

from .base import Estimate, Estimator, Round
from .chebyshev import slope_weights

__all__ = ["LockIn"]

_MOST: Final = 1000
"""Periods, and reads of each: all reads are kept until they are averaged."""
_HALVINGS: Final = 12
"""How often `LockIn.check` halves the frequency in search of one that would do."""
_ASTRAY_RAD: Final = 0.5
"""A phase whose mean over a period is this far from the free one has left its basin."""


@final
class LockIn(Estimator):
    """(a₁ − 3a₃ + 5a₅ − …)/β, a_m the in-phase harmonics of G under the nudge β·cos ωt.

    G(β·cos ωt) = Σ a_m·cos mωt where the phases follow at once, so this is the slope at 0 as in
    `Chebyshev`; bias of order β², β⁴, β⁶ with 1, 3, 5 harmonics (ep_methods §2). At finite ω a
    mode of relaxation rate λ responds by 1/(λ + iω): the in-phase part is too small by (ω/λ)²,
    and ω/λ of it appears in quadrature, which is the alarm of the estimate.

    A constant skew cancels; of a linear drift there remains what drifts between two reads.
    ``estimator.repeats`` multiplies the periods that are read; ``interleave`` has no effect.

    Parameters
    ----------
    angular_frequency
        ω, rad a unit of the substrate's own time (`eqp_hw.substrate.Oscillation`).
    harmonics
        1, 3 or 5, the highest odd harmonic used.
    lead_periods, periods, reads_per_period
        As in `Oscillation`; reads of the same angle are averaged. Even, and at least
        2·harmonics + 2 reads a period: fewer would mix higher harmonics in.
    settling_error
        Largest in-phase error (ω/λ)² that `check` accepts.
    """

    name = "lock-in"
    description = "slow oscillating nudge, synchronous reads: bias of order b^2, b^4 or b^6"
    requirements = Requirements(
        signed_nudge=True, state_restore=True, oscillating_nudge=True, analogue_nudge=True
    )

    def __init__(
        self,
        angular_frequency: float = 1e-3,
        harmonics: Literal[1, 3, 5] = 1,
        lead_periods: int = 2,
        periods: int = 1,
        reads_per_period: int = 16,
        settling_error: float = 1e-2,
    ) -> None:
        for name, real in (
            ("angular_frequency", angular_frequency),
            ("settling_error", settling_error),
        ):
            if not (math.isfinite(real) and real > 0):
                _refuse(name, real, "a finite number > 0")
        if harmonics not in (1, 3, 5):
            _refuse("harmonics", harmonics, "1, 3, 5")
        for name, count, least in (("lead_periods", lead_periods, 0), ("periods", periods, 1)):
            if not least <= count <= _MOST:
                _refuse(name, count, f"{least} to {_MOST}")
        if reads_per_period % 2 or not 2 * harmonics + 2 <= reads_per_period <= _MOST:
            allowed = f"even, {2 * harmonics + 2} to {_MOST} for harmonics = {harmonics}"
            _refuse("reads_per_period", reads_per_period, allowed)
        self._oscillation = Oscillation(angular_frequency, lead_periods, periods, reads_per_period)
        self._harmonics: int = harmonics
        self._limit = settling_error

    @override
    def measure(self, one: Round) -> Estimate:
        cycle = self._cycle(one, self._oscillation.angular_frequency)
        weights = np.outer(slope_weights(cycle.angles, self._harmonics), 1 / one.beta)
        settled = cycle.settled & ~(one.active & cycle.astray)
        measured = [Measurement(_outcome(settled), reading) for reading in cycle.readings]
        phases, errors = one.stack(measured)
        # All reads by the crest: near the zeros of the nudge its own strength says nothing.
        strength = np.tile(one.beta, (len(measured), 1))
        alarm = np.full(one.batch, np.nan)
        lag = (cycle.quadrature**2).sum(axis=1) - _noise_power(_harmonic_variance(errors))
        size = (cycle.in_phase**2).sum(axis=1)
        np.divide(np.maximum(lag, 0.0), size, out=alarm, where=size > 0)
        return one.estimate(phases, errors, weights, measured, strength, alarm=np.sqrt(alarm))

    @override
    def check(self, one: Round) -> None:
        """Measure how far the in-phase response is from its limit by halving ω.

        (ω/λ)² falls by four each time, so 4/3 of the change is the error. Halving goes on
        until the error is small enough, to say which frequency would do.

        Raises
        ------
        CapabilityError
            ω is too fast for the slowest sample of the round.
        """
        frequency = self._oscillation.angular_frequency
        slow = self._cycle(one, frequency / 2)
        error = measured = _in_phase_error(one, self._cycle(one, frequency), slow)
        halvings = 0
        while error > self._limit and halvings < _HALVINGS:
            halvings += 1
            frequency /= 2
            fast, slow = slow, self._cycle(one, frequency / 2)
            error = _in_phase_error(one, fast, slow)
        if halvings == 0:
            return
        # At twice this frequency the error was found too large.
        largest = frequency * min(2.0, math.sqrt(self._limit / max(error, 1e-300)))
        raise CapabilityError(
            f"too fast for the measured relaxation: the phases lag, and their in-phase response "
            f"is off by {measured:.1%} where estimator.settling_error allows {self._limit:.1%}",
            field="estimator.angular_frequency",
            value=self._oscillation.angular_frequency,
            allowed=f"at most {_rounded_down(largest):g}",
        )

    def _cycle(self, one: Round, frequency: float) -> _Cycle:
        """Measure one oscillation and average its periods."""
        shape = self._oscillation
        asked = dataclasses.replace(
            shape, angular_frequency=frequency, periods=shape.periods * one.repeats
        )
        found = one.substrate.measure_oscillating(one.token, one.sites(one.crest), asked)
        reads = shape.reads_per_period
        by_angle = (asked.periods, reads, *found.phases.shape[1:])
        phases, scatter = phasor_average(found.phases.reshape(by_angle))
        squares = (found.standard_error.reshape(by_angle) ** 2).sum(axis=0)
        # Where one read cannot tell, the scatter over the periods does.
        errors = np.where(np.isnan(squares), scatter, np.sqrt(squares) / asked.periods)
        readings = [
            Reading(one_phase, one_error, asked.periods, 0.0, 0.0)
            for one_phase, one_error in zip(phases, errors, strict=True)
        ]
        return _Cycle(found.angles[:reads], readings, one.free.phases, found.settled)


@final
@dataclass(frozen=True, eq=False)
class _Cycle:
    """One period, each angle averaged over all periods that were read.

    Attributes
    ----------
    angles
        (reads,) ωt, rad.
    readings
        One for each angle.
    free
        (batch, N) free phases, rad.
    settled
        (batch,) as the substrate says.
    """

    angles: FloatArray
    readings: list[Reading]
    free: FloatArray
    settled: BoolArray

    @cached_property
    def shifts(self) -> FloatArray:
        """(reads, batch, N) displacements from the free phases."""
        return wrap(np.stack([reading.phases for reading in self.readings]) - self.free)

    @property
    def in_phase(self) -> FloatArray:
        """(batch, N) first harmonic of the displacements in phase with the nudge."""
        return self._part(np.cos(self.angles))

    @property
    def quadrature(self) -> FloatArray:
        """(batch, N) first harmonic a quarter of a period later."""
        return self._part(np.sin(self.angles))

    @property
    def astray(self) -> BoolArray:
        """(batch,) samples that are, on average over the period, far from their free state."""
        return np.asarray(np.abs(self.shifts.mean(axis=0)).max(axis=1) > _ASTRAY_RAD)

    def _part(self, wave: FloatArray) -> FloatArray:
        part: FloatArray = np.einsum("k,kbn->bn", wave, self.shifts) * 2 / len(self.angles)
        return part


def _in_phase_error(one: Round, fast: _Cycle, slow: _Cycle) -> float:
    """Return the largest relative in-phase error of a sample at the frequency of ``fast``.

    A sample that does not follow the nudge at either frequency says nothing.
    """
    good = one.active & fast.settled & slow.settled & ~fast.astray & ~slow.astray
    variance = np.zeros_like(one.free.phases)
    for cycle in (fast, slow):
        variance += _harmonic_variance(np.stack([one.errors(r) for r in cycle.readings]))
    difference = ((fast.in_phase - slow.in_phase) ** 2).sum(axis=1) - _noise_power(variance)
    size = (slow.in_phase**2).sum(axis=1)
    good &= size > 0
    if not good.any():
        return 0.0
    return float(4 / 3 * np.sqrt(np.maximum(difference[good], 0.0) / size[good]).max())


def _harmonic_variance(errors: FloatArray) -> FloatArray:
    """Return the variance of a harmonic, (batch, N), from errors (reads, batch, N) of its reads."""
    variance: FloatArray = 2 / len(errors) * (errors**2).mean(axis=0)
    return variance


def _noise_power(variance: FloatArray) -> FloatArray:
    """Return what noise adds to a sum of squares over the nodes, four deviations above its mean.

    It is taken off before a lag is read from the phases: noise must not pass for one.
    """
    power: FloatArray = variance.sum(axis=1) + 4 * np.sqrt(2 * (variance**2).sum(axis=1))
    return power


def _outcome(settled: BoolArray) -> SettleOutcome:
    unknown = np.full(len(settled), np.nan)
    status = np.where(settled, SettleStatus.EQUILIBRIUM, SettleStatus.NOT_SETTLED)
    never = np.zeros(len(settled), dtype=bool)
    return SettleOutcome(
        status=status.astype(np.uint8),
        residual=unknown,
        smallest_eigenvalue=unknown,
        positive_definite=never,
        certified=never,
        hop=never,
        steps=np.zeros(len(settled), dtype=np.int64),
        duration_s=0.0,
    )


def _rounded_down(value: float) -> float:
    """Return ``value`` rounded down to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / unit) * unit


def _refuse(name: str, value: object, allowed: str) -> NoReturn:
    raise ConfigurationError("not usable", field=f"estimator.{name}", value=value, allowed=allowed)
