"""The controller's policy: hops, halving, restarts, exclusion, chunks, initial states."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.controller import Controller, ControllerOptions, GradientEstimate
from eqp_hw.learning.costs import Cosine, LogCosine
from eqp_hw.learning.estimators import Centred, OneSided
from eqp_hw.learning.response import measure_response
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.substrate import Measurement, SettleOutcome

# A frustrated 4 x 4 lattice: many minima, so that strong nudges do hop.
_EDGES = [(4 * r + c, 4 * r + c + 1) for r in range(4) for c in range(3)] + [
    (4 * r + c, 4 * r + c + 4) for r in range(3) for c in range(4)
]
NETWORK = Network.create(16, _EDGES, inputs=[0, 3], outputs=[12, 15])
BATCH = 24


def _emulator() -> XYEmulator:
    rng = np.random.default_rng(2)
    emulator = XYEmulator(NETWORK)
    bias = np.zeros(16, complex)
    emulator.write_parameters(Parameters(rng.normal(0, 1, NETWORK.n_couplings), bias))
    return emulator


def _samples() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(3)
    inputs = rng.uniform(-1.5, 1.5, (BATCH, 2))
    return inputs, rng.choice([-np.pi / 2, np.pi / 2], (BATCH, 2))


def _estimate(**options: float | None) -> GradientEstimate:
    settings = ControllerOptions(**options)  # type: ignore[arg-type]
    controller = Controller(_emulator(), Cosine(), Centred(), settings, RandomStreams(1))
    return controller.gradient(*_samples(), (0,))


def test_strong_nudges_hop_and_are_counted_when_nothing_may_be_retried() -> None:
    estimate = _estimate(beta=1.0, max_halvings=0, max_restarts=0)
    assert estimate.hops > 0
    assert estimate.excluded >= estimate.hops
    assert estimate.used + estimate.excluded == BATCH


def test_halving_rescues_hopping_samples() -> None:
    lost = _estimate(beta=1.0, max_halvings=0, max_restarts=0).excluded
    rescued = _estimate(beta=1.0, max_halvings=10, max_restarts=0)
    assert rescued.halvings > 0
    assert rescued.excluded < lost
    assert rescued.used + rescued.excluded == BATCH


def test_new_starts_come_after_halving_and_save_samples() -> None:
    lost = _estimate(beta=0.7, max_halvings=0, max_restarts=0)
    estimate = _estimate(beta=0.7, max_halvings=0, max_restarts=10)
    assert estimate.restarts >= lost.excluded > 0
    assert estimate.excluded < lost.excluded
    assert estimate.used + estimate.excluded == BATCH


def test_weak_nudges_need_no_policy() -> None:
    estimate = _estimate(beta=1e-4)
    assert (estimate.hops, estimate.halvings, estimate.restarts, estimate.excluded) == (0, 0, 0, 0)
    assert 0 < estimate.displacement_max < 0.1
    assert estimate.residual_max < 1e-10


def test_residual_is_unknown_where_the_substrate_knows_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator = _emulator()
    settle, measure = emulator.settle, emulator.measure_nudged

    def blind(outcome: SettleOutcome) -> SettleOutcome:
        return dataclasses.replace(outcome, residual=np.full_like(outcome.residual, np.nan))

    monkeypatch.setattr(emulator, "settle", lambda: blind(settle()))
    monkeypatch.setattr(
        emulator,
        "measure_nudged",
        lambda *a: [Measurement(blind(m.outcome), m.reading) for m in measure(*a)],
    )
    options = ControllerOptions(beta=1e-3)
    controller = Controller(emulator, Cosine(), Centred(), options, RandomStreams(1))
    assert np.isnan(controller.gradient(*_samples(), (0,)).residual_max)


def test_initial_states_are_independent_starts_of_each_sample() -> None:
    one, many = _estimate(beta=1e-3), _estimate(beta=1e-3, initial_states=5)
    assert many.used == 5 * BATCH
    outputs = many.output_phases.reshape(5, BATCH, 2)
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1  # other minima
    assert one.output_phases.shape == (BATCH, 2)


def test_gradient_is_the_mean_over_samples_for_any_chunking() -> None:
    """Chunks draw other starts, so compare on a network with a single minimum."""
    edges = [(0, 2), (1, 2), (0, 3), (1, 3)]
    network = Network.create(4, edges, inputs=[0, 1], outputs=[2, 3])
    emulator = XYEmulator(network)
    emulator.write_parameters(Parameters(np.array([1.0, 0.7, -0.4, 0.9]), np.zeros(4, complex)))
    inputs, targets = _samples()

    def run(size: int | None) -> FloatArray:
        options = ControllerOptions(beta=1e-3, batch_size=size)
        controller = Controller(emulator, LogCosine(), Centred(), options, RandomStreams(1))
        return controller.gradient(inputs, targets, (0,)).gradient.flatten()

    assert np.allclose(run(None), run(5), rtol=1e-9, atol=1e-12)
    assert np.allclose(run(None), run(1), rtol=1e-9, atol=1e-12)


def test_response_limit_lowers_the_weight_of_soft_samples_only() -> None:
    estimates = [
        _estimate(beta=1e-4, max_halvings=0, response_limit=limit) for limit in (None, 1e6, 1e-3)
    ]
    assert [estimate.limited for estimate in estimates] == [0, 0, BATCH]
    assert [estimate.used for estimate in estimates] == [BATCH] * 3
    free, loose, tight = (estimate.gradient.flatten() for estimate in estimates)
    assert np.array_equal(free, loose)
    # Every sample responds by more than 1e-3: all are scaled down, none is dropped.
    assert 0 < np.linalg.norm(tight) < 1e-2 * np.linalg.norm(free)
    between = _estimate(beta=1e-4, max_halvings=0, response_limit=1.0).gradient.flatten()
    assert np.linalg.norm(tight) < np.linalg.norm(between) < np.linalg.norm(free)


def test_nudge_maximum_lowers_beta_of_the_samples_that_need_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator = _emulator()
    limited: Capabilities = dataclasses.replace(emulator.capabilities, nudge_maximum=0.01)
    monkeypatch.setattr(XYEmulator, "capabilities", property(lambda _: limited))
    largest = []
    original = XYEmulator.measure_nudged

    def spy(self: XYEmulator, free: object, fields: list, repeats: int = 1) -> object:  # type: ignore[type-arg]
        largest.extend(float(np.abs(field * beta).max()) for field, beta in fields)
        return original(self, free, fields, repeats)  # type: ignore[arg-type]

    monkeypatch.setattr(XYEmulator, "measure_nudged", spy)
    options = ControllerOptions(beta=0.5)
    controller = Controller(emulator, LogCosine(), Centred(), options, RandomStreams(1))
    estimate = controller.gradient(*_samples(), (0,))
    assert max(largest) == pytest.approx(0.01)
    assert estimate.used == BATCH


def test_substrate_without_restore_gives_the_same_one_sided_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ControllerOptions(beta=1e-3)
    usual = Controller(_emulator(), Cosine(), OneSided(), options, RandomStreams(1))
    expected = usual.gradient(*_samples(), (0,)).gradient.flatten()
    emulator = _emulator()
    limited = dataclasses.replace(emulator.capabilities, state_restore=False)
    monkeypatch.setattr(XYEmulator, "capabilities", property(lambda _: limited))
    controller = Controller(emulator, Cosine(), OneSided(), options, RandomStreams(1))
    found = controller.gradient(*_samples(), (0,)).gradient.flatten()
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-9)


def _without_restore(**options: float) -> GradientEstimate:
    emulator = _emulator()
    able = dataclasses.replace(emulator.capabilities, state_restore=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(XYEmulator, "capabilities", property(lambda _: able))
        settings = ControllerOptions(**options)  # type: ignore[arg-type]
        controller = Controller(emulator, Cosine(), OneSided(), settings, RandomStreams(1))
        return controller.gradient(*_samples(), (0,))


def test_without_restore_a_hop_is_not_retried_from_where_it_led() -> None:
    """The free state is lost: the smaller nudge comes only with the new start."""
    estimate = _without_restore(beta=1.0, max_restarts=0)
    assert estimate.hops == estimate.excluded > 0
    assert estimate.halvings == 0


def test_without_restore_each_new_start_after_a_hop_halves_beta() -> None:
    """At the same β some samples hop from every start; at half of it each time, none is lost."""
    stubborn = _without_restore(beta=1.0, max_halvings=0, max_restarts=6)
    assert stubborn.excluded > 0
    assert stubborn.restarts >= 6 * stubborn.excluded
    halved = _without_restore(beta=1.0, max_halvings=4, max_restarts=6)
    assert halved.halvings == halved.restarts == halved.hops > 0
    assert halved.excluded == 0
    assert halved.used == BATCH
    once = _without_restore(beta=1.0, max_halvings=1, max_restarts=6)
    assert once.halvings <= once.restarts


def test_response_is_the_inverse_hessian() -> None:
    emulator = _emulator()
    controller = Controller(emulator, Cosine(), Centred(), ControllerOptions(), RandomStreams(1))
    inputs = _samples()[0][:3]
    chi, phases = measure_response(controller, inputs, (0,), torque=1e-4)
    emulator.set_inputs(inputs)
    parameters = Parameters(
        np.random.default_rng(2).normal(0, 1, NETWORK.n_couplings), np.zeros(16, complex)
    )
    columns = NETWORK.free_index[NETWORK.outputs]
    for sample in range(3):
        inverse = np.linalg.inv(jacobian(NETWORK, parameters, phases[sample]).toarray())
        expected = inverse[:, columns]
        assert np.allclose(chi[sample][NETWORK.free], expected, rtol=1e-4, atol=1e-5)
        assert np.all(chi[sample][NETWORK.inputs] == 0)


@pytest.mark.parametrize(
    ("name", "value"), [("beta", 0.0), ("beta", np.nan), ("repeats", 0), ("initial_states", 0)]
)
def test_unusable_options_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"estimator\.{name}"):
        ControllerOptions(**{name: value})  # type: ignore[arg-type]
