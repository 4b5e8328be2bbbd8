"""The plant as a whole: its phases rest where the physics says, whoever looks how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.energy import energy, force, jacobian
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.engines import choose_engine
from eqp_hw.sim_backends.relaxation.directed import relax_directed
from eqp_hw.sim_backends.relaxation.interface import Bonds, RelaxationOptions
from eqp_hw.sim_backends.virtual_lab.clock import RealClock, TransactionClock
from eqp_hw.sim_backends.virtual_lab.plant.plant import Plant
from eqp_hw.sim_backends.virtual_lab.plant.shifters import Shifters
from eqp_hw.sim_backends.virtual_lab.plant.small_directed import step_if_certain
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

MakeRig = Callable[..., Rig]
ALL = list(range(8))
GAIN = 21
IMPERFECT = {
    "half_wave_power_spread": 0.1,
    "resistance_spread": 0.1,
    "phase_offset_spread": 0.3,
    "crosstalk_spread": 0.2,
    "coupling_spread": 0.1,
}


def drive(plant: Plant, seed: int, largest_V: float = 5.0) -> None:
    """Set all heaters, and let them come to rest."""
    rng = np.random.default_rng(seed)
    for channel in range(21):
        plant.set_voltage("heaters", channel, rng.uniform(0, largest_V))
    plant.elapse(1.0)


def total_field(plant: Plant) -> ComplexArray:
    field = plant.bias()
    field[plant.rig.network.outputs] += plant.nudge()
    return field


def parameters(plant: Plant) -> Parameters:
    # Each bond of the tiny network has a coupling of its own.
    forward, reverse = plant.couplings()
    directed = bool(plant.truths.reciprocity.any())
    return Parameters(forward, plant.bias(), reverse if directed else None)


def flow_end(plant: Plant, start: FloatArray) -> FloatArray:
    """Follow the flow by an independent integrator until it has ended."""
    network, known, field = plant.rig.network, parameters(plant), total_field(plant)
    solution = solve_ivp(
        lambda _, phases: force(network, known, phases[None, :], field)[0],
        (0.0, 400.0),
        start,
        method="LSODA",
        rtol=1e-10,
        atol=1e-12,
    )
    end: FloatArray = solution.y[:, -1]
    return end


@pytest.mark.parametrize("reciprocity", [0.0, 0.1])
def test_the_phases_are_where_the_flow_ends(make_tiny_rig: MakeRig, reciprocity: float) -> None:
    rig = make_tiny_rig(virtual_lab=IMPERFECT | {"reciprocity_error": reciprocity})
    for seed in range(5):
        plant = Plant(rig, seed)
        before = plant.phases()
        drive(plant, seed)
        after = plant.phases()
        start = np.where(np.isin(np.arange(6), rig.network.inputs), after, before)
        residual = force(rig.network, parameters(plant), after[None, :], total_field(plant))
        assert np.abs(residual).max() <= 1e-10
        spectrum = np.linalg.eigvals(
            jacobian(rig.network, parameters(plant), after, total_field(plant)).toarray()
        )
        assert spectrum.real.min() > 0
        np.testing.assert_allclose(after, flow_end(plant, start), atol=1e-6)
        state = plant.state()
        assert state["settled"]
        assert state["residual"] <= 1e-10


def test_the_energy_is_flat_at_the_phases(make_tiny_rig: MakeRig) -> None:
    plant = Plant(make_tiny_rig(virtual_lab=IMPERFECT), 3)
    drive(plant, 3)
    phases, network = plant.phases(), plant.rig.network

    def at(shift: FloatArray) -> float:
        return float(
            energy(network, parameters(plant), (phases + shift)[None, :], total_field(plant))[0]
        )

    for node in network.free:
        step = np.zeros(network.n_nodes)
        step[node] = 1e-5
        assert abs(at(step) - at(-step)) / 2e-5 < 1e-8
        assert at(step) > at(np.zeros_like(step)) < at(-step)


def test_nominal_voltages_give_the_wanted_parameters(make_tiny_rig: MakeRig) -> None:
    rig = make_tiny_rig()
    plant, known = Plant(rig), nominal_calibration(rig)
    theta = np.random.default_rng(1).uniform(0.5, 2.5, 21)
    power = np.linalg.solve(known.crosstalk, theta * known.half_wave_power_W / np.pi)
    assert (power > 0).all()
    for channel, volts in enumerate(np.sqrt(power * known.resistance_ohm)):
        plant.set_voltage("heaters", channel, volts)
    plant.elapse(1.0)
    np.testing.assert_allclose(plant.shifter_phases(), theta, atol=1e-12)
    np.testing.assert_allclose(plant.coupling_parameters(), 3.0 * np.cos(theta[:9]))
    np.testing.assert_allclose(plant.inputs(), theta[9:11], atol=1e-12)
    expected = 3.0 * np.sin(theta[11:15] / 2) * np.exp(1j * theta[15:19])
    np.testing.assert_allclose(plant.bias()[rig.network.free], expected)
    np.testing.assert_allclose(
        plant.nudge(), 0.5 * np.sin(theta[19:20] / 2) * np.exp(1j * theta[20:21])
    )


def test_a_nudge_moves_the_output_towards_it(make_tiny_rig: MakeRig) -> None:
    plant = Plant(make_tiny_rig(), 1)
    drive(plant, 1, 2.0)
    for channel in (19, 20):
        plant.set_voltage("heaters", channel, 0.0)
    plant.elapse(1.0)
    output = plant.rig.network.outputs[0]
    before = plant.phases()[output]
    for channel in (19, 20):
        plant.set_voltage("heaters", channel, 3.0)
    plant.elapse(1.0)
    target = np.angle(plant.nudge()[0])
    after = plant.phases()[output]
    assert np.cos(after - target) > np.cos(before - target)


def test_looking_often_changes_nothing_but_the_relaxations(make_tiny_rig: MakeRig) -> None:
    rig = make_tiny_rig(virtual_lab=IMPERFECT)
    rare, often = Plant(rig, 2), Plant(rig, 2)
    for plant, pieces in ((rare, 1), (often, 50)):
        plant.phases()
        drive(plant, 0)
        plant.phases()
        plant.set_voltage("heaters", 3, 2.0)
        for _ in range(pieces):
            plant.elapse(2e-3 / pieces)
            plant.phases()
    np.testing.assert_allclose(rare.shifter_phases(), often.shifter_phases(), atol=1e-12)
    np.testing.assert_allclose(rare.phases(), often.phases(), atol=1e-9)


def test_nothing_relaxes_where_nothing_changed(make_tiny_rig: MakeRig) -> None:
    plant = Plant(make_tiny_rig(), 1)
    drive(plant, 1)
    plant.phases()
    count = plant.state()["relaxations"]
    plant.detector_V("detectors", ALL, 3)
    plant.elapse(5.0)
    plant.set_voltage("heaters", 4, plant.voltage_V("heaters", 4))
    plant.phases()
    assert plant.state()["relaxations"] == count
    plant.set_voltage("heaters", 4, 1.0)
    plant.elapse(1.0)
    plant.phases()
    assert plant.state()["relaxations"] == count + 1


def test_heat_lags_by_the_thermal_time(make_tiny_rig: MakeRig) -> None:
    plant = Plant(make_tiny_rig(calibration={"crosstalk": []}), 0)
    plant.set_voltage("heaters", 0, np.sqrt(0.025 * 500))
    plant.elapse(1e-3)
    assert plant.shifter_phases()[0] == pytest.approx(np.pi * (1 - np.exp(-1)), rel=1e-12)
    plant.set_voltage("heaters", 0, 0.0)
    plant.elapse(1e-3)
    assert plant.shifter_phases()[0] == pytest.approx(
        np.pi * (1 - np.exp(-1)) * np.exp(-1), rel=1e-12
    )


@pytest.mark.parametrize("pieces", [1, 25])
def test_drift_is_a_random_walk_however_often_seen(make_tiny_rig: MakeRig, pieces: int) -> None:
    figures = nominal_calibration(make_tiny_rig())
    drifts = []
    for seed in range(100):
        shifters = Shifters(figures, [False] * 21, 1e-3, 0.02, np.random.default_rng(seed))
        for _ in range(pieces):
            shifters.advance(4.0 / pieces)
        drifts.append(shifters.phases)
    assert np.std(drifts) == pytest.approx(0.02 * 2.0, rel=0.05)


def test_the_gain_switch_gives_fresh_phases(make_tiny_rig: MakeRig) -> None:
    # All couplings and inputs at rest, but J of both signs: several equilibria.
    rig = make_tiny_rig(readout={"kind": "iq"}, calibration={"readout_offset_V": 0.2})
    plant = Plant(rig, 4)
    rng = np.random.default_rng(12)
    for channel in range(9):
        plant.set_voltage("heaters", channel, rng.uniform(0, 5))
    plant.elapse(1.0)
    seen = []
    for _ in range(12):
        plant.set_voltage("heaters", GAIN, 5.0)
        plant.elapse(0.01)
        assert np.isnan(plant.phases()[rig.network.free]).all()
        np.testing.assert_array_equal(plant.detector_V("detectors", ALL, 1), 0.2)
        plant.set_voltage("heaters", GAIN, 0.0)
        plant.elapse(0.01)
        phases = plant.phases()
        known = force(rig.network, parameters(plant), phases[None, :], total_field(plant))
        assert np.abs(known).max() <= 1e-10
        seen.append(tuple(np.round(np.exp(1j * phases), 6)))
    assert len(set(seen)) > 1


def test_an_unstable_symmetric_state_is_left(make_tiny_rig: MakeRig) -> None:
    rig = make_tiny_rig(calibration={"crosstalk": []})
    plant = Plant(rig, 0)
    np.testing.assert_allclose(plant.phases(), 0.0, atol=1e-12)
    for channel in range(6):
        plant.set_voltage("heaters", channel, np.sqrt(0.025 * 500))
    plant.elapse(1.0)
    # J = -3 from the inputs: where the hidden phases stood is now the top of the hill.
    phases = plant.phases()
    assert plant.state()["settled"]
    np.testing.assert_allclose(np.cos(phases[2:5]), -1.0, atol=1e-12)


def test_what_finds_no_rest_goes_on_moving(make_tiny_rig: MakeRig) -> None:
    # Bonds that drive in one direction only, far from reciprocal: some never rest.
    rig = make_tiny_rig()
    truths = draw_truths(rig, 0)
    restless = 0
    for seed in range(12):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], len(rig.network.edges))
        plant = Plant(rig, seed, truths=replace(truths, reciprocity=6.0 * signs))
        drive(plant, seed)
        first = plant.phases()
        if plant.state()["settled"]:
            np.testing.assert_array_equal(plant.phases(), first)
            continue
        restless += 1
        assert (plant.phases() != first).any()
    assert restless >= 1


def test_dead_and_unwired_channels_do_nothing(make_tiny_rig: MakeRig) -> None:
    rig = make_tiny_rig(
        virtual_lab={"dead_channels": ["heaters:3", "detectors:1"]},
        calibration={"crosstalk": [], "readout_offset_V": 0.1},
    )
    plant = Plant(rig, 0)
    for channel in (2, 3, 77):
        plant.set_voltage("heaters", channel, 3.0)
        assert plant.voltage_V("heaters", channel) == 3.0
    plant.elapse(1.0)
    assert plant.current_A("heaters", 2) == pytest.approx(3.0 / 500)
    assert plant.current_A("heaters", 3) == plant.current_A("heaters", 77) == 0.0
    assert plant.shifter_phases()[2] > 0.5
    assert plant.shifter_phases()[3] == 0.0
    assert plant.detector_V("detectors", [1, 60], 1).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="heaters:2"):
        plant.set_voltage("heaters", 2, float("nan"))


def test_noise_is_fresh_for_each_conversion(make_tiny_rig: MakeRig) -> None:
    plant = Plant(make_tiny_rig(virtual_lab={"detector_noise_V": 0.01}), 0)
    phases = plant.phases()[plant.rig.network.free]
    samples = plant.detector_V("detectors", ALL, 4000)
    clean = np.concatenate([np.cos(phases), np.sin(phases)])
    assert samples.shape == (4000, 8)
    np.testing.assert_allclose(samples.mean(axis=0), clean, atol=1e-3)
    np.testing.assert_allclose(samples.std(axis=0), 0.01, rtol=0.05)
    correlation = np.corrcoef(samples.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.06


def test_n_steps_read_the_phases(make_tiny_rig: MakeRig) -> None:
    rig = make_tiny_rig(
        readout={
            "kind": "n-step",
            "in_phase": [],
            "quadrature": [],
            "intensity": ["detectors:0-3"],
            "step_shifter": "heaters:22",
        },
        calibration={"crosstalk": []},
    )
    plant = Plant(rig, 2)
    drive(plant, 2)
    frames = []
    for step in range(4):
        plant.set_voltage("heaters", 22, np.sqrt(step / 2 * 0.025 * 500))
        plant.elapse(1.0)
        frames.append(plant.detector_V("detectors", [0, 1, 2, 3], 1)[0])
    found = np.arctan2(frames[3] - frames[1], frames[0] - frames[2])
    phases = plant.phases()[rig.network.free]
    np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * phases), atol=1e-12)


def test_the_short_way_of_directed_networks_is_the_long_one() -> None:
    # Weak fields and couplings of both signs: Newton alone often ends in another fixed point.
    rng = np.random.default_rng(0)
    edges = np.array([(i, j) for i in range(6) for j in range(i + 1, 6)])
    bonds, taken = Bonds(6, edges), 0
    for _ in range(80):
        forward = rng.normal(size=len(edges))
        reverse = forward * (1 + 0.1 * rng.normal(size=len(edges)))
        field = 0.7 * np.exp(1j * rng.uniform(-3, 3, 6))
        start = rng.uniform(-3, 3, (1, 6))
        rest = relax_directed(bonds, forward, reverse, field[None], start).phases
        for size in (1e-3, 1e-2, 1.2):
            moved = field * np.exp(1j * rng.normal(0, size, 6))
            near = step_if_certain(bonds, forward, reverse, moved, rest[0])
            if near is None:
                continue
            taken += 1
            far = relax_directed(bonds, forward, reverse, moved[None], rest).phases[0]
            np.testing.assert_allclose(near[0], far, atol=1e-8)
            assert near[1] <= 1e-10
    assert 20 <= taken < 240


def test_the_plant_agrees_with_the_emulators_engine(make_tiny_rig: MakeRig) -> None:
    plant = Plant(make_tiny_rig(), 7)
    network = plant.rig.network
    start = plant.phases()[network.free]
    drive(plant, 7)
    forward, _ = plant.couplings()
    inputs = np.zeros(network.n_nodes, dtype=complex)
    inputs[network.inputs] = np.exp(1j * plant.inputs())
    field = total_field(plant)
    for bond in network.boundary_edges:
        i, j = network.edges[bond]
        field[j] += forward[bond] * inputs[i]
    inside = network.internal_edges
    bonds = Bonds(len(network.free), network.free_index[network.edges[inside]])
    result = choose_engine(bonds).relax(
        forward[inside], field[network.free][None], start[None], RelaxationOptions(threads=1)
    )
    np.testing.assert_allclose(plant.phases()[network.free], result.phases[0], atol=1e-12)


def test_clocks() -> None:
    wall = iter([10.0, 10.5, 12.0])
    clock = RealClock(4.0, wall=lambda: next(wall))
    assert clock.now_s == 2.0
    clock.elapse(100.0)
    assert clock.now_s == 8.0
    assert clock.real_delay_s(2.0) == 0.5
    still = TransactionClock()
    still.elapse(0.25)
    still.elapse(-1.0)
    assert still.now_s == 0.25
    assert still.real_delay_s(5.0) == 0.0
