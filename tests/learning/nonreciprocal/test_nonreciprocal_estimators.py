"""Plain nudges against transposed and asymmetric ones where J_ij ≠ J_ji."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from nonreciprocal_networks import (
    COST,
    STRENGTHS,
    Setting,
    cosine,
    network_of,
    parameters_of,
    relative_error,
    setting,
    settings,
)

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.learning.estimators import (
    ESTIMATORS,
    Alternative,
    AsymmetricEP,
    Round,
    Transposed,
    make_estimator,
)
from eqp_hw.learning.estimators.acceleration import Anderson
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.nonreciprocal import (
    replacement_field,
    transposed_parameters,
    transposing_torque,
)
from eqp_hw.physics.parameters import Parameters
from eqp_hw.substrate import Substrate

NETWORKS = 8
_log = logging.getLogger(__name__)
ACCURATE = AsymmetricEP(tolerance=1e-5)


def test_plain_nudges_fail_at_hidden_nodes_and_the_two_remedies_are_exact() -> None:
    """ep_methods §3, §9 item 4; pytest --log-cli-level=INFO shows the table."""
    _log.info("||S||/||A||  plain (cosine at hidden nodes)  transposed  asymmetric (errors)")
    plain = {}
    for wanted, strength in STRENGTHS.items():
        found, cosines, errors = [], [], {Transposed: [], AsymmetricEP: []}
        for one in settings(strength, NETWORKS):
            found.append(one.asymmetry)
            delta = one.hidden(one.delta())
            cosines.append(cosine(one.hidden(one.displacement(Alternative())), delta))
            for estimator in (Transposed(), ACCURATE):
                error = relative_error(one.gradient(estimator), one.exact())
                errors[type(estimator)].append(error)
        plain[wanted] = float(np.mean(cosines))
        worst = {kind: max(values) for kind, values in errors.items()}
        _log.info(
            "%.3f  %.2f  %.1e  %.1e",
            np.mean(found),
            plain[wanted],
            worst[Transposed],
            worst[AsymmetricEP],
        )
        assert np.mean(found) == pytest.approx(wanted, rel=0.15)
        assert max(worst.values()) < 1e-3
    assert plain[0.13] < 0.7
    assert plain[0.03] > 0.9
    assert plain[0.03] > plain[0.06] > plain[0.13] > plain[0.21]


@pytest.mark.parametrize("seed", [0, 3])
def test_the_directed_gradient_agrees_with_finite_differences(seed: int) -> None:
    """No gradient formula in it: C at equilibria that were settled anew."""
    one = setting(seed, STRENGTHS[0.13])
    substrate, network, held = one.controller.substrate, one.network, one.parameters
    estimate = one.gradient(Transposed())
    flat, n, step = held.flatten(), network.n_couplings, 1e-5
    substrate.restore_state(one.one.token)

    def cost(changed: np.ndarray) -> float:
        bias = changed[2 * n : 2 * n + network.n_nodes] + 1j * changed[2 * n + network.n_nodes :]
        substrate.write_parameters(Parameters(changed[:n], bias, changed[n : 2 * n]))
        assert substrate.settle().settled.all()
        outputs = substrate.read_phases().phases[:, network.outputs]
        return float(COST.value(outputs, one.targets)[0])

    inside = np.isin(np.arange(n), network.coupling_group[network.internal_edges])
    some = np.concatenate([np.flatnonzero(np.tile(inside, 2))[::9], 2 * n + network.free[::4]])
    for index in some:
        shift = np.zeros_like(flat)
        shift[index] = step
        slope = (cost(flat + shift) - cost(flat - shift)) / (2 * step)
        assert estimate[index] == pytest.approx(slope, abs=2e-4 * np.abs(estimate).max())


def test_feedback_torque_turns_the_jacobian_into_its_transpose() -> None:
    one = setting(1, 0.4)
    a, free = one.jacobian(), one.network.free
    u = np.zeros_like(one.phases)
    u[0, free] = np.random.default_rng(0).normal(size=len(free))
    torque = transposing_torque(one.network, one.parameters, one.phases, u)[0]
    np.testing.assert_allclose(-a @ u[0, free] + torque[free], -a.T @ u[0, free], atol=1e-12)
    assert not torque[one.network.inputs].any()


def test_transposed_network_rests_at_the_same_phases_with_the_transposed_jacobian() -> None:
    one = setting(2, 0.4)
    network, held, phases = one.network, one.parameters, one.phases
    turned = transposed_parameters(network, held)
    field = turned.bias + replacement_field(network, held, turned, phases)
    assert np.abs(force(network, turned, phases, field)).max() < 1e-9
    found = jacobian(network, turned, phases[0], field[0]).toarray()
    np.testing.assert_allclose(found, one.jacobian().T, atol=1e-12)
    # The formulas of ep_methods §3, written apart.
    i, j = network.edges[network.internal_edges].T
    forward, reverse = (part[network.internal_edges] for part in held.bond_coupling(network))
    turn = phases[0, i] - phases[0, j]
    along, across = np.zeros(network.n_nodes), np.zeros(network.n_nodes)
    np.add.at(along, i, (forward - reverse) * np.cos(turn))
    np.add.at(along, j, (reverse - forward) * np.cos(turn))
    np.add.at(across, i, (reverse - forward) * np.sin(turn))
    np.add.at(across, j, (forward - reverse) * np.sin(-turn))
    local = replacement_field(network, held, turned, phases)[0] * np.exp(-1j * phases[0])
    np.testing.assert_allclose(local, along + 1j * across, atol=1e-12)


def test_a_coupling_shared_with_an_input_bond_is_transposed_all_the_same() -> None:
    network = network_of(0)
    group = network.coupling_group.copy()
    group[network.internal_edges[0]] = group[network.boundary_edges[0]]
    group = np.unique(group, return_inverse=True)[1]
    shared = type(network).create(
        network.n_nodes,
        network.edges,
        inputs=network.inputs,
        outputs=network.outputs,
        coupling_group=group,
    )
    held = parameters_of(shared, 0, 0.3)
    held.coupling[:] += 0.05  # the shared coupling is no longer reciprocal
    phases = np.random.default_rng(1).uniform(-1, 1, (1, shared.n_nodes))
    turned = transposed_parameters(shared, held)
    field = turned.bias + replacement_field(shared, held, turned, phases)
    np.testing.assert_allclose(
        force(shared, turned, phases, field), force(shared, held, phases), atol=1e-12
    )
    np.testing.assert_allclose(
        jacobian(shared, turned, phases[0], field[0]).toarray(),
        jacobian(shared, held, phases[0]).toarray().T,
        atol=1e-12,
    )


@pytest.mark.parametrize("kind", ["transposed", "asymmetric"])
def test_reciprocal_networks_get_the_alternative_formula(kind: str) -> None:
    one = setting(4, 0.0)
    tied = Parameters(one.parameters.coupling, one.parameters.bias)
    one.controller.program(tied)
    fresh = one.controller.free_round(one.inputs, one.targets, (0,), "test")
    expected = Alternative().measure(fresh)
    found = make_estimator(kind).measure(fresh)
    np.testing.assert_array_equal(found.phases, expected.phases)
    np.testing.assert_array_equal(found.weights, expected.weights)


class _Spy:
    """Remembers what was written; fails at a settle when told to."""

    def __init__(self, inner: Substrate, fail_at: int | None = None) -> None:
        self._inner, self.written, self._settles, self._fail_at = inner, [], 0, fail_at

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write_parameters(self, parameters: Parameters) -> Parameters:
        self.written.append(parameters)
        return self._inner.write_parameters(parameters)

    def settle(self) -> object:
        self._settles += 1
        if self._settles == self._fail_at:
            raise RuntimeError("the lights went out")
        return self._inner.settle()


def _spied(one: Setting, spy: _Spy) -> Round:
    return dataclasses.replace(one.one, substrate=spy)


def test_the_original_parameters_are_written_back_whatever_happens() -> None:
    one = setting(5, 0.3)
    spy = _Spy(one.controller.substrate)
    assert Transposed().measure(_spied(one, spy)).good.all()
    failing = _Spy(one.controller.substrate, fail_at=1)
    with pytest.raises(RuntimeError, match="lights"):
        Transposed().measure(_spied(one, failing))
    for written in (spy.written, failing.written):
        assert len(written) == 2
        np.testing.assert_array_equal(written[0].coupling_reverse[-9:], written[1].coupling[-9:])
        np.testing.assert_array_equal(written[1].flatten(), one.parameters.flatten())


def test_phases_that_leave_the_free_state_count_as_hopped() -> None:
    """From phases that are no equilibrium the static field leads elsewhere."""
    one = setting(6, 0.3)
    moved = one.phases.copy()
    moved[:, one.network.free] += 0.5
    reading = dataclasses.replace(one.one.free, phases=moved)
    found = Transposed().measure(dataclasses.replace(one.one, free=reading))
    assert found.hopped.all()


def test_asymmetric_without_convergence_counts_as_unsettled() -> None:
    one = setting(7, STRENGTHS[0.21])
    assert AsymmetricEP().measure(one.one).good.all()
    assert not AsymmetricEP(max_rounds=3).measure(one.one).settled.any()
    assert not AsymmetricEP(memory=0).measure(one.one).settled.any()


def test_a_field_beyond_the_maximum_is_not_asked_for() -> None:
    one = setting(1, 0.3)
    weak = _Spy(one.controller.substrate)
    weak.capabilities = dataclasses.replace(one.controller.substrate.capabilities)
    object.__setattr__(weak.capabilities, "nudge_maximum", 1.01e-3)
    for estimator in (Transposed(), AsymmetricEP()):
        found = estimator.measure(_spied(one, weak))
        assert not found.settled.any()
    with pytest.raises(CapabilityError, match="static fields"):
        Transposed().check(_spied(one, weak))


def test_null_contrast_is_nothing() -> None:
    one = setting(3, 0.3)
    null = dataclasses.replace(one.one, nothing=True)
    for estimator in (Transposed(), AsymmetricEP()):
        found = estimator.measure(null)
        assert found.good.all()
        assert found.displacement.max() < 1e-8


def test_requirements() -> None:
    poor = Capabilities(nudge_nodes=(1,), directed_couplings=True, nudge_levels=(0.1,))
    lacks = ESTIMATORS["transposed"].requirements.missing(poor)
    assert lacks == [
        "nudges at hidden nodes",
        "couplings reprogrammed within one estimate",
        "a continuum of nudge amplitudes",
    ]
    assert "nudges at hidden nodes" in ESTIMATORS["asymmetric"].requirements.missing(poor)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("transposed", {"drift_limit": 0.0}),
        ("asymmetric", {"tolerance": 0.0}),
        ("asymmetric", {"max_rounds": 1}),
        ("asymmetric", {"memory": -1}),
    ],
)
def test_options_out_of_range(kind: str, options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        make_estimator(kind, options)


def test_anderson_solves_what_repetition_cannot() -> None:
    """x = Mx + b with eigenvalues of M beyond 1: exact after as many rounds as unknowns."""
    rng = np.random.default_rng(2)
    m, b = rng.normal(size=(3, 5, 5)), rng.normal(size=(3, 5))
    assert np.abs(np.linalg.eigvals(m)).max() > 1
    x, mixing = np.zeros((3, 5)), Anderson(5)
    for _ in range(8):
        x = mixing.next(x, np.einsum("bij,bj->bi", m, x) + b - x)
    np.testing.assert_allclose(x, np.linalg.solve(np.eye(5) - m, b[..., None])[..., 0], rtol=1e-6)
