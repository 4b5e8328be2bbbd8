"""The homeostatic objective: its gradient, and what it does to plain nudges."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from nonreciprocal_networks import COST, STRENGTHS, Setting, cosine, settings

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.estimators import Alternative
from eqp_hw.learning.homeostasis import homeostatic_gradient
from eqp_hw.learning.optimisers import GradientDescent, OptimiserState, RateTable
from eqp_hw.learning.update import Update, UpdateOptions
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.parameters import Parameters

_log = logging.getLogger(__name__)


def _objective(network: Network, parameters: Parameters, phases: FloatArray) -> float:
    """Return L = ½ Σ_(i<j) (A_ij − A_ji)², averaged over samples, from the Jacobian itself."""
    total = 0.0
    for sample in phases:
        a = jacobian(network, parameters, sample).toarray()
        total += ((a - a.T) ** 2).sum() / 4
    return total / len(phases)


def test_gradient_against_finite_differences_of_the_objective() -> None:
    one = settings(0.3, 1)[0]
    network, rng = one.network, np.random.default_rng(3)
    # Bonds to inputs differ as well: A has no entry for them, so nothing pulls there.
    reverse = one.parameters.coupling + rng.normal(0, 0.3, network.n_couplings)
    held = dataclasses.replace(one.parameters, coupling_reverse=reverse)
    phases = rng.uniform(-np.pi, np.pi, (3, network.n_nodes))
    found = homeostatic_gradient(network, held, phases)
    assert not found.bias.any()
    n, step, flat = network.n_couplings, 1e-6, held.flatten()
    for index in np.linspace(0, 2 * n - 1, 40).astype(int):
        slopes = []
        for sign in (1, -1):
            moved = flat.copy()
            moved[index] += sign * step
            changed = Parameters(moved[:n], held.bias, moved[n : 2 * n])
            slopes.append(_objective(network, changed, phases))
        slope = (slopes[0] - slopes[1]) / (2 * step)
        assert found.flatten()[index] == pytest.approx(slope, abs=1e-8)


def _trained(one: Setting, steps: int) -> list[tuple[float, float]]:
    """Train one sample with plain nudges and homeostasis; return (hidden cosine(q, δ), C).

    The phases go on from where they are, as those of hardware do.
    """
    substrate, network = one.controller.substrate, one.network
    update = Update(
        network,
        substrate.capabilities,
        GradientDescent(),
        RateTable(0.1),
        UpdateOptions(homeostasis=4.0),
    )
    pattern = one.controller.gradient(one.inputs, one.targets, (0,))
    substrate.set_inputs(one.inputs)
    substrate.reset(0)
    master, memory, found = one.parameters, OptimiserState(), []
    phases = one.phases
    for _ in range(steps + 1):
        held = one.controller.program(master)
        assert substrate.settle().settled.all()
        free = substrate.read_phases()
        phases = free.phases
        field = COST.nudge_field(phases[:, network.outputs], one.targets)
        here = dataclasses.replace(
            one.one, held=held, free=free, token=substrate.store_state(), field=field
        )
        now = dataclasses.replace(one, parameters=master, one=here)
        q = now.displacement(Alternative())
        found.append((cosine(now.hidden(q), now.hidden(now.delta())), _cost(now)))
        plain = Alternative().measure(here)
        everything = np.ones(1, bool)
        gradient = plain.gradient(network, everything, np.ones(1), directed=True)
        substrate.restore_state(here.token)
        estimate = dataclasses.replace(pattern, gradient=gradient, free_phases=phases)
        master, memory = update.step(master, memory, estimate, None, 0)
    return found


def _cost(one: Setting) -> float:
    return float(COST.value(one.phases[:, one.network.outputs], one.targets)[0])


def test_homeostasis_makes_plain_nudges_true_within_tens_of_steps() -> None:
    """ep_methods §9 item 4: cosine to the true displacement above .99, and the task is learnt."""
    found = np.array([_trained(one, 40) for one in settings(STRENGTHS[0.13], 4)])
    cosines, costs = found[:, :, 0], found[:, :, 1]
    for path in cosines:
        _log.info("hidden cosine %.3f, after 10 steps %.4f, 40 steps %.5f", *path[[0, 10, 40]])
    assert cosines[:, 0].mean() < 0.7
    assert cosines[:, -1].min() > 0.99
    assert (costs[:, -1] < 0.5 * costs[:, 0]).all()


def test_tied_updates_keep_the_difference_and_bear_no_homeostasis() -> None:
    one = settings(0.3, 1)[0]
    network, held = one.network, one.parameters
    estimate = one.controller.gradient(one.inputs, one.targets, (0,))
    capabilities = one.controller.substrate.capabilities
    update = Update(
        network, capabilities, GradientDescent(), RateTable(0.1), UpdateOptions(tied=True)
    )
    moved, _ = update.step(held, OptimiserState(), estimate, None, 0)
    assert held.coupling_reverse is not None
    assert moved.coupling_reverse is not None
    np.testing.assert_allclose(
        moved.coupling - moved.coupling_reverse, held.coupling - held.coupling_reverse, atol=1e-14
    )
    gradient = estimate.gradient
    step = -0.1 * (gradient.coupling + gradient.coupling_reverse)
    np.testing.assert_allclose(moved.coupling, held.coupling + step)
    with pytest.raises(ConfigurationError, match="tied"):
        UpdateOptions(tied=True, homeostasis=0.1)


def test_a_reciprocal_network_needs_none() -> None:
    one = settings(0.0, 1)[0]
    tied = Parameters(one.parameters.coupling, one.parameters.bias)
    with pytest.raises(ValueError, match="needs no homeostasis"):
        homeostatic_gradient(one.network, tied, one.phases)


def test_a_sample_without_phases_has_no_say() -> None:
    one = settings(0.142, 1)[0]
    network, parameters = one.network, one.parameters
    phases = np.random.default_rng(3).uniform(-np.pi, np.pi, (3, network.n_nodes))
    expected = homeostatic_gradient(network, parameters, phases[:2])
    phases[2] = np.nan
    found = homeostatic_gradient(network, parameters, phases)
    np.testing.assert_array_equal(found.flatten(), expected.flatten())
    nothing = homeostatic_gradient(network, parameters, phases[2:])
    assert not nothing.flatten().any()
