"""From the states of one probe sample to the terms of its G(β)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.learning.estimators import Statistic
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import displacement_statistics, statistics
from eqp_hw.physics.uncertainty import displacement_variance

from .figures import RADIUS, USUAL_SHARE

__all__ = ["BETWEEN", "ProbedSample", "SampleTerms", "sample_terms"]

BETWEEN = 0.75
"""Third multiple of β, where there is one."""


@final
@dataclass(frozen=True, eq=False)
class ProbedSample:
    """States of one sample, as a probe reads them.

    Attributes
    ----------
    beta, fraction
        β, and the factor to the smaller one (NaN: there was none).
    phases
        (k, N) rad: free, ±β, ±fraction·β, ±`BETWEEN`·β; without the negative ones where the
        nudge has no sign, and without those from the end that were not measured.
    amplitude, hop_beta
        As in `Figures`.
    """

    beta: float
    fraction: float
    phases: FloatArray
    amplitude: float
    hop_beta: float


@final
@dataclass(frozen=True)
class SampleTerms:
    """One entry of each array of `Figures`."""

    response: float
    amplitude: float
    tried_beta: float
    slope: float
    spread: float
    hop_beta: float
    curvature: dict[Statistic, tuple[float, float, float]]


def sample_terms(
    network: Network,
    sample: ProbedSample,
    profile: FloatArray,
    noise: float,
    *,
    signed: bool,
    directed: bool,
) -> SampleTerms | None:
    """Return the terms of one sample, or None if it does not stand out of the noise.

    Parameters
    ----------
    profile
        (N,) variance of the nodes in units of its mean.
    noise
        Standard deviation of the states as averaged, rms over the nodes, rad.
    signed
        Whether there are states at −β.
    directed
        Take the statistic of displacements, J_ij and J_ji apart.
    """
    free, beta = sample.phases[0], sample.beta
    shift = wrap(sample.phases[1] - (sample.phases[2] if signed else free))
    shift = np.abs(shift) / (2 if signed else 1)
    top = int(shift.argmax())
    share = noise**2 * profile[top] / (2 if signed else 0.5)
    if not shift[top] > 3 * np.sqrt(share):
        return None
    response = float(np.sqrt(shift[top] ** 2 - share)) / beta
    each = displacement_variance(network, free[None], profile[None], directed=directed)
    spread = float(each.flatten().sum())
    kinds: tuple[Statistic, ...] = ("displacement",) if directed else ("displacement", "energy")
    found = {kind: _Vectors(network, sample, kind, directed=directed) for kind in kinds}
    slope = found[kinds[-1]].slope(spread * noise**2, signed=signed)
    curvature = {
        kind: vectors.curvature(slope, spread * noise**2, response, signed=signed)
        for kind, vectors in found.items()
    }
    if directed:
        curvature["energy"] = curvature["displacement"]
    return SampleTerms(response, sample.amplitude, beta, slope, spread, sample.hop_beta, curvature)


@final
@dataclass(frozen=True, eq=False)
class _Vectors:
    """Weighted sums of the states of a sample, in one statistic, as gradients."""

    network: Network
    sample: ProbedSample
    kind: Statistic
    directed: bool

    def norm2(self, weights: list[float], spread: float) -> tuple[float, float]:
        """Return the squared norm of a sum less its noise, and the part of the noise."""
        phases, row = self.sample.phases, np.array(weights)
        if self.kind == "energy" and not self.directed:
            total = statistics(self.network, phases, row)
        else:
            shift = (row[:, None] * wrap(phases - phases[0])).sum(axis=0)
            total = displacement_statistics(
                self.network, phases[:1], shift[None], directed=self.directed
            )
        noise = float(row @ row) * spread
        return float((np.abs(total.flatten()) ** 2).sum()) - noise, noise

    def slope(self, spread: float, *, signed: bool) -> float:
        """Return the norm of G'(0), from the smaller nudge where there is one."""
        beta, part = self.sample.beta, self.sample.fraction
        known = bool(np.isfinite(part))
        near = beta * (part if known else 1.0)
        if signed:
            weights = self._at({3 if known else 1: 0.5 / near, 4 if known else 2: -0.5 / near})
        else:
            weights = self._at({0: -1 / near, 2 if known else 1: 1 / near})
        square, noise = self.norm2(weights, spread)
        return float(np.sqrt(max(square, noise / 4)))

    def curvature(
        self, slope: float, spread: float, response: float, *, signed: bool
    ) -> tuple[float, float, float]:
        """Return |a2| and |a3| relative to the slope, and the growth of further terms."""
        beta, part = self.sample.beta, self.sample.fraction
        usual = response / RADIUS
        odd = USUAL_SHARE[self.kind] * usual**2
        known = bool(np.isfinite(part))
        if not slope > 0:
            return usual, odd, odd
        if not signed:
            if known:
                # [G(b) - G(0)]/b less the same at part*b is (1 - part)*b*a2.
                one, two = 1 / beta, 1 / (part * beta)
                weights = self._at({0: two - one, 1: one, 2: -two})
                usual = self._term(weights, (1 - part) * beta * slope, usual, spread)
                odd = usual**2
            return usual, odd, odd
        even = self._term(self._at({0: -1.0, 1: 0.5, 2: 0.5}), beta**2 * slope, usual, spread)
        if not known:
            return even, odd, odd
        # The difference of two centred estimates is (1 - part^2)*b^2*a3.
        unit = (1 - part**2) * beta**2 * slope
        odd = self._term(self._differences([1.0, -1.0]), unit, odd, spread)
        if len(self.sample.phases) < 7:
            return even, odd, odd
        # The second divided difference of three, in b^2, is a5.
        u = np.array([1.0, part**2, BETWEEN**2]) * beta**2
        divided = [1 / np.prod([u[k] - u[m] for m in range(3) if m != k]) for k in range(3)]
        fifth = self._term(self._differences(divided), slope, odd**2, spread)
        return even, odd, max(fifth / odd, odd) if odd > 0 else odd

    def _at(self, entries: dict[int, float]) -> list[float]:
        """Return weights of the states, zero but for ``entries``."""
        return [entries.get(k, 0.0) for k in range(len(self.sample.phases))]

    def _differences(self, factors: list[float]) -> list[float]:
        """Return the weights of a sum of centred estimates, in the order of the states."""
        steps = np.array([1.0, self.sample.fraction, BETWEEN]) * self.sample.beta
        entries: dict[int, float] = {}
        for k, factor in enumerate(factors):
            entries |= {1 + 2 * k: 0.5 * factor / steps[k], 2 + 2 * k: -0.5 * factor / steps[k]}
        return self._at(entries)

    def _term(self, weights: list[float], unit: float, usual: float, spread: float) -> float:
        """Return the norm of a sum in units of ``unit``, drawn to ``usual`` where noise rules."""
        square, noise = self.norm2(weights, spread)
        square, expected = max(square, 0.0), (usual * unit) ** 2
        if not square + noise > 0:
            return usual
        return float(np.sqrt((square * square + noise * expected) / (square + noise))) / unit
