"""What a measurement of gradient fidelity found: cosines, norm ratios, and their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import numpy as np

from eqp_hw.network.graph import FloatArray

__all__ = [
    "ALL",
    "DIFFERENCES",
    "EMULATOR",
    "Fidelity",
    "FidelityPoint",
    "FidelityRow",
    "Measured",
    "agreement",
    "mean_of",
    "mean_of_modes",
]

ALL = "all"
DIFFERENCES = "finite differences"
"""Of the cost, on the same rig: whether EP works there."""
EMULATOR = "emulator"
"""The exact gradient at the parameters that the rig says it holds: whether we know the rig."""

_DRAWS = 400


@final
@dataclass(frozen=True, eq=False)
class Measured:
    """A gradient as measured.

    Attributes
    ----------
    values, errors
        (n,) components and their standard errors.
    modes
        (k, n) what independent N(0, 1) numbers add to all components together, where errors go
        with each other; None where each component errs on its own.
    """

    values: FloatArray
    errors: FloatArray
    modes: FloatArray | None = None

    def only(self, rows: np.ndarray) -> Measured:
        """Return some of the components."""
        modes = None if self.modes is None else self.modes[:, rows]
        return Measured(self.values[rows], self.errors[rows], modes)

    def drawn(self, rng: np.random.Generator) -> FloatArray:
        """Return the components with their errors drawn once more."""
        if self.modes is None:
            return self.values + self.errors * rng.standard_normal(len(self.values))
        again: FloatArray = self.values + rng.standard_normal(len(self.modes)) @ self.modes
        return again


@final
@dataclass(frozen=True)
class FidelityRow:
    """How two gradients agree over one group of parameters.

    Attributes
    ----------
    reference
        What the EP gradient is compared with.
    group
        Roles of the nodes a bond joins, "bias", or "all".
    parameters
        Number of components compared.
    cosine, cosine_error
        Between the gradients as measured; its standard error.
    ceiling
        The cosine that equal gradients would have under the noise of this measurement.
    ratio, ratio_error
        |EP|/|reference|, with what noise adds to the norms taken off; its standard error.
    """

    reference: str
    group: str
    parameters: int
    cosine: float
    cosine_error: float
    ceiling: float
    ratio: float
    ratio_error: float


@final
@dataclass(frozen=True)
class FidelityPoint:
    """One component of the gradient; NaN where it was not measured."""

    group: str
    parameter: str
    ep: float
    ep_error: float
    differences: float
    differences_error: float
    emulator: float


@final
@dataclass(frozen=True)
class Fidelity:
    """All that was found.

    Attributes
    ----------
    title, network, cost, engine
        What was measured, and where.
    estimator, beta
        How the EP gradient was measured; β is the median over samples.
    step, reads, replicates
        Median δ in units of couplings; reads of a state; repetitions of everything.
    samples, used
        Samples asked for, and those that count.
    restarts
        Further starts, with smaller β and δ, of samples that hopped or did not settle.
    lost
        Samples dropped, by the last reason.
    excess_ep, excess_differences
        Scatter of the replicates over what the read-out noise explains; NaN where unknown.
        The errors given are scaled up by it.
    mismatch
        Median over samples of the largest distance between free phases as read and those of
        the emulator, rad.
    strays
        Samples that count, of which the emulator has no equilibrium near the phases as read.
    rows, points
        The comparison by reference and group; every component.
    left_out
        Parameters that could not be moved, and why.
    """

    title: str
    network: str
    cost: str
    engine: str
    estimator: str
    beta: float
    step: float
    reads: int
    replicates: int
    samples: int
    used: int
    restarts: int
    lost: Mapping[str, int]
    excess_ep: float
    excess_differences: float
    mismatch: float
    strays: int
    rows: Sequence[FidelityRow]
    points: Sequence[FidelityPoint]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def row(self, reference: str, group: str = ALL) -> FidelityRow:
        """Return one row; KeyError where there is none."""
        for one in self.rows:
            if (one.reference, one.group) == (reference, group):
                return one
        raise KeyError((reference, group))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def agreement(
    reference: str, group: str, ep: Measured, other: Measured, rng: np.random.Generator
) -> FidelityRow:
    """Compare two measured gradients.

    Standard errors come from drawing both again with their errors: where the cosine is near 1
    its error is of second order in the noise, which linear propagation would miss.
    """
    ep_norm, ep_noise = _norm(ep)
    other_norm, other_noise = _norm(other)
    cosines, ratios = np.empty(_DRAWS), np.empty(_DRAWS)
    for k in range(_DRAWS):
        one, two = ep.drawn(rng), other.drawn(rng)
        cosines[k] = _cosine(one, two)
        ratios[k] = _quotient(np.linalg.norm(one), np.linalg.norm(two))
    return FidelityRow(
        reference,
        group,
        len(ep.values),
        _cosine(ep.values, other.values),
        float(cosines.std()),
        1 / math.sqrt((1 + ep_noise) * (1 + other_noise)),
        _quotient(ep_norm, other_norm),
        float(ratios.std()),
    )


def mean_of(samples: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[Measured, float]:
    """Return the mean over samples and replicates with errors, and the excess of its scatter.

    Errors are those of the read-out noise, scaled up where replicates scatter by more (Birge
    ratio, pooled over all components); by the scatter alone where there is no noise.

    Parameters
    ----------
    samples
        Gradients and their variances by the read-out noise of each, (replicates, n).
    """
    values = np.mean([one for one, _ in samples], axis=0)
    noise = np.mean([variance for _, variance in samples], axis=(0, 1)) / len(samples)
    replicates, excess = len(values), np.nan
    if replicates > 1:
        scatter = values.var(axis=0, ddof=1)
        measured = np.isfinite(scatter)
        total, known = float(scatter[measured].sum()), float(noise[measured].sum())
        if known > 0:
            excess = math.sqrt(total / known)
            noise = noise * max(1.0, excess**2)
        else:
            noise = np.where(measured, total / max(int(measured.sum()), 1), np.nan)
    return Measured(values.mean(axis=0), np.sqrt(noise / replicates)), excess


def mean_of_modes(samples: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[Measured, float]:
    """Return the same as `mean_of` where the noise of each sample is known as modes.

    Parameters
    ----------
    samples
        Gradients (replicates, n) and modes (k, n) of the noise of one replicate, of each.
    """
    variances = [np.tile((modes**2).sum(axis=0), (len(one), 1)) for one, modes in samples]
    gradients = [one for one, _ in samples]
    mean, excess = mean_of(list(zip(gradients, variances, strict=True)))
    modes = np.concatenate([modes for _, modes in samples])
    if not modes.any():
        return mean, excess
    scale = max(1.0, np.nan_to_num(excess)) / (len(samples) * math.sqrt(len(gradients[0])))
    return Measured(mean.values, mean.errors, scale * modes), excess


def _norm(gradient: Measured) -> tuple[float, float]:
    """Return the norm without what noise adds, and noise over signal, both squared."""
    total, noise = float((gradient.values**2).sum()), float((gradient.errors**2).sum())
    signal = total - noise
    if signal <= 0:
        return 0.0, math.inf
    return math.sqrt(signal), noise / signal


def _cosine(one: FloatArray, two: FloatArray) -> float:
    return _quotient(float(one @ two), float(np.linalg.norm(one) * np.linalg.norm(two)))


def _quotient(one: float | np.floating[Any], two: float | np.floating[Any]) -> float:
    return float(one / two) if two > 0 else math.nan
