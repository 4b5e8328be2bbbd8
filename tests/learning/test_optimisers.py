from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.optimisers import (
    Adam,
    GradientDescent,
    Momentum,
    Optimiser,
    OptimiserState,
    RateTable,
)
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters

NETWORK = Network.create(
    4,
    [(0, 1), (1, 2), (2, 3)],
    inputs=[0],
    outputs=[3],
    group_kind=[0, 0, 1],
    kind_names=("near", "far"),
)


def _gradient(seed: int) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(rng.normal(size=3), rng.normal(size=4) + 1j * rng.normal(size=4))


def _run(optimiser: Optimiser, gradients: list[Parameters], rate: float = 0.1) -> Parameters:
    parameters, state = Parameters.zeros(NETWORK), OptimiserState()
    table = RateTable(rate)
    for gradient in gradients:
        rates = table.rates(NETWORK, parameters, 0)
        parameters, state = optimiser.step(parameters, gradient, rates, state)
    return parameters


def test_gradient_descent_moves_by_rate_times_gradient() -> None:
    gradients = [_gradient(1), _gradient(2)]
    moved = _run(GradientDescent(), gradients)
    assert np.allclose(moved.coupling, -0.1 * (gradients[0].coupling + gradients[1].coupling))
    assert np.allclose(moved.bias, -0.1 * (gradients[0].bias + gradients[1].bias))


def test_momentum_is_the_heavy_ball() -> None:
    first, second, third = (_gradient(k).coupling for k in (1, 2, 3))
    moved = _run(Momentum(0.9), [_gradient(1), _gradient(2), _gradient(3)]).coupling
    v1 = first
    v2 = 0.9 * v1 + second
    v3 = 0.9 * v2 + third
    assert np.allclose(moved, -0.1 * (v1 + v2 + v3))


def test_adam_first_step_has_the_size_of_the_rate_in_every_part() -> None:
    moved = _run(Adam(), [_gradient(5)], rate=0.01)
    gradient = _gradient(5)
    assert np.allclose(moved.coupling, -0.01 * np.sign(gradient.coupling), rtol=1e-6)
    assert np.allclose(moved.bias.real, -0.01 * np.sign(gradient.bias.real), rtol=1e-6)
    assert np.allclose(moved.bias.imag, -0.01 * np.sign(gradient.bias.imag), rtol=1e-6)


def test_adam_agrees_with_its_published_recursion() -> None:
    gradients = [_gradient(k) for k in range(6)]
    m = v = np.zeros(3)
    expected = np.zeros(3)
    for t, gradient in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * gradient.coupling
        v = 0.999 * v + 0.001 * gradient.coupling**2
        expected = expected - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert np.allclose(_run(Adam(), gradients).coupling, expected, rtol=1e-12)


def test_rates_follow_kind_bias_factor_and_epoch() -> None:
    table = RateTable(0.5, {"far": 0.1, "bias": 0.0}, decay=0.5)
    rates = table.rates(NETWORK, Parameters.zeros(NETWORK), epoch=2)
    assert np.allclose(rates.coupling, [0.125, 0.125, 0.0125])
    assert np.allclose(rates.bias, 0)


def test_directed_parameters_keep_both_directions() -> None:
    zero = Parameters.zeros(NETWORK, directed=True)
    gradient = Parameters(np.ones(3), np.zeros(4, complex), 2 * np.ones(3))
    rates = RateTable(0.1).rates(NETWORK, zero, 0)
    moved, _ = Momentum().step(zero, gradient, rates, OptimiserState())
    assert np.allclose(moved.coupling, -0.1)
    assert moved.coupling_reverse is not None
    assert np.allclose(moved.coupling_reverse, -0.2)


def test_bad_settings_name_field_and_value() -> None:
    with pytest.raises(ConfigurationError, match=r"optimiser\.learning_rate = -1"):
        RateTable(-1)
    with pytest.raises(ConfigurationError, match=r"optimiser\.decay = 0"):
        RateTable(1.0, decay=0)
    with pytest.raises(ConfigurationError, match=r"optimiser\.momentum = 1\.0"):
        Momentum(1.0)
    with pytest.raises(ConfigurationError, match="allowed: bias, far, near"):
        RateTable(1.0, {"nearest": 2.0}).check(NETWORK)
    with pytest.raises(ConfigurationError, match=r"rate_factors\.far = -2"):
        RateTable(1.0, {"far": -2.0}).check(NETWORK)
