"""What read-out noise does to gradients: standard errors, attenuation, and how errors scale.

Noise is drawn many times on exact states, by the emulator once, so that these tests are quick.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from random_networks import Sample, random_network, sample_of
from scipy import stats

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.estimators import (
    Alternative,
    Centred,
    Estimate,
    LinearContrast,
    OneSided,
    Richardson,
)
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.energy import statistics
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.imperfections.registry import parse_imperfections, wrap_substrate

SIGMA = 0.02


def _sample(seed: int = 3) -> Sample:
    network, parameters, inputs, targets = random_network(seed)
    return sample_of(XYEmulator(network, EmulatorOptions(threads=1)), parameters, inputs, targets)


def _estimate(sample: Sample, estimator: LinearContrast, beta: float) -> Estimate:
    return estimator.measure(dataclasses.replace(sample.one, beta=np.array([beta])))


def _noisy(
    estimate: Estimate, sample: Sample, sigma: FloatArray, draws: int, seed: int
) -> Estimate:
    """Return the estimate of ``draws`` copies of one sample, each read with noise of its own."""
    rng = np.random.default_rng(seed)
    shape = (len(estimate.phases), draws, sample.network.n_nodes)
    noise = sigma * rng.standard_normal(shape)

    def copies(array: FloatArray) -> FloatArray:
        return np.repeat(array, draws, axis=-1 if array.ndim < 2 else 1)

    return dataclasses.replace(
        estimate,
        phases=copies(estimate.phases) + noise,
        errors=np.broadcast_to(sigma, shape),
        weights=copies(estimate.weights),
        free=np.repeat(estimate.free, draws, axis=0),
    )


def _gradients(estimate: Estimate, sample: Sample) -> FloatArray:
    """Return (draws, n) gradients of each copy alone."""
    rows = np.eye(len(estimate.free), dtype=bool)
    return np.array([estimate.gradient(sample.network, row, np.ones(1)).flatten() for row in rows])


@pytest.mark.parametrize("estimator", [Centred(), OneSided(), Richardson(), Alternative()])
def test_predicted_variances_are_those_of_replicates(estimator: LinearContrast) -> None:
    """Chi-square of every coupling and bias quadrature, with noise that differs by node."""
    sample, draws = _sample(), 3000
    network = sample.network
    sigma = np.linspace(0.5, 1.5, network.n_nodes) * 1e-5
    sigma[network.inputs] = 0
    exact = _estimate(sample, estimator, 0.05)
    # The prediction is made at states without noise; at noisy ones it scatters about that.
    quiet = dataclasses.replace(exact, errors=np.broadcast_to(sigma, exact.phases.shape))
    predicted = quiet.variance(network, np.ones(1, bool), np.ones(1)).flatten()
    found = _gradients(_noisy(exact, sample, sigma, draws, 11), sample)
    noisy = predicted > 1e-6 * predicted.max()
    chi = (draws - 1) * found.var(axis=0, ddof=1)[noisy] / predicted[noisy]
    # Parameters share nodes, so that their p-values are not independent: Bonferroni.
    p = 2 * np.minimum(stats.chi2.sf(chi, draws - 1), stats.chi2.cdf(chi, draws - 1))
    assert p.min() * len(p) > 1e-3
    assert np.mean(chi) / (draws - 1) == pytest.approx(1, abs=0.02)
    # What no noise reaches has no standard error either.
    assert found[:, ~noisy].std(axis=0).max() < 1e-3 * found[:, noisy].std(axis=0).max()


def test_the_controller_carries_them_to_the_mean_over_a_batch() -> None:
    """Standard errors that a few reads tell of themselves, against the scatter of estimates."""
    network, parameters, inputs, targets = random_network(5)
    inputs = inputs + np.linspace(-0.5, 0.5, 12)[:, None]
    targets = np.tile(targets, (12, 1))
    options = EmulatorOptions(threads=1)
    found, squares = [], []
    for seed in range(80):  # the same starts, other noise
        noise = parse_imperfections([{"kind": "readout-noise", "sigma": SIGMA / 4}])
        noisy = wrap_substrate(lambda graph: XYEmulator(graph, options), network, noise, seed)
        controller = Controller(
            noisy,
            LogCosine(),
            Centred(),
            ControllerOptions(beta=0.03, repeats=6, max_restarts=0, max_halvings=0),
            RandomStreams(2),
        )
        controller.program(parameters)
        estimate = controller.gradient(inputs, targets, (0,))
        found.append(estimate.gradient.flatten())
        squares.append(estimate.standard_error.flatten() ** 2)
    scatter, told = np.array(found).var(axis=0, ddof=1), np.mean(squares, axis=0)
    known = told > 0
    assert known.sum() > 100
    assert np.median(scatter[known] / told[known]) == pytest.approx(1, abs=0.12)


def test_noise_shortens_correlators_and_the_correction_restores_them() -> None:
    """Bonds by exp(−σ²), fields and bonds to an input by exp(−σ²/2) (Peters and Talatchian)."""
    sample, draws, strong = _sample(), 40_000, 0.5
    network = sample.network
    sigma = np.full(network.n_nodes, strong)
    sigma[network.inputs] = 0
    exact = _estimate(sample, Centred(), 0.3)
    one = dataclasses.replace(exact, phases=exact.phases[:1], weights=np.ones((1, 1)))
    noisy = _noisy(one, sample, sigma, draws, 12)
    rows, scale = np.ones(draws, bool), np.full(draws, 1 / draws)
    truth = statistics(network, one.phases[:, 0], np.ones(1))
    plain = noisy.gradient(network, rows, scale)
    lifted = noisy.gradient(network, rows, scale, attenuation=True)
    at_input = np.isin(network.edges, network.inputs).any(axis=1)
    free = network.free
    for bonds, factor in ((~at_input, np.exp(-(strong**2))), (at_input, np.exp(-(strong**2) / 2))):
        slope = _slope(truth.coupling[bonds], plain.coupling[bonds])
        assert slope == pytest.approx(factor, abs=0.01)
        assert _slope(truth.coupling[bonds], lifted.coupling[bonds]) == pytest.approx(1, abs=0.01)
    slope = _slope(truth.bias[free], plain.bias[free])
    assert slope == pytest.approx(np.exp(-(strong**2) / 2), abs=0.01)
    assert _slope(truth.bias[free], lifted.bias[free]) == pytest.approx(1, abs=0.01)


def _slope(truth: np.ndarray, found: np.ndarray) -> float:
    return float((truth.conj() @ found).real / (truth.conj() @ truth).real)


@pytest.mark.parametrize(
    ("estimator", "exponent"), [(OneSided(), 1 / 2), (Centred(), 2 / 3)], ids=["1/2", "2/3"]
)
def test_the_least_error_falls_with_noise_as_theory_says(
    estimator: LinearContrast, exponent: float
) -> None:
    """RMSE over drawn noise, least over β, against σ: ½ one-sided, ⅔ centred (±.07)."""
    sigmas = np.array([1e-4, 3e-4, 1e-3, 3e-3])
    betas, draws = np.geomspace(2e-3, 0.6, 40), 200
    slopes = []
    for seed in (3, 4, 6):
        sample = _sample(seed)
        network = sample.network
        mask = np.ones(network.n_nodes)
        mask[network.inputs] = 0
        least = np.full(len(sigmas), np.inf)
        for beta in betas:
            exact = _estimate(sample, estimator, beta)
            if not exact.good.all():
                break
            for k, sigma in enumerate(sigmas):
                noisy = _noisy(exact, sample, sigma * mask, draws, 13 + k)
                found = _each(noisy, sample) - sample.exact
                least[k] = min(least[k], np.sqrt((found**2).sum(axis=1).mean()))
        slopes.append(np.polyfit(np.log(sigmas), np.log(least), 1)[0])
    assert np.mean(slopes) == pytest.approx(exponent, abs=0.07)


def _each(estimate: Estimate, sample: Sample) -> FloatArray:
    """Return (draws, n) gradients of all copies, in the energy statistic, at once."""
    network, (i, j) = sample.network, sample.network.edges.T
    weights = estimate.weights[:, :, None]
    cosine, sine = np.cos(estimate.phases), np.sin(estimate.phases)
    bonds = -(weights * np.cos(estimate.phases[:, :, i] - estimate.phases[:, :, j])).sum(axis=0)
    real, imag = -(weights * cosine).sum(axis=0), -(weights * sine).sum(axis=0)
    real[:, network.inputs] = imag[:, network.inputs] = 0
    return np.concatenate([bonds, real, imag], axis=1)
