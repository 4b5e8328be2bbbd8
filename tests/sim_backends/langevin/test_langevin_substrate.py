"""Options, seeds, states, holds and replicas of the Langevin substrate."""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.errors import CapabilityError, ConfigurationError, SubstrateError
from eqp_hw.network.builders import square_lattice
from eqp_hw.network.graph import Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.parameters import Parameters
from eqp_hw.registry import make_substrate
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.langevin.factory import LangevinFactory
from eqp_hw.sim_backends.langevin.options import LangevinOptions
from eqp_hw.sim_backends.langevin.substrate import LangevinSubstrate
from eqp_hw.substrate import Oscillation, SettleStatus

LATTICE = square_lattice(3, 3, inputs=2, outputs=[8])


def _parameters() -> Parameters:
    rng = np.random.default_rng(1)
    return initial_parameters(LATTICE, rng, coupling="normal", bias="normal")


def _substrate(batch: int = 3, **options: object) -> LangevinSubstrate:
    substrate = LangevinSubstrate(
        LATTICE, LangevinOptions.model_validate({"settle_time": 5.0, **options})
    )
    substrate.write_parameters(_parameters())
    substrate.set_inputs(np.random.default_rng(2).uniform(-1, 1, (batch, len(LATTICE.inputs))))
    substrate.reset(1)
    return substrate


def test_the_factory_makes_it_by_name() -> None:
    substrate = make_substrate("langevin", LATTICE, {"temperature": 0.2, "nudge_sites": "outputs"})
    assert isinstance(substrate, LangevinSubstrate)
    assert substrate.capabilities.nudge_nodes == (8,)
    assert not substrate.capabilities.hidden_nudge
    assert substrate.capabilities.readout_noise == pytest.approx(np.sqrt(0.2))
    assert set(LangevinFactory().options()) == set(LangevinOptions.model_fields)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"temperature": -0.1}, "substrate.temperature"),
        ({"temperature": float("nan")}, "substrate.temperature"),
        ({"settle_time": 0.0}, "substrate.settle_time"),
        ({"time_step": 0.0}, "substrate.time_step"),
        ({"read_interval": -1.0}, "substrate.read_interval"),
        ({"read_time": 6.0}, "substrate.read_time"),
        ({"residual": 0.0}, "substrate.residual"),
        ({"nudge_sites": "inputs"}, "substrate.nudge_sites"),
        ({"heat": 1.0}, "substrate.heat"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigurationError, match=field):
        LangevinFactory().create(LATTICE, options)


def test_a_step_beyond_stability_is_refused() -> None:
    """ρ = 2·(1 + 1) for the middle of three nodes: steps below 2/3 with one clamped end."""
    chain = Network.create(3, [(0, 1), (1, 2)], inputs=[0], outputs=[2])
    parameters = Parameters(np.ones(2), np.zeros(3, complex))
    good = LangevinSubstrate(chain, LangevinOptions(time_step=0.6, temperature=0.0))
    good.write_parameters(parameters)
    good.set_inputs(np.zeros((1, 1)))
    good.reset(1)
    assert good.settle().residual.max() < 1e-6
    # The nudge makes the network stiffer.
    good.apply_nudge(np.ones((1, 2), complex), 0.5)
    with pytest.raises(ConfigurationError, match=r"substrate\.time_step"):
        good.settle()
    bad = LangevinSubstrate(chain, LangevinOptions(time_step=0.7))
    with pytest.raises(ConfigurationError, match=r"below 0\.667"):
        bad.write_parameters(parameters)


def test_reset_sets_phases_as_the_emulator_does_and_the_noise_anew() -> None:
    substrate = _substrate()
    with XYEmulator(LATTICE) as emulator:
        emulator.write_parameters(_parameters())
        emulator.set_inputs(substrate.read_phases().phases[:, LATTICE.inputs])
        emulator.reset(1)
        start = emulator.read_phases().phases
    np.testing.assert_array_equal(_substrate().read_phases().phases, start)
    runs = []
    for seed in (4, 4, 5):
        substrate.reset(seed)
        substrate.settle()
        runs.append(substrate.read_phases(2).phases)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0.01
    other = _substrate()
    other.reset(4)
    other.settle()
    np.testing.assert_array_equal(other.read_phases(2).phases, runs[0])


def test_without_reset_the_noise_goes_on() -> None:
    substrate = _substrate()
    substrate.settle()
    token = substrate.store_state()
    ends = []
    for _ in range(2):
        substrate.restore_state(token)
        substrate.settle()
        ends.append(substrate.read_phases().phases)
    assert np.abs(ends[0] - ends[1]).max() > 0.01


def test_states_are_restored_exactly_and_outlast_write_parameters() -> None:
    substrate = _substrate()
    substrate.settle()
    token = substrate.store_state()
    before = substrate.read_phases().phases
    substrate.settle()
    substrate.write_parameters(_parameters().map(lambda values: 1.1 * values))
    assert substrate.restore_state(token).all()
    np.testing.assert_array_equal(substrate.read_phases().phases, before)
    substrate.set_inputs(before[:, LATTICE.inputs])
    with pytest.raises(SubstrateError, match="until the next set_inputs"):
        substrate.restore_state(token)


def test_time_passes_between_reads_and_is_remembered() -> None:
    substrate = _substrate(read_interval=2.0)
    substrate.settle()
    first, second = substrate.read_phases(), substrate.read_phases()
    assert second.ended_s - first.ended_s == pytest.approx(2.0)
    assert np.abs(second.phases - first.phases).max() > 0.0
    many = substrate.read_phases(4)
    assert many.ended_s - second.ended_s == pytest.approx(8.0)
    assert many.count == 4
    free = LATTICE.free
    assert (many.standard_error[:, free] > 0).all()
    assert (many.standard_error[:, LATTICE.inputs] == 0).all()
    other = _substrate()
    other.restore_memory(substrate.store_memory())
    assert other.read_phases().ended_s == pytest.approx(many.ended_s)
    with pytest.raises(SubstrateError, match="keeps no memory of drift"):
        other.restore_memory({"drift": np.zeros(1)})
    with pytest.raises(SubstrateError, match="at least one read"):
        other.read_phases(0)


def test_status_is_what_a_laboratory_could_know() -> None:
    """Time is up: settled, unless a test of the mean force was asked for."""
    plain = _substrate(temperature=0.0, settle_time=0.5).settle()
    assert (plain.status == SettleStatus.EQUILIBRIUM).all()
    assert not plain.certified.any()
    assert not plain.positive_definite.any()
    assert plain.residual.max() > 1e-2
    strict = _substrate(temperature=0.0, settle_time=0.5, residual=1e-3).settle()
    assert (strict.status == SettleStatus.NOT_SETTLED).all()
    np.testing.assert_array_equal(strict.residual, plain.residual)
    patient = _substrate(temperature=0.0, settle_time=200.0, residual=1e-3).settle()
    assert patient.settled.all()


def test_held_outputs_stand_still_and_the_rest_moves() -> None:
    substrate = _substrate()
    substrate.settle()
    token = substrate.store_state()
    substrate.clamp_outputs(np.full((3, 1), 0.4))
    before = substrate.read_phases().phases
    substrate.settle()
    after = substrate.read_phases().phases
    np.testing.assert_allclose(after[:, 8], 0.4, rtol=1e-15)
    assert np.abs(after - before)[:, LATTICE.hidden].max() > 1e-3
    substrate.restore_state(token)
    substrate.settle()
    assert np.abs(substrate.read_phases().phases[:, 8] - 0.4).max() > 1e-3
    with pytest.raises(SubstrateError, match="shape"):
        substrate.clamp_outputs(np.zeros((3, 2)))


def test_replicas_begin_alike_and_move_apart() -> None:
    substrate = _substrate()
    substrate.settle()
    token = substrate.store_state()
    field = np.ones((3, len(LATTICE.free)), complex)
    measured, before = substrate.measure_together(token, [(field, 0.1), (field, -0.1)], 3)
    assert len(measured) == len(before) == 2
    np.testing.assert_array_equal(
        before[0].phases[:, LATTICE.inputs], before[1].phases[:, LATTICE.inputs]
    )
    assert np.abs(before[0].phases - before[1].phases).max() > 0.0
    assert all(m.outcome.settled.all() and m.reading.count == 3 for m in measured)
    with pytest.raises(CapabilityError, match="fewer replicas"):
        substrate.measure_together(token, [(field, 0.1)] * 3)
    cold = _substrate(temperature=0.0)
    cold.settle()
    token = cold.store_state()
    nudges = [(field, 0.1), (field, -0.1)]
    together, _ = cold.measure_together(token, nudges)
    apart = cold.measure_nudged(token, nudges)
    for one, other in zip(together, apart, strict=True):
        # Their step differs by the other replica's nudge at most.
        np.testing.assert_allclose(one.reading.phases, other.reading.phases, atol=1e-3)


def test_what_it_cannot_do_is_refused() -> None:
    substrate = _substrate()
    field = np.ones((3, len(LATTICE.free)), complex)
    with pytest.raises(CapabilityError, match="complex"):
        substrate.apply_nudge(field, 1j)
    with pytest.raises(ConfigurationError, match="oscillation"):
        substrate.measure_oscillating(substrate.store_state(), field, Oscillation(-1.0))
    with pytest.raises(SubstrateError, match="bond"):
        substrate.set_coupling_lag(np.full((LATTICE.n_edges, 2), np.nan))
    substrate.close()
    with pytest.raises(SubstrateError, match="closed"):
        substrate.settle()


def test_self_test_passes() -> None:
    steps = _substrate().self_test()
    assert [step.name for step in steps] == ["thermal law", "relaxation"]
    assert all(step.passed for step in steps), steps
