"""The twin's way from what is commanded to what acts: crosstalk, hidden errors, walking offsets."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.errors import LimitError, SubstrateError
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import Parameters
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Rig, make_rig
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.twin.errors import log_reciprocity
from eqp_hw.sim_backends.twin.factory import make_twin
from eqp_hw.sim_backends.twin.optics import TrueOptics
from eqp_hw.sim_backends.twin.sensitivity import phases_per_offset
from eqp_hw.sim_backends.twin.substrate import TwinSubstrate
from eqp_hw.sim_backends.virtual_lab.twin import Twin

XOR_RIG = Path(__file__).parents[2] / "examples" / "rigs" / "xor_array.toml"
INPUTS = np.array([[0.4, -1.0]])
NUDGE = np.array([[0.3 - 0.2j]])
STEP_V = 12.0 / (2**16 - 1)


def xor_rig(**tables: dict[str, Any]) -> Rig:
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    quiet = {"calibration": {"readout_noise": 0.0} | tables.pop("calibration", {})}
    for name, table in (quiet | tables).items():
        content[name] = content[name] | table
    return make_rig(content)


def some_parameters(rig: Rig, seed: int = 1) -> Parameters:
    rng = np.random.default_rng(seed)
    made = Parameters.zeros(rig.network)
    made.coupling[:] = rng.uniform(-1, 1, rig.network.n_couplings)
    free = rig.network.free
    made.bias[free] = rng.normal(size=len(free)) + 1j * rng.normal(size=len(free))
    return made


def driven(twin: TwinSubstrate, rig: Rig, nudge: np.ndarray | None = None) -> TwinSubstrate:
    twin.write_parameters(some_parameters(rig))
    twin.set_inputs(INPUTS)
    twin.reset(5)
    twin.settle()
    twin.apply_nudge(nudge)
    return twin


def with_crosstalk(rig: Rig, level: float) -> RigCalibration:
    known = nominal_calibration(rig)
    near = np.abs(np.subtract.outer(*[np.arange(len(known.phase_offset))] * 2)) == 1
    return dataclasses.replace(known, crosstalk=np.eye(len(near)) + level * near)


def powers(twin: TwinSubstrate, known: RigCalibration) -> np.ndarray:
    return twin.truth().setpoint_V ** 2 / known.resistance_ohm


def test_crosstalk_that_is_known_exactly_changes_drives_and_not_phases() -> None:
    rig = xor_rig()
    volts = []
    for level in (0.0, 0.02, 0.2):
        known = with_crosstalk(rig, level)
        twin = driven(make_twin(rig, known), rig, NUDGE)
        truth, asked = twin.truth(), some_parameters(rig)
        slope = np.pi / known.half_wave_power_W / known.resistance_ohm
        # A step in each channel (a change by less than half of one is not written), through
        # its own heat and its neighbours'.
        worst = (np.abs(known.crosstalk) @ (2 * truth.setpoint_V * STEP_V)) * slope
        step = float(3.0 * worst.max()) + 1e-9
        assert truth.made is not None
        assert np.abs(truth.made.forward - asked.coupling).max() < step
        field = asked.bias[rig.network.free].copy()
        field[-1] += NUDGE[0, 0]
        assert np.abs(truth.made.field - field).max() < 2 * step
        assert np.abs(wrap(truth.made.inputs - INPUTS[0])).max() < step
        volts.append(truth.setpoint_V)
    assert np.abs(volts[0] - volts[1]).max() > 0.01
    assert np.abs(volts[0] - volts[2]).max() > 0.1


def test_set_points_are_those_that_the_drivers_write() -> None:
    rig = xor_rig()
    known = with_crosstalk(rig, 0.03)
    offset = np.random.default_rng(3).uniform(-3, 3, len(known.phase_offset))
    known = dataclasses.replace(known, phase_offset=offset)
    twin, asked = make_twin(rig, known), some_parameters(rig)
    with Twin(rig) as lab, RigSubstrate.open(lab.rig, known, guarded=False) as bench:
        shifters = bench.optics._shifters
        for substrate in (twin, bench):
            substrate.write_parameters(asked)
        for change in ("inputs", "nudge", "other nudge", "none", "couplings"):
            for substrate in (twin, bench):
                if change == "inputs":
                    substrate.set_inputs(INPUTS)
                elif change == "couplings":
                    substrate.write_parameters(some_parameters(rig, 2))
                elif change == "none":
                    substrate.apply_nudge(None)
                else:
                    substrate.apply_nudge(NUDGE if change == "nudge" else -1.5 * NUDGE)
            assert np.abs(twin.truth().setpoint_V - shifters.setpoint_V).max() < 1e-4, change


def test_crosstalk_that_is_wrong_moves_others_with_the_drive() -> None:
    rig = xor_rig()
    known = with_crosstalk(rig, 0.02)
    stated = {"crosstalk": np.full(known.crosstalk.shape, 4e-3)}
    scaled: list[np.ndarray] = []
    for seed in range(12):
        twin = driven(make_twin(rig, known, stated, seed=seed), rig)
        free, before = twin.truth(), powers(twin, known)
        twin.apply_nudge(NUDGE)
        nudged, after = twin.truth(), powers(twin, known)
        # What is held by the rig's own figures has not moved but by roundings ...
        slope = np.pi / known.half_wave_power_W
        believed = slope * (known.crosstalk @ (after - before))
        others = slice(0, 18)
        assert np.abs(believed[others]).max() < 2e-3
        # ... what acts has, by ΔX·ΔP.
        leak = twin.truth().figures.crosstalk - known.crosstalk
        moved = (nudged.phases - free.phases - believed)[others]
        assert moved == pytest.approx((slope * (leak @ (after - before)))[others], abs=1e-9)
        expected = slope[0] * 4e-3 * np.sqrt(((after - before) ** 2).sum())
        assert expected > 3e-3
        scaled.append(moved / expected)
        assert free.made is not None
        assert nudged.made is not None
        theta, change = free.phases[:10], nudged.phases[:10] - free.phases[:10]
        bonds = nudged.made.forward - free.made.forward
        assert bonds == pytest.approx(-3.0 * np.sin(theta) * change, abs=1e-3)
    values = np.concatenate(scaled)
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1.0, abs=4 / np.sqrt(2 * values.size))


def test_inputs_that_leak_act_as_if_they_were_clamped_there() -> None:
    """The emulator is told of moved inputs through fields: the equilibrium is the same."""
    rig = xor_rig()
    known = with_crosstalk(rig, 0.02)
    stated = {"crosstalk": np.full(known.crosstalk.shape, 4e-3)}
    twin = driven(make_twin(rig, known, stated, seed=2), rig, NUDGE)
    twin.settle()
    made = twin.truth().made
    assert made is not None
    assert np.abs(wrap(made.inputs - INPUTS[0])).max() > 1e-3
    bias = np.zeros(rig.network.n_nodes, complex)
    bias[rig.network.free] = made.field
    with XYEmulator(rig.network, EmulatorOptions()) as exact:
        exact.write_parameters(Parameters(made.forward, bias))
        exact.set_inputs(made.inputs[None])
        exact.reset(5)
        exact.settle()
        phases = exact.read_phases().phases[0, rig.network.free]
    found = twin.read_phases().phases[0, rig.network.free]
    assert np.abs(wrap(found - phases)).max() < 1e-8


def test_hidden_errors_are_as_large_as_stated() -> None:
    rig, rng = xor_rig(), np.random.default_rng(2)
    known = with_crosstalk(rig, 0.02)
    names = ("phase_offset", "coupling_maximum", "bias_maximum", "nudge_maximum", "crosstalk")
    names += ("readout_offset_V", "readout_amplitude_V", "quadrature_error", "half_wave_power_W")
    stated = {n: rng.uniform(0.01, 0.03, np.shape(getattr(known, n))) for n in names}
    stated["crosstalk"] *= 0.1
    stated["half_wave_power_W"] *= known.half_wave_power_W
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for seed in range(40):
        drawn = make_twin(rig, known, stated, seed=seed).truth().figures
        for name in names:
            score = (getattr(drawn, name) - getattr(known, name)) / stated[name]
            if name == "crosstalk":
                assert not score.diagonal().any()
                score = score[~np.eye(len(score), dtype=bool)]
            found[name].append(score.ravel())
    for name, values in found.items():
        count = np.size(values)
        spread = np.sqrt(np.mean(np.square(values)))
        assert spread == pytest.approx(1.0, abs=4 / np.sqrt(2 * count)), name
        assert abs(np.mean(values)) < 4 / np.sqrt(count), name


def test_each_offset_walks_and_the_detectors_stay() -> None:
    rig = xor_rig(settle={"typical_s": 0.25})
    known, settlings = nominal_calibration(rig), 40
    walk = np.full(3, 4e-3)
    twin = driven(make_twin(rig, known, {}, {"drift_walk": walk}, seed=3), rig)
    optics = TrueOptics(rig, known, log_reciprocity({}, known.coupling_maximum), np.array([], int))
    rate = 4e-3 / phases_per_offset(rig, known, optics)
    steps, before = [], twin.truth().phases
    for _ in range(settlings):
        twin.settle()
        steps.append(twin.truth().phases - before)
        before = twin.truth().phases
    size = np.sqrt(np.mean(np.square(steps)))
    assert size == pytest.approx(rate * np.sqrt(0.25), rel=4 / np.sqrt(2 * np.size(steps)))
    # What is read is the equilibrium of what the heaters make now.
    made = twin.truth().made
    assert made is not None
    assert np.abs(made.forward - 3.0 * np.cos(twin.truth().phases[:10])).max() < 1e-12
    bias = np.zeros(rig.network.n_nodes, complex)
    bias[rig.network.free] = made.field
    with XYEmulator(rig.network, EmulatorOptions()) as exact:
        exact.write_parameters(Parameters(made.forward, bias))
        exact.set_inputs(made.inputs[None])
        exact.reset(5)
        exact.settle()
        phases = exact.read_phases().phases
    assert np.abs(wrap(twin.read_phases().phases - phases))[0, 2:].max() < 1e-7


def test_phases_walk_as_the_calibration_has_measured() -> None:
    """At drives like those of the calibration, in the mean over them."""
    rig = xor_rig(settle={"typical_s": 1.0})
    known, sizes = nominal_calibration(rig), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        twin = make_twin(rig, known, {}, {"drift_walk": np.full(3, 1e-3)}, seed=seed)
        asked = Parameters.zeros(rig.network)
        asked.coupling[:] = np.clip(rng.normal(0, 0.75, rig.network.n_couplings), -3, 3)
        asked.bias[rig.network.free] = 0.6 * np.exp(1j * rng.uniform(-np.pi, np.pi, 3))
        twin.write_parameters(asked)
        twin.set_inputs(rng.uniform(-np.pi, np.pi, (1, 2)))
        twin.reset(seed)
        twin.settle()
        read, steps = twin.read_phases().phases[0, 2:], []
        for _ in range(40):
            twin.settle()
            now = twin.read_phases().phases[0, 2:]
            steps.append(wrap(now - read))
            read = now
        sizes.append(np.sqrt(np.mean(np.square(steps))))
    assert 0.5e-3 < np.median(sizes) < 2e-3


def test_a_resumed_twin_goes_on_as_if_it_had_not_been_interrupted() -> None:
    rig = xor_rig(settle={"typical_s": 0.5}, calibration={"readout_noise": 1e-3})
    known, stated = with_crosstalk(rig, 0.02), {"phase_offset": np.full(20, 0.01)}
    walk = {"drift_walk": np.full(3, 1e-2)}

    def fresh() -> TwinSubstrate:
        return make_twin(rig, known, stated, walk, seed=4)

    def go_on(twin: TwinSubstrate) -> np.ndarray:
        twin.write_parameters(some_parameters(rig, 7))
        twin.set_inputs(-INPUTS)
        twin.reset(9)
        twin.settle()
        return twin.read_phases(3).phases

    whole, resumed = driven(fresh(), rig, NUDGE), fresh()
    resumed.restore_memory(whole.store_memory())
    assert np.array_equal(go_on(resumed), go_on(whole))
    other = go_on(fresh())
    assert not np.array_equal(other, go_on(driven(fresh(), rig, NUDGE)))
    with pytest.raises(SubstrateError, match="memory"):
        fresh().restore_memory({"drift": np.zeros(3)})


def test_a_limit_that_the_rig_has_is_one_of_the_twin() -> None:
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    content["instruments"]["heaters"]["limits"]["total_power_W"] = 0.1
    rig = make_rig(content)
    with pytest.raises(LimitError, match="total_power_W"):
        make_twin(rig, nominal_calibration(rig))


def test_a_state_that_a_nudge_has_left_is_found_again_and_the_hop_told() -> None:
    rig = xor_rig(calibration={"nudge_maximum": 3.0})
    known = nominal_calibration(rig)
    twin, asked, rng = (
        make_twin(rig, known),
        Parameters.zeros(rig.network),
        np.random.default_rng(10),
    )
    # Of several equilibria: couplings of both signs, no fields, little from the inputs.
    asked.coupling[:] = rng.choice([-1, 1], 10) * rng.uniform(0.3, 1, 10)
    asked.coupling[1:7] *= 0.3
    twin.write_parameters(asked)
    twin.set_inputs(INPUTS)
    twin.reset(10)
    twin.settle()
    free = twin.read_phases().phases
    token = twin.store_state()
    small, hops = np.array([[0.05 + 0j]]), 0
    (measured,) = twin.measure_nudged(token, [(small, 1.0)])
    assert not measured.outcome.hop[0]
    assert np.abs(wrap(twin.read_phases().phases - free)).max() < 5e-3
    # Some field turns the output half round, and beyond where it comes back from.
    for angle in np.linspace(-np.pi, np.pi, 24):
        large = 2.9 * np.exp(1j * angle) * np.ones((1, 1))
        (measured,) = twin.measure_nudged(token, [(large, 1.0)])
        assert np.abs(wrap(twin.read_phases().phases - free)).max() < 5e-3
        hops += int(measured.outcome.hop[0])
    assert 0 < hops < 24
