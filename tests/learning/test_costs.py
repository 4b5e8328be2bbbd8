from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.costs import Cosine, Cost, CrossEntropy, FrozenTorque, LogCosine, distance

COSTS = [
    Cosine(),
    LogCosine(),
    LogCosine(0.5),
    CrossEntropy(),
    CrossEntropy(0.7),
    FrozenTorque(lambda p, t: (((p - t) ** 4).sum(axis=1), 4 * (p - t) ** 3)),
]


def _phases(n_outputs: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    phases = rng.uniform(-np.pi, np.pi, (20, n_outputs))
    targets = np.where(rng.random((20, n_outputs)) < 0.5, np.pi / 2, -np.pi / 2)
    targets[:, 0] = np.pi / 2
    return phases, targets


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("cost", COSTS, ids=lambda c: c.name)
def test_gradient_is_the_slope_of_the_value(cost: Cost, n_outputs: int) -> None:
    phases, targets = _phases(n_outputs)
    gradient = cost.gradient(phases, targets)
    step = 1e-6
    for output in range(n_outputs):
        shift = np.zeros(n_outputs)
        shift[output] = step
        slope = (cost.value(phases + shift, targets) - cost.value(phases - shift, targets)) / (
            2 * step
        )
        scale = np.maximum(1, np.abs(slope))
        assert (np.abs(slope - gradient[:, output]) / scale).max() < 1e-7


@pytest.mark.parametrize("cost", COSTS, ids=lambda c: c.name)
def test_nudge_field_exerts_minus_the_cost_gradient(cost: Cost) -> None:
    phases, targets = _phases(3)
    field = cost.nudge_field(phases, targets)
    torque = (np.exp(-1j * phases) * field).imag
    assert np.abs(torque + cost.gradient(phases, targets)).max() < 1e-12


def test_frozen_torque_adds_no_curvature_at_the_free_phases() -> None:
    phases, targets = _phases(3)
    field = LogCosine().nudge_field(phases, targets)
    # A field adds Re(exp(-iφ) f) to the diagonal of the Hessian.
    assert np.abs((np.exp(-1j * phases) * field).real).max() < 1e-12


def test_cosine_nudge_is_a_plain_field_towards_the_target() -> None:
    phases, targets = _phases(2)
    assert np.allclose(Cosine().nudge_field(phases, targets), np.exp(1j * targets))


def test_distance_is_zero_at_the_target_and_one_at_the_opposite() -> None:
    targets = np.array([[np.pi / 2], [-np.pi / 2]])
    assert np.allclose(distance(targets, targets), 0)
    assert np.allclose(distance(targets + np.pi, targets), 1)


def test_log_cosine_torque_is_half_angle_tangent_and_bounded() -> None:
    delta = np.array([[0.3], [1.2], [2.0]])
    torque = LogCosine(1e-9).gradient(delta, np.zeros_like(delta))
    assert np.allclose(torque, np.tan(delta / 2), rtol=1e-6)
    everywhere = np.linspace(-np.pi, np.pi, 10001)[:, None]
    largest = np.abs(LogCosine(0.01).gradient(everywhere, np.zeros_like(everywhere))).max()
    assert largest == pytest.approx(1 / np.sqrt(0.01 * 2.01), rel=1e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_unusable_constants_are_refused(bad: float) -> None:
    with pytest.raises(ConfigurationError, match=r"cost\.regularisation"):
        LogCosine(bad)
    with pytest.raises(ConfigurationError, match=r"cost\.sharpness"):
        CrossEntropy(bad)
