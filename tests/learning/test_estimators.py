"""Bias of each estimator against the exact implicit gradient and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cosine, Cost, CrossEntropy, LogCosine
from eqp_hw.learning.estimators import (
    ESTIMATORS,
    Centred,
    OneSided,
    RandomSign,
    fitting_estimators,
    make_estimator,
)
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import XYEmulator

N_SAMPLES = 4
# Bonds 0-4 and 1-4 share a coupling, so that a shared gradient is tested as well.
_EDGES = [(i, j) for i in range(2) for j in range(2, 7)] + [
    (i, j) for i in range(2, 7) for j in range(i + 1, 7)
]
_GROUPS = [0, 1, 2, 3, 4, 5, 6, 2, 7, 8, *range(9, 9 + len(_EDGES) - 10)]
NETWORK = Network.create(7, _EDGES, inputs=[0, 1], outputs=[5, 6], coupling_group=_GROUPS)


def _setting() -> tuple[XYEmulator, Parameters, FloatArray, FloatArray]:
    rng = np.random.default_rng(21)
    bias = np.zeros(7, complex)
    bias[NETWORK.free] = rng.normal(0, 0.4, 5) + 1j * rng.normal(0, 0.4, 5)
    parameters = Parameters(rng.normal(0, 0.8, NETWORK.n_couplings), bias)
    inputs = rng.uniform(-1.5, 1.5, (N_SAMPLES, 2))
    targets = rng.choice([-np.pi / 2, np.pi / 2], (N_SAMPLES, 2))
    emulator = XYEmulator(NETWORK)
    emulator.write_parameters(parameters)
    return emulator, parameters, inputs, targets


def _estimate(name: str, cost: Cost, beta: float) -> Parameters:
    emulator, _, inputs, targets = _setting()
    options = ControllerOptions(beta=beta, max_halvings=0, max_restarts=0)
    controller = Controller(emulator, cost, make_estimator(name), options, RandomStreams(5))
    estimate = controller.gradient(inputs, targets, (0,))
    assert estimate.used == N_SAMPLES
    assert estimate.hops == 0
    return estimate.gradient


def _exact(cost: Cost) -> Parameters:
    emulator, parameters, inputs, targets = _setting()
    options = ControllerOptions(beta=1e-4)
    controller = Controller(emulator, cost, OneSided(), options, RandomStreams(5))
    # The same free states as in `_estimate`: same seed, same address.
    emulator.set_inputs(inputs)
    emulator.reset(RandomStreams(5).number("free phase", 0, 0, 0))
    emulator.settle()
    phases = emulator.read_phases().phases
    slope = np.zeros_like(phases)
    slope[:, NETWORK.outputs] = controller.cost.gradient(phases[:, NETWORK.outputs], targets)
    weights = np.full(N_SAMPLES, 1 / N_SAMPLES)
    return exact_gradient(NETWORK, parameters, phases, slope, weights)


def _error(name: str, cost: Cost, beta: float, exact: FloatArray) -> float:
    difference = _estimate(name, cost, beta).flatten() - exact
    return float(np.linalg.norm(difference) / np.linalg.norm(exact))


@pytest.mark.parametrize("cost", [Cosine(), LogCosine(), CrossEntropy()], ids=lambda c: c.name)
@pytest.mark.parametrize(
    ("name", "slope", "betas"),
    [
        ("one-sided", 1, (1e-3, 2e-3, 4e-3)),
        ("centred", 2, (4e-3, 8e-3, 1.6e-2)),
        ("richardson", 4, (1.6e-2, 3.2e-2, 6.4e-2)),
    ],
)
def test_bias_falls_with_the_order_of_the_estimator(
    name: str, slope: int, betas: tuple[float, ...], cost: Cost
) -> None:
    exact = _exact(cost).flatten()
    errors = [_error(name, cost, beta, exact) for beta in betas]
    measured = np.polyfit(np.log(betas), np.log(errors), 1)[0]
    assert measured == pytest.approx(slope, abs=0.1)


def test_estimate_agrees_with_finite_differences_of_the_cost() -> None:
    """A route without any gradient formula: C itself, at re-settled equilibria."""
    emulator, parameters, inputs, targets = _setting()
    cost = LogCosine()

    def mean_cost(changed: Parameters) -> float:
        emulator.write_parameters(parameters)
        emulator.set_inputs(inputs)
        emulator.reset(RandomStreams(5).number("free phase", 0, 0, 0))
        emulator.settle()
        emulator.write_parameters(changed)  # continues from the settled phases
        emulator.settle()
        outputs = emulator.read_phases().phases[:, NETWORK.outputs]
        return float(cost.value(outputs, targets).mean())

    estimate = _estimate("richardson", cost, 5e-3)
    step = 1e-5
    for index in range(NETWORK.n_couplings):
        shift = np.zeros(NETWORK.n_couplings)
        shift[index] = step
        up = Parameters(parameters.coupling + shift, parameters.bias)
        down = Parameters(parameters.coupling - shift, parameters.bias)
        slope = (mean_cost(up) - mean_cost(down)) / (2 * step)
        assert estimate.coupling[index] == pytest.approx(slope, abs=1e-6)
    for node in NETWORK.free:
        for direction, part in ((1, "real"), (1j, "imag")):
            shift = np.zeros(NETWORK.n_nodes, complex)
            shift[node] = direction * step
            up = Parameters(parameters.coupling, parameters.bias + shift)
            down = Parameters(parameters.coupling, parameters.bias - shift)
            slope = (mean_cost(up) - mean_cost(down)) / (2 * step)
            assert getattr(estimate.bias[node], part) == pytest.approx(slope, abs=1e-6)


def test_random_sign_averages_to_the_centred_estimate() -> None:
    emulator, _, inputs, targets = _setting()
    beta, repeats = 2e-2, 64
    options = ControllerOptions(beta=beta, max_halvings=0, max_restarts=0)
    streams = RandomStreams(5)
    many = np.tile(inputs[:1], (repeats, 1)), np.tile(targets[:1], (repeats, 1))
    signs = RandomSign().contrast(repeats, streams.generator("estimator", 0, 0, 0, 0)).factors[0]
    assert 0.3 < (signs > 0).mean() < 0.7

    def run(estimator: RandomSign | Centred | OneSided) -> FloatArray:
        controller = Controller(emulator, Cosine(), estimator, options, streams)
        return controller.gradient(*many, (0,)).gradient.flatten()

    centred, random, one = run(Centred()), run(RandomSign()), run(OneSided())
    # The mean of ± one-sided estimates lies between the sides, in proportion to the signs.
    lean = float(np.mean(signs))
    assert np.linalg.norm(random - centred) < (abs(lean) + 0.2) * np.linalg.norm(one - centred)


def test_requirements_are_refused_in_a_sentence_that_names_alternatives() -> None:
    poor = Capabilities(nudge_nodes=(1,), signed_nudge=False, state_restore=False)
    assert fitting_estimators(poor) == ["one-sided"]
    with pytest.raises(
        CapabilityError, match="nudges of both signs and return to a stored"
    ) as info:
        ESTIMATORS["centred"].requirements.check(poor, "centred", fitting_estimators(poor))
    assert "allowed: one-sided" in str(info.value)
    few = Capabilities(nudge_nodes=(1,), nudge_levels=(0.0, 0.1))
    assert "2 nudge amplitudes" in ESTIMATORS["richardson"].requirements.missing(few)[0]


def test_unknown_estimator_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="one-sided, random-sign, centred, richardson"):
        make_estimator("magic")
