"""Standard errors of two ways joined, against the scatter of what is joined."""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.learning.interleave import joined
from eqp_hw.measurement import Measurement, Reading, SettleOutcome
from eqp_hw.network.graph import FloatArray

SIGMA = 0.05
SHAPE = (4000, 5)


def _outcome() -> SettleOutcome:
    n, yes = SHAPE[0], np.ones(SHAPE[0], dtype=bool)
    return SettleOutcome(
        np.zeros(n, np.uint8), np.zeros(n), np.ones(n), yes, yes, ~yes, np.zeros(n, np.int64), 0.0
    )


def _way(rng: np.random.Generator, truth: FloatArray, reads: int) -> Measurement:
    drawn = truth + SIGMA * rng.standard_normal((reads, *SHAPE))
    error = drawn.std(axis=0, ddof=1) / np.sqrt(reads) if reads > 1 else np.full(SHAPE, np.nan)
    return Measurement(_outcome(), Reading(drawn.mean(axis=0), error, reads, 0.0, 1.0))


@pytest.mark.parametrize("reads", [1, 2, 5])
def test_the_error_of_both_ways_is_that_of_their_mean(reads: int) -> None:
    """⟨error²⟩ is the variance of the mean, with single reads on each way as well."""
    rng = np.random.default_rng(7)
    truth = rng.uniform(-3, 3, SHAPE)
    found = joined(_way(rng, truth, reads), _way(rng, truth, reads)).reading
    away = np.angle(np.exp(1j * (found.phases - truth)))
    assert away.var() == pytest.approx(SIGMA**2 / (2 * reads), rel=0.04)
    assert (found.standard_error**2).mean() == pytest.approx(away.var(), rel=0.06)
    assert found.count == 2 * reads
