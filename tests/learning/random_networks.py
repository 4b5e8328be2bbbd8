"""Random XY networks with one sample each, and what every estimator could do on them at best."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.estimators import LinearContrast, OneSided
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import displacement_statistics, statistics
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.physics.uncertainty import displacement_variance, statistics_variance
from eqp_hw.randomness import RandomStreams
from eqp_hw.substrate import Substrate

BETAS = np.geomspace(1e-3, 3.0, 36)


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
    """One random network at its free state, with exact G(β) at will."""

    network: Network
    exact: FloatArray
    one: object

    def phases(self, betas: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (n, N) phases at each β, and whether each is connected to the free state."""
        measured = self.one.measure([(self.one.sites(self.one.field * b), 1.0) for b in betas])
        return (
            np.stack([m.reading.phases[0] for m in measured]),
            np.array([m.outcome.settled[0] & ~m.outcome.hop[0] for m in measured]),
        )

    def mean_square_error(
        self, estimator: LinearContrast, beta: float, sigma: float, reads: int
    ) -> float:
        """Return E‖estimate − truth‖²/‖truth‖² with white read-out noise; inf after a hop.

        Exact to second order in the noise: bias by the noiseless states, variance by
        propagation, averaged over the random signs of the estimator.
        """
        network, free = self.network, self.one.free.phases
        recipe = estimator.contrast(8, np.random.default_rng(3))
        recipes = np.concatenate([recipe.factors, recipe.weights, recipe.free_weight[None]]).T
        errors = []
        for row in np.unique(recipes, axis=0):
            k = len(recipe.factors)
            factors, weights, own = row[:k], row[k : 2 * k], row[-1]
            phases, good = self.phases(factors * beta)
            if not good.all():
                return np.inf
            if own:
                phases, weights = np.vstack([phases, free]), np.append(weights, own)
            weights = weights / beta
            noise = np.full(phases.shape, sigma / np.sqrt(reads // len(weights)))
            noise[:, network.inputs] = 0
            if estimator.statistic == "energy":
                found = statistics(network, phases, weights)
                variance = statistics_variance(network, phases, np.abs(weights), noise)
            else:
                delta = (weights[:, None] * wrap(phases - free)).sum(axis=0)[None]
                spread = ((weights[:, None] * noise) ** 2).sum(axis=0)[None]
                found = displacement_statistics(network, free, delta, directed=False)
                variance = displacement_variance(network, free, spread, directed=False)
            bias = found.flatten() - self.exact
            errors.append((bias @ bias + variance.flatten().sum()) / (self.exact @ self.exact))
        return float(np.mean(errors))


def sample_of(substrate: Substrate, parameters: Parameters, inputs, targets) -> Sample:
    """Relax one sample on an exact substrate."""
    controller = Controller(
        substrate, LogCosine(), OneSided(), ControllerOptions(), RandomStreams(1)
    )
    controller.program(parameters)
    one = controller.free_round(inputs, targets, (0, 0), "probe")
    network, phases = substrate.network, one.free.phases
    slope = np.zeros_like(phases)
    slope[:, network.outputs] = LogCosine().gradient(phases[:, network.outputs], targets)
    exact = exact_gradient(network, parameters, phases, slope, np.ones(1)).flatten()
    return Sample(network, exact, dataclasses.replace(one, beta=np.ones(1)))
