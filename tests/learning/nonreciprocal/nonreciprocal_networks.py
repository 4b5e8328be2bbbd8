"""Random networks of 18 to 24 free nodes whose couplings differ by direction, at one free state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cosine
from eqp_hw.learning.estimators import Alternative, Estimator, Round
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.nonreciprocal import asymmetry
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.emulator_options import EmulatorOptions

COST = Cosine()
STRENGTHS = {0.03: 0.09, 0.06: 0.18, 0.13: 0.37, 0.21: 0.58}
"""Mean ‖S‖/‖A‖ and the standard deviation of a, relative to that of J, that makes it."""


def network_of(seed: int) -> Network:
    """Return a random graph: 4 inputs, 3 outputs, every second pair coupled."""
    rng = np.random.default_rng([17, seed])
    n = 4 + int(rng.integers(18, 25))
    pairs = [(i, j) for i in range(n) for j in range(max(i + 1, 4), n) if rng.random() < 0.5]
    return Network.create(n, pairs, inputs=range(4), outputs=range(n - 3, n))


def parameters_of(network: Network, seed: int, strength: float) -> Parameters:
    """Return J ± a with a = strength·J in size, and bias fields."""
    rng = np.random.default_rng([18, seed])
    free, size = network.free, 1 / np.sqrt(0.5 * len(network.free))
    bias = np.zeros(network.n_nodes, complex)
    bias[free] = rng.normal(0, 0.5, len(free)) + 1j * rng.normal(0, 0.5, len(free))
    coupling = size * rng.normal(size=network.n_couplings)
    antisymmetric = strength * size * rng.normal(size=network.n_couplings)
    antisymmetric[network.coupling_group[network.boundary_edges]] = 0.0
    return Parameters(coupling + antisymmetric, bias, coupling - antisymmetric)


@dataclass(frozen=True, eq=False)
class Setting:
    """One network at the free state of one sample."""

    controller: Controller
    parameters: Parameters
    inputs: FloatArray
    targets: FloatArray
    one: Round

    @property
    def network(self) -> Network:
        return self.controller.substrate.network

    @property
    def phases(self) -> FloatArray:
        return self.one.free.phases

    @property
    def asymmetry(self) -> float:
        return float(asymmetry(self.network, self.parameters, self.phases)[0])

    def jacobian(self) -> FloatArray:
        return jacobian(self.network, self.parameters, self.phases[0]).toarray()

    def tilt(self) -> FloatArray:
        """Return ∂C/∂φ at the free state, (1, N)."""
        tilt = np.zeros_like(self.phases)
        outputs = self.network.outputs
        tilt[:, outputs] = COST.gradient(self.phases[:, outputs], self.targets)
        return tilt

    def delta(self) -> FloatArray:
        """Return the exact δ = −A⁻ᵀ∇C of the free nodes."""
        return np.linalg.solve(self.jacobian().T, -self.tilt()[0, self.network.free])

    def exact(self) -> FloatArray:
        network, one = self.network, np.ones(1)
        found = exact_gradient(network, self.parameters, self.phases, self.tilt(), one)
        return found.flatten()

    def displacement(self, estimator: Estimator) -> FloatArray:
        """Return the displacement of the free nodes per β that an estimator measures."""
        found = estimator.measure(self.one)
        assert found.good.all()
        shift = wrap(found.phases[:, 0] - found.free[0])
        return (found.weights[:, 0, None] * shift).sum(axis=0)[self.network.free]

    def gradient(self, estimator: Estimator) -> FloatArray:
        found = estimator.measure(self.one)
        assert found.good.all()
        everything, one = np.ones(1, bool), np.ones(1)
        return found.gradient(self.network, everything, one, directed=True).flatten()

    def hidden(self, free_values: FloatArray) -> FloatArray:
        return free_values[self.network.free_index[self.network.hidden]]


def settings(strength: float, count: int) -> list[Setting]:
    """Return the first ``count`` networks that have a fixed point: not all of them do."""
    found = (_relaxed(seed, strength) for seed in range(2 * count))
    settled = [one for one in found if one.one.active.all()]
    assert len(settled) >= count
    return settled[:count]


def setting(seed: int, strength: float) -> Setting:
    """Relax one sample of one random network that is known to have a fixed point."""
    one = _relaxed(seed, strength)
    assert one.one.active.all()
    return one


def _relaxed(seed: int, strength: float) -> Setting:
    network = network_of(seed)
    parameters = parameters_of(network, seed, strength)
    emulator = XYEmulator(network, EmulatorOptions(threads=1, t_max=1e4, max_steps=300))
    options, streams = ControllerOptions(beta=1e-3), RandomStreams(seed)
    controller = Controller(emulator, COST, Alternative(), options, streams)
    controller.program(parameters)
    rng = np.random.default_rng([19, seed])
    inputs = rng.uniform(-np.pi / 2, np.pi / 2, (1, 4))
    targets = rng.choice([-np.pi / 2, np.pi / 2], (1, 3))
    one = controller.free_round(inputs, targets, (0,), "test")
    return Setting(controller, parameters, inputs, targets, one)


def cosine(a: FloatArray, b: FloatArray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def relative_error(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
