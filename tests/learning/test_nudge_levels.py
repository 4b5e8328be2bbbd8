"""Nudges on a substrate that has only a few amplitudes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from level_substrate import LevelSubstrate

from eqp_hw.capabilities import Capabilities
from eqp_hw.conformance.suite import SubstrateConformance
from eqp_hw.errors import CapabilityError
from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cosine, Cost, CrossEntropy, LogCosine
from eqp_hw.learning.estimators import Centred, LinearContrast, OneSided, RandomSign, Richardson
from eqp_hw.learning.nudge_strength import NudgeStrength
from eqp_hw.learning.response import measure_response
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.substrate import Substrate

BATCH = 6
# A frustrated 4 x 4 lattice: strong nudges hop.
_EDGES = [(4 * r + c, 4 * r + c + 1) for r in range(4) for c in range(3)] + [
    (4 * r + c, 4 * r + c + 4) for r in range(3) for c in range(4)
]


def _network(n_outputs: int) -> Network:
    return Network.create(16, _EDGES, inputs=[0, 3], outputs=[15, 12][:n_outputs])


def _parameters(network: Network) -> Parameters:
    coupling = np.random.default_rng(2).normal(0, 1, network.n_couplings)
    return Parameters(coupling, np.zeros(16, complex))


def _emulator(n_outputs: int = 2) -> XYEmulator:
    network = _network(n_outputs)
    emulator = XYEmulator(network)
    emulator.write_parameters(_parameters(network))
    return emulator


def _samples(n_outputs: int = 2, batch: int = BATCH) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(3)
    inputs = rng.uniform(-1.5, 1.5, (batch, 2))
    return inputs, rng.choice([-np.pi / 2, np.pi / 2], (batch, n_outputs))


def _controller(
    substrate: LevelSubstrate | XYEmulator,
    cost: Cost,
    estimator: LinearContrast,
    beta: float,
    **options: int,
) -> Controller:
    settings = ControllerOptions(beta=beta, **options)  # type: ignore[arg-type]  # ints only
    return Controller(substrate, cost, estimator, settings, RandomStreams(1))


@pytest.mark.parametrize("estimator", [OneSided(), RandomSign(), Centred()], ids=lambda e: e.name)
@pytest.mark.parametrize("asked", [1e-4, 8e-4, 1.4e-3, 0.5])
def test_cosine_cost_uses_the_nearest_level_and_divides_by_it(
    estimator: LinearContrast, asked: float
) -> None:
    levels = (0.0, 1e-3, 2e-3)
    real = 2e-3 if asked > 1.5e-3 else 1e-3
    coarse = LevelSubstrate(_emulator(), levels)
    found = _controller(coarse, Cosine(), estimator, asked).gradient(*_samples(), (0,))
    fine = _controller(_emulator(), Cosine(), estimator, real).gradient(*_samples(), (0,))
    assert coarse.made == {real}
    assert coarse.rounding < 1e-12
    assert np.allclose(found.gradient.flatten(), fine.gradient.flatten(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("cost", [LogCosine(), CrossEntropy()], ids=lambda c: c.name)
def test_one_output_takes_a_level_by_a_beta_of_its_own_for_each_sample(cost: Cost) -> None:
    coarse = LevelSubstrate(_emulator(1), (1e-3,))
    inputs, targets = _samples(1)
    found = _controller(coarse, cost, Centred(), 0.1).gradient(inputs, targets, (0,))
    assert coarse.made == {1e-3}
    assert coarse.rounding < 1e-12
    emulator = _emulator(1)
    network = emulator.network
    emulator.set_inputs(inputs)
    emulator.reset(RandomStreams(1).number("free phase", 0, 0, 0))
    emulator.settle()
    phases = emulator.read_phases().phases
    slope = np.zeros_like(phases)
    slope[:, network.outputs] = cost.gradient(phases[:, network.outputs], targets)
    # The torques differ a lot, so that one β for all could not have done this.
    torque = np.abs(slope[:, network.outputs])
    assert torque.max() > 3 * torque.min()
    weights = np.full(BATCH, 1 / BATCH)
    exact = exact_gradient(network, _parameters(network), phases, slope, weights).flatten()
    assert np.linalg.norm(found.gradient.flatten() - exact) < 1e-3 * np.linalg.norm(exact)


@pytest.mark.parametrize("cost", [LogCosine(), CrossEntropy()], ids=lambda c: c.name)
def test_several_torques_cannot_be_made_of_levels(cost: Cost) -> None:
    coarse = LevelSubstrate(_emulator(), (0.01, 0.02))
    message = rf"cost.kind = '{cost.name}': this substrate makes only nudges of amplitudes 0.01, "
    with pytest.raises(CapabilityError, match=message + r"0.02.*allowed: cosine"):
        _controller(coarse, cost, Centred(), 0.01)
    assert coarse.moves == 0


def test_a_field_that_is_not_what_the_cost_promised_is_refused() -> None:
    strength = NudgeStrength(Capabilities(nudge_nodes=(0, 1), nudge_levels=(0.1,)))
    field, beta = strength.of(np.array([[2.0, 0.0], [2j, -2.0], [0.0, 0.0]]), 0.1)
    assert np.allclose(np.abs(field) * beta[:, None], [[0.1, 0], [0.1, 0.1], [0, 0]])
    with pytest.raises(CapabilityError, match=r"nudge field = \[2.0, 1.0\].*one amplitude"):
        strength.of(np.array([[2.0, 1.0j]]), 0.1)


def test_richardson_needs_levels_in_its_ratio() -> None:
    coarse = LevelSubstrate(_emulator(), (1e-3, 1.5e-3, 2e-3))
    found = _controller(coarse, Cosine(), Richardson(), 1.5e-3).gradient(*_samples(), (0,))
    fine = _controller(_emulator(), Cosine(), Richardson(), 2e-3).gradient(*_samples(), (0,))
    assert coarse.made == {1e-3, 2e-3}
    assert np.allclose(found.gradient.flatten(), fine.gradient.flatten(), rtol=1e-6, atol=1e-9)
    odd = LevelSubstrate(_emulator(), (1e-3, 3e-3))
    with pytest.raises(CapabilityError, match=r"2 nudge amplitudes in the ratio 0.5 : 1.*centred"):
        _controller(odd, Cosine(), Richardson(), 1e-3)


def test_levels_above_the_maximum_do_not_exist() -> None:
    able = Capabilities(nudge_nodes=(0,), nudge_levels=(0.0, 0.1, 0.2, 0.4), nudge_maximum=0.3)
    assert able.base_levels() == (0.1, 0.2)
    assert able.base_levels((0.5, 1.0)) == (0.2,)
    assert Capabilities(nudge_nodes=(0,)).base_levels() is None
    none = LevelSubstrate(_emulator(), (0.2,), nudge_maximum=0.1)
    with pytest.raises(CapabilityError, match="a nudge amplitude above 0"):
        _controller(none, Cosine(), Centred(), 0.1)


def test_a_hop_goes_to_the_level_nearest_to_half_and_gives_up_at_the_lowest() -> None:
    def run(levels: tuple[float, ...]) -> tuple[LevelSubstrate, int, int, int]:
        substrate = LevelSubstrate(_emulator(), levels)
        controller = _controller(substrate, Cosine(), Centred(), 1.0, max_restarts=0)
        found = controller.gradient(*_samples(batch=24), (0,))
        assert found.used + found.excluded == 24
        return substrate, found.hops, found.halvings, found.excluded

    substrate, hops, halvings, excluded = run((0.01, 0.45, 1.0))
    assert hops > 0
    assert halvings > 0
    assert {0.45, 1.0} <= substrate.made
    assert substrate.rounding < 1e-12
    lone, lone_hops, lone_halvings, lost = run((1.0,))
    assert lone.made == {1.0}
    assert (lone_halvings, lost) == (0, lone_hops)
    assert excluded < lost


def test_response_is_measured_with_a_level() -> None:
    coarse = LevelSubstrate(_emulator(), (1e-4,))
    chi, phases = measure_response(
        _controller(coarse, Cosine(), Centred(), 1e-4), _samples()[0], (0,)
    )
    network = coarse.network
    assert coarse.made == {1e-4}
    for sample in range(BATCH):
        dense = jacobian(network, _parameters(network), phases[sample]).toarray()
        expected = np.linalg.inv(dense)[:, network.free_index[network.outputs]]
        assert np.allclose(chi[sample][network.free], expected, rtol=1e-3, atol=1e-4)


def test_a_beta_that_is_no_level_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        _controller(LevelSubstrate(_emulator(), (0.1, 0.5)), Cosine(), Centred(), 0.1)
        assert not caplog.records
        _controller(LevelSubstrate(_emulator(), (0.1, 0.5)), Cosine(), Centred(), 0.2)
    assert "estimator.beta = 0.2 is not a nudge level of this substrate; 0.1 is used" in caplog.text


@given(
    levels=st.lists(st.floats(1e-4, 10), min_size=1, max_size=6, unique=True).map(sorted),
    amplitude=st.floats(0, 1e3),
    beta=st.floats(1e-5, 10),
)
@settings(deadline=None, max_examples=100)
def test_each_choice_is_a_level_and_each_lower_one_is_lower(
    levels: list[float], amplitude: float, beta: float
) -> None:
    strength = NudgeStrength(Capabilities(nudge_nodes=(0,), nudge_levels=tuple(levels)))
    field, chosen = strength.of(np.array([[amplitude * 1j]]), beta)
    for _ in range(len(levels)):
        made = float(np.abs(field[0, 0]) * chosen[0])
        assert made == 0 or min(abs(made / level - 1) for level in levels) < 1e-9
        assert np.isfinite(chosen[0])
        assert chosen[0] > 0
        lower, possible = strength.lowered(field, chosen)
        assert (lower < chosen)[possible].all()
        if not possible[0]:
            assert made <= levels[0] * (1 + 2e-6)
            break
        chosen = lower
    else:
        pytest.fail("lowering does not end")


class TestLevelSubstrateConforms(SubstrateConformance):
    """The suite asks only for nudges that exist."""

    @pytest.fixture
    def substrate(self) -> Iterator[Substrate]:
        made = LevelSubstrate(XYEmulator(_network(2)), (1e-3, 0.01, 0.05))
        yield made
        assert made.rounding < 1e-12
        made.close()
