"""Error of every estimator on random networks, by how far the phases are displaced."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from bench_substrates import Around
from estimator_bench import NETWORK, controller, emulator, free_round, measured, relative

from eqp_hw.learning.controller import Controller, ControllerOptions, GradientEstimate
from eqp_hw.learning.costs import Cosine
from eqp_hw.learning.estimators import ESTIMATORS, Centred, make_estimator
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.registry import make_substrate
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.substrate import Reading

N_NETWORKS = 40
KINDS = ["one-sided", "centred", "richardson", "chebyshev", "cauchy", "alternative", "dual"]
# Median relative errors at a largest displacement of .1, .2, .4 rad as ep_methods §2 has them.
EXPECTED = {
    "one-sided": (8e-2, 0.15, 0.27),
    "centred": (7e-3, 2.7e-2, 9e-2),
    "richardson": (3e-5, 4e-4, 4e-3),
    "chebyshev": (4e-10, 5e-8, 1e-5),
    "cauchy": (5e-8, 8e-6, 1e-3),
}


class Case:
    """One random network with one sample."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([4, seed])
        n_free = int(rng.integers(18, 25))
        n = n_free + 3
        edges = [(i, j) for j in range(3, n) for i in range(j)]
        network = Network.create(n, edges, inputs=[0, 1, 2], outputs=[n - 2, n - 1])
        bias = np.zeros(n, complex)
        bias[3:] = rng.normal(0, 0.3, n_free) + 1j * rng.normal(0, 0.3, n_free)
        self.parameters = Parameters(rng.normal(0, n**-0.5, network.n_couplings), bias)
        self.inputs = rng.uniform(-1.5, 1.5, (1, 3))
        self.targets = rng.choice([-np.pi / 2, np.pi / 2], (1, 2))
        substrate = XYEmulator(network, EmulatorOptions(threads=1))
        options = ControllerOptions(beta=0.05, max_halvings=0, max_restarts=0)
        self.controller = Controller(substrate, Cosine(), Centred(), options, RandomStreams(seed))
        self.controller.program(self.parameters)

    def run(self, kind: str, beta: float) -> GradientEstimate:
        changed = self.controller.changed(make_estimator(kind), beta=beta)
        return changed.gradient(self.inputs, self.targets, (0,))

    def beta_for(self, displacement: float) -> float | None:
        """β at which the centred estimate displaces a phase so far, or None if it hops."""
        beta = 0.05
        for _ in range(4):
            found = self.run("centred", beta)
            if not found.used:
                return None
            beta *= displacement / found.displacement_max
        return beta

    def exact(self) -> FloatArray:
        phases = self.run("centred", 1e-3).free_phases
        slope = np.zeros_like(phases)
        outputs = self.controller.substrate.network.outputs
        slope[:, outputs] = Cosine().gradient(phases[:, outputs], self.targets)
        network = self.controller.substrate.network
        return exact_gradient(network, self.parameters, phases, slope, np.ones(1)).flatten()


@cache
def medians() -> dict[str, list[float]]:
    errors: dict[tuple[str, int], list[float]] = {}
    for seed in range(N_NETWORKS):
        case = Case(seed)
        truth = case.exact()
        for column, displacement in enumerate((0.1, 0.2, 0.4)):
            beta = case.beta_for(displacement)
            if beta is None:
                continue
            for kind in KINDS:
                found = case.run(kind, beta)
                if found.used:
                    error = relative(found.gradient.flatten(), truth)
                    errors.setdefault((kind, column), []).append(error)
    assert all(len(found) > 0.7 * N_NETWORKS for found in errors.values())
    return {kind: [float(np.median(errors[kind, column])) for column in range(3)] for kind in KINDS}


def test_high_orders_reach_their_accuracy() -> None:
    assert medians()["chebyshev"][0] <= 1e-8
    assert medians()["cauchy"][0] <= 1e-6


@pytest.mark.parametrize("kind", EXPECTED)
def test_medians_are_those_known_for_such_networks(kind: str) -> None:
    """Within a factor of three for each two orders: other networks, the same physics."""
    order = {"one-sided": 1, "centred": 2, "richardson": 4}.get(kind, 8)
    factor = 3 ** max(order / 2, 1)
    for found, expected in zip(medians()[kind], EXPECTED[kind], strict=True):
        assert expected / factor < found < expected * factor


def test_two_equal_replicas_are_as_good_as_one_nudged_twice() -> None:
    assert np.allclose(medians()["dual"], medians()["centred"], rtol=1e-6)
    assert np.allclose(medians()["alternative"], medians()["centred"], rtol=0.5)


def test_where_reads_cannot_tell_their_error_the_capabilities_do() -> None:
    one = free_round(controller(Centred(), 0.05, substrate=Around(emulator(), readout_noise=0.02)))
    silent = Reading(one.free.phases, np.full_like(one.free.phases, np.nan), 4, 0.0, 0.0)
    errors = one.errors(silent)
    assert np.allclose(errors[:, NETWORK.free], 0.02 / np.sqrt(4))
    assert not errors[:, NETWORK.inputs].any()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_samples_at_rest_are_left_alone(kind: str) -> None:
    """What is done already is neither nudged nor clamped, and says nothing."""
    active = np.array([True, False, True, False])
    whole = free_round(controller(make_estimator(kind), 0.02))
    found = make_estimator(kind).measure(dataclasses.replace(whole, active=active))
    assert found.displacement[active].min() > 1e-3
    assert found.displacement[~active].max() < 1e-9
    assert found.good.all()
    silent = found.gradient(NETWORK, ~active, np.ones(2)).flatten()
    assert np.abs(silent).max() < 1e-6


def test_standard_errors_of_portions_add_up() -> None:
    """Sample by sample, as hardware measures, or all at once."""
    stated = []
    for size in (None, 1):
        substrate = make_substrate(
            "emulator", NETWORK, {"imperfections": [{"kind": "readout-noise", "sigma": 0.01}]}
        )
        found = measured(
            controller(Centred(), 0.05, substrate=substrate, repeats=64, batch_size=size)
        )
        stated.append(np.linalg.norm(found.standard_error.flatten()))
    assert stated[1] == pytest.approx(stated[0], rel=0.3)
