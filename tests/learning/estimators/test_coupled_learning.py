"""Coupled learning: which gradient its limit is, and that it leaves the free state behind."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_substrates import Drifting
from estimator_bench import (
    N_SAMPLES,
    NETWORK,
    controller,
    emulator,
    estimate,
    exact,
    free_round,
    log_slope,
    measured,
    relative,
    setting,
)

from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.estimators import Centred, Coupled
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import energy, jacobian
from eqp_hw.physics.exact_gradient import exact_gradient


def _stiffness(phases: FloatArray) -> FloatArray:
    """K = H_oo − H_oh·H_hh⁻¹·H_ho of one sample."""
    hessian = jacobian(NETWORK, setting()[0], phases).toarray()
    o, h = NETWORK.free_index[NETWORK.outputs], NETWORK.free_index[NETWORK.hidden]
    inner = np.linalg.solve(hessian[np.ix_(h, h)], hessian[np.ix_(h, o)])
    stiffness: FloatArray = hessian[np.ix_(o, o)] - hessian[np.ix_(o, h)] @ inner
    return stiffness


def _limit() -> FloatArray:
    """The exact gradient of a cost with ∂C/∂φ_o = −K·Δ, mean over samples."""
    one = free_round(controller(Centred(), 0.1))
    phases = one.free.phases
    slope = np.zeros_like(phases)
    for sample, row in enumerate(phases):
        delta = wrap(one.targets[sample] - row[NETWORK.outputs])
        slope[sample, NETWORK.outputs] = -_stiffness(row) @ delta
    weights = np.full(N_SAMPLES, 1 / N_SAMPLES)
    return exact_gradient(NETWORK, setting()[0], phases, slope, weights).flatten()


@pytest.mark.parametrize(
    ("two_sided", "order", "betas"),
    [(False, 1, (5e-4, 1e-3, 2e-3)), (True, 2, (2e-3, 4e-3, 8e-3))],
    ids=["one side", "two sides"],
)
def test_its_limit_is_the_gradient_for_the_torque_k_delta(two_sided, order, betas) -> None:
    errors = [relative(estimate("coupled", b, {"two_sided": two_sided}), _limit()) for b in betas]
    assert log_slope(betas, errors) == pytest.approx(order, abs=0.1)
    assert errors[0] < 2e-3


def test_it_is_not_the_gradient_of_the_chosen_cost() -> None:
    found = estimate("coupled", 1e-3, {"two_sided": True})
    assert np.allclose(found, estimate("coupled", 1e-3, {"two_sided": True}, cost=LogCosine()))
    assert relative(found, exact()) > 0.1


def test_the_contrast_of_energies_is_its_cost() -> None:
    """E(clamped) − E(free) = ½·η²·ΔᵀKΔ, by energies alone."""
    parameters, eta = setting()[0], 1e-3
    made = controller(Coupled(two_sided=True), eta)
    one = free_round(made)
    found = made.estimator.measure(one)
    free = energy(NETWORK, parameters, one.free.phases)
    rise = sum(energy(NETWORK, parameters, phases) - free for phases in found.phases) / 2
    for sample, row in enumerate(one.free.phases):
        delta = wrap(one.targets[sample] - row[NETWORK.outputs])
        expected = delta @ _stiffness(row) @ delta / 2
        assert rise[sample] / eta**2 == pytest.approx(expected, rel=1e-4)


def test_outputs_are_clamped_on_the_way_to_their_targets_and_let_go() -> None:
    eta = 0.1
    made = controller(Coupled(), eta)
    one = free_round(made)
    active = np.array([True, False, True, True])
    found = made.estimator.measure(dataclasses.replace(one, active=active))
    outputs = one.free.phases[:, NETWORK.outputs]
    clamp = outputs + eta * active[:, None] * wrap(one.targets - outputs)
    assert np.allclose(wrap(found.phases[0][:, NETWORK.outputs] - clamp), 0, atol=1e-12)
    assert np.allclose(found.phases[0][1], one.free.phases[1], atol=1e-9)
    # Nothing is held any more, and the phases are those of the free state.
    assert made.substrate.settle().settled.all()
    assert np.allclose(made.substrate.read_phases().phases, one.free.phases, atol=1e-9)


def test_a_null_round_clamps_where_the_outputs_are() -> None:
    made = controller(Coupled(), 0.1)
    found = made.gradient(*setting()[1:], (0,), nothing=True)
    assert np.abs(found.gradient.flatten()).max() < 1e-8


def test_two_sides_are_interleaved() -> None:
    clean = measured(controller(Coupled(two_sided=True), 0.01)).gradient.flatten()
    errors = []
    for interleave in (False, True):
        made = controller(
            Coupled(two_sided=True),
            0.01,
            substrate=Drifting(emulator(), 1e-4),
            repeats=2,
            interleave=interleave,
        )
        errors.append(relative(measured(made).gradient.flatten(), clean))
    assert errors[1] < errors[0] / 10
