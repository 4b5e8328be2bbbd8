"""Random XY networks with one sample each, and what every estimator could do on them at best."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.estimators import LinearContrast, OneSided, Round
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import displacement_statistics, statistics
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.physics.uncertainty import displacement_variance, statistics_variance
from eqp_hw.randomness import RandomStreams
from eqp_hw.substrate import BoolArray, Substrate


def random_network(seed: int) -> tuple[Network, Parameters, FloatArray, FloatArray]:
    """Return a graph of 18 to 24 free nodes, parameters, and one sample (inputs, targets)."""
    rng = np.random.default_rng([41, seed])
    n = int(rng.integers(22, 29))
    edges = [(i, j) for i in range(n) for j in range(max(4, i + 1), n) if rng.random() < 0.4]
    edges += [(i, i + 4) for i in range(n - 4) if (i, i + 4) not in edges]
    network = Network.create(n, sorted(edges), inputs=[0, 1, 2, 3], outputs=[n - 2, n - 1])
    coupling = rng.normal(0, 1.2 / np.sqrt(0.4 * n), network.n_couplings)
    bias = np.zeros(n, complex)
    free = network.free
    bias[free] = rng.normal(0, 0.5, len(free)) + 1j * rng.normal(0, 0.5, len(free))
    inputs = rng.uniform(-1.5, 1.5, (1, 4))
    targets = rng.choice([-np.pi / 2, np.pi / 2], (1, 2))
    return network, Parameters(coupling, bias), inputs, targets


@dataclass(frozen=True, eq=False)
class Sample:
    """One random network at its free state, with exact states under any nudge.

    Attributes
    ----------
    network
        The graph.
    exact
        dC/dθ by implicit differentiation.
    one
        The round, at β = 1.
    """

    network: Network
    exact: FloatArray
    one: Round

    def relative_errors(
        self, estimator: LinearContrast, betas: FloatArray, sigma: float, reads: int
    ) -> FloatArray:
        """Return √E‖estimate − truth‖²/‖truth‖ at each β with white noise; inf after a hop.

        Bias from noiseless states, variance by propagation; ``reads`` are shared out among all
        states that enter. A random sign counts by its mean square.
        """
        recipe = estimator.contrast(8, np.random.default_rng(3))
        columns = np.concatenate([recipe.factors, recipe.weights, recipe.free_weight[None]])
        recipes = np.unique(columns, axis=1).T
        k = len(recipe.factors)
        squares = []
        for row in recipes:
            measured, good = self.states(np.outer(betas, row[:k]).ravel())
            phases = measured.reshape(len(betas), k, -1)
            good = good.reshape(len(betas), k).all(axis=1)
            weights = row[k : 2 * k]
            if row[-1]:
                free = np.tile(self.one.free.phases, (len(betas), 1, 1))
                phases, weights = np.concatenate([phases, free], axis=1), row[k:]
            noise = np.full(self.network.n_nodes, sigma / np.sqrt(reads // len(weights)))
            noise[self.network.inputs] = 0
            squares.append(
                [
                    self._square(estimator.statistic, states, weights / beta, noise)
                    if fine
                    else np.inf
                    for states, beta, fine in zip(phases, betas, good, strict=True)
                ]
            )
        return np.sqrt(np.mean(squares, axis=0))

    def best(self, estimator: LinearContrast, betas: FloatArray, sigma: float, reads: int) -> float:
        """Return the least of `relative_errors`."""
        return float(self.relative_errors(estimator, betas, sigma, reads).min())

    def states(self, betas: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return (n, N) phases at each β, and whether each is connected to the free state."""
        one = self.one
        measured = one.measure([(one.sites(one.field * beta), 1.0) for beta in betas])
        return (
            np.stack([m.reading.phases[0] for m in measured]),
            np.array([m.outcome.settled[0] & ~m.outcome.hop[0] for m in measured]),
        )

    def _square(
        self, statistic: str, phases: FloatArray, weights: FloatArray, noise: FloatArray
    ) -> float:
        network, free = self.network, self.one.free.phases
        if statistic == "energy":
            errors = np.tile(noise, (len(phases), 1))
            found = statistics(network, phases, weights)
            variance = statistics_variance(network, phases, np.abs(weights), errors)
        else:
            delta = (weights[:, None] * wrap(phases - free)).sum(axis=0)[None]
            spread = (weights @ weights) * noise[None] ** 2
            found = displacement_statistics(network, free, delta, directed=False)
            variance = displacement_variance(network, free, spread, directed=False)
        bias = found.flatten() - self.exact
        total = bias @ bias + variance.flatten().sum()
        return float(total / (self.exact @ self.exact))


def sample_of(
    substrate: Substrate, parameters: Parameters, inputs: FloatArray, targets: FloatArray
) -> Sample:
    """Relax one sample on an exact substrate, to the free state that a probe comes to."""
    options, streams = ControllerOptions(), RandomStreams(1)
    controller = Controller(substrate, LogCosine(), OneSided(), options, streams)
    controller.program(parameters)
    one = controller.free_round(inputs, targets, (0, 0), "probe")
    network, phases = substrate.network, one.free.phases
    slope = np.zeros_like(phases)
    slope[:, network.outputs] = LogCosine().gradient(phases[:, network.outputs], targets)
    exact = exact_gradient(network, parameters, phases, slope, np.ones(1)).flatten()
    return Sample(network, exact, dataclasses.replace(one, beta=np.ones(1)))
