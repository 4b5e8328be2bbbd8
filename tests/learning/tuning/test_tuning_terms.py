"""Figures of one probe sample against those without noise, over many draws of the noise."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import Sample, random_network, sample_of

from eqp_hw.learning.tuning.probe import ProbedSample
from eqp_hw.learning.tuning.terms import SampleTerms, sample_terms
from eqp_hw.network.graph import FloatArray
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator

DRAWS = 400
FRACTION = 0.5


def _states(seed: int, turn: float = 0.2) -> tuple[Sample, float, FloatArray]:
    """Return a sample, β and the exact states: free, ±β, ±β/2."""
    network, parameters, inputs, targets = random_network(seed)
    emulator = XYEmulator(network, EmulatorOptions(threads=1))
    sample = sample_of(emulator, parameters, inputs, targets)
    small, _ = sample.states(np.array([0.0, 1e-4]))
    beta = turn * 1e-4 / np.abs(small[1] - small[0]).max()
    phases, good = sample.states(beta * np.array([0, 1, -1, FRACTION, -FRACTION]))
    assert good.all()
    return sample, beta, phases


def _terms(
    sample: Sample, beta: float, phases: FloatArray, noise: float, *, signed: bool, directed: bool
) -> SampleTerms | None:
    network = sample.network
    profile = np.zeros(network.n_nodes)
    profile[network.free] = 1.0
    rows = slice(None) if signed else [0, 1, 3]
    probed = ProbedSample(beta, FRACTION, phases[rows], 1.0, np.inf)
    return sample_terms(network, probed, profile, noise, signed=signed, directed=directed)


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("signed", [True, False])
def test_what_noise_adds_to_norms_is_taken_off(signed: bool, directed: bool) -> None:
    """⟨‖G′‖²⟩ of noisy states is that of exact ones, though noise adds half as much again."""
    kind = {"signed": signed, "directed": directed}
    sample, beta, phases = _states(4)
    exact = _terms(sample, beta, phases, 0.0, **kind)
    assert exact is not None
    weight = 0.5 if signed else 2.0  # of the squares of states at ±β/2, in units of 1/(β/2)²
    per_noise = weight * exact.spread / (FRACTION * beta) ** 2
    noise = np.sqrt(0.5 * exact.slope**2 / per_noise)
    rng, free = np.random.default_rng(1), sample.network.free
    slopes = []
    for _ in range(DRAWS):
        noisy = phases.copy()
        noisy[:, free] += noise * rng.standard_normal((len(phases), len(free)))
        terms = _terms(sample, beta, noisy, noise, **kind)
        assert terms is not None
        assert terms.spread == pytest.approx(exact.spread, rel=0.5)
        slopes.append(terms.slope)
    squares = np.square(slopes) / exact.slope**2
    standard_error = squares.std() / np.sqrt(DRAWS)
    assert standard_error < 0.04
    # Beside chance, a few per cent of second order in the noise.
    assert squares.mean() == pytest.approx(1.0, abs=0.06 + 2.5 * standard_error)


@pytest.mark.parametrize("signed", [True, False])
def test_what_noise_adds_to_the_response_is_taken_off(signed: bool) -> None:
    """Of a sample one node of which turns ten times more than the others."""
    sample, beta, phases = _states(10)
    kind = {"signed": signed, "directed": False}
    exact = _terms(sample, beta, phases, 0.0, **kind)
    assert exact is not None
    share = 0.2 * exact.response * beta  # of the largest shift: 4 % of its square
    noise = share * np.sqrt(2 if signed else 0.5)
    rng, free = np.random.default_rng(2), sample.network.free
    found = []
    for _ in range(4000):
        noisy = phases.copy()
        noisy[:, free] += noise * rng.standard_normal((len(phases), len(free)))
        terms = _terms(sample, beta, noisy, noise, **kind)
        found.append(0.0 if terms is None else terms.response)
    assert np.count_nonzero(found) > 3850
    squares = np.square(found) / exact.response**2
    assert squares.mean() == pytest.approx(1.0, abs=0.022)
    assert squares.std() / np.sqrt(len(found)) < 0.008


def test_the_slope_is_that_of_the_cost() -> None:
    """At small nudges ‖G′(0)‖ is the norm of the exact gradient."""
    sample, beta, phases = _states(4, turn=1e-3)
    exact = _terms(sample, beta, phases, 0.0, signed=True, directed=False)
    assert exact is not None
    assert exact.slope == pytest.approx(np.linalg.norm(sample.exact), rel=1e-4)
