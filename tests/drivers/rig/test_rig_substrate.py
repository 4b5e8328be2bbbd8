"""The rig substrate against the plant's truth: effective values, recovery, hops, refusals."""

import numpy as np
import pytest
from rig_samples import apart, content, parameters_of

from eqp_hw.drivers.errors import IdentityError, InstrumentError, LimitError
from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.errors import ConfigurationError, NetworkError, SubstrateError
from eqp_hw.network.registry import build_network
from eqp_hw.physics.energy import force
from eqp_hw.physics.parameters import Parameters
from eqp_hw.rig.load import make_rig
from eqp_hw.rig.matching import refuse_other_network
from eqp_hw.sim_backends.virtual_lab.faults import FaultKind
from eqp_hw.sim_backends.virtual_lab.twin import Twin

INPUTS = np.array([[0.4, -1.1]])


def prepare(substrate, seed=1, coupling=1.0):
    effective = substrate.write_parameters(parameters_of(substrate.network, seed, coupling))
    substrate.set_inputs(INPUTS)
    substrate.reset(0)
    assert substrate.settle().settled.all()
    return effective


def test_what_is_called_effective_is_what_the_plant_has(open_rig):
    substrate, twin = open_rig()
    effective = prepare(substrate)
    assert np.abs(effective.coupling - twin.plant.coupling_parameters()).max() < 1e-3
    assert np.abs(effective.bias - twin.plant.bias()).max() < 1e-3
    phases = substrate.read_phases(4).phases[0]
    assert apart(phases, twin.plant.phases()) < 2e-3  # 16 bits of +-2 V and of 12 V
    inputs = substrate.network.inputs
    assert apart(phases[inputs], twin.plant.inputs()) < 1e-6  # the heaters' last warmth
    assert apart(phases[inputs], INPUTS[0]) < 1e-3
    assert np.abs(force(substrate.network, effective, phases[None])).max() < 5e-3


def test_a_named_calibration_is_never_ignored():
    rig = make_rig(content(calibration={"file": "measured.h5"}))
    with Twin(rig) as twin, pytest.raises(ConfigurationError, match=r"calibration\.file"):
        RigSubstrate.open(twin.rig, guarded=False)


def test_only_changed_channels_are_written(open_rig):
    substrate, twin = open_rig(calibration={"crosstalk": []})
    prepare(substrate)
    before = twin.plant.voltages()
    phases = substrate.read_phases().phases
    field = np.full((1, 1), 0.1 * np.exp(1j * phases[0, substrate.network.outputs[0]]))
    substrate.apply_nudge(field)
    substrate.settle()
    nudged = twin.plant.voltages()
    changed = {name for name in before if before[name] != nudged[name]}
    assert changed == {"heaters:19", "heaters:20"}
    substrate.apply_nudge(-field)
    substrate.settle()
    turned = twin.plant.voltages()
    assert {name for name in before if turned[name] != nudged[name]} == {"heaters:19"}
    assert abs(twin.plant.nudge()[0] + field[0, 0]) < 1e-3


@pytest.mark.parametrize("kind", [FaultKind.POWER_CYCLE, FaultKind.UNPLUG])
@pytest.mark.parametrize("instrument", ["heaters", "detectors"])
def test_a_restart_between_two_verbs_is_noticed_and_mended(open_rig, kind, instrument):
    substrate, twin = open_rig()
    effective = prepare(substrate)
    twin.inject(instrument, kind)
    reading = substrate.read_phases(2)
    assert np.abs(twin.plant.coupling_parameters() - effective.coupling).max() < 1e-3
    assert apart(reading.phases[0], twin.plant.phases()) < 2e-3
    assert np.abs(force(substrate.network, effective, reading.phases)).max() < 5e-3


@pytest.mark.parametrize(
    "kind", [k for k in FaultKind if k not in (FaultKind.POWER_CYCLE, FaultKind.UNPLUG)]
)
def test_a_fault_on_either_wire_is_survived(open_rig, kind):
    heaters = content()["instruments"] | {
        "heaters": {**content()["instruments"]["heaters"], "verify": True}
    }
    substrate, twin = open_rig(instruments=heaters)
    for seed, instrument in enumerate(("heaters", "detectors")):
        twin.inject(instrument, kind)
        effective = prepare(substrate, seed)
        twin.inject(instrument, kind)
        phases = substrate.read_phases(2).phases
        assert np.abs(twin.plant.coupling_parameters() - effective.coupling).max() < 0.1
        assert apart(phases[0], twin.plant.phases()) < 0.02


def test_an_instrument_that_stays_away_is_an_error(open_rig):
    substrate, twin = open_rig()
    prepare(substrate)
    twin.wires["heaters"].unplug(None)
    with pytest.raises(InstrumentError, match="heaters"):
        substrate.set_inputs(-INPUTS)


def test_a_lost_state_is_led_back_by_strong_bias_fields(open_rig):
    """The gain switch throws the phases elsewhere behind the substrate's back."""
    substrate, twin = open_rig(calibration={"bias_maximum": 3.0})
    network = substrate.network
    found = []
    for seed in range(40):
        prepare(substrate, seed, coupling=2.5)
        states = [substrate.read_phases().phases[0]]
        for _ in range(4):
            substrate.reset(0)
            substrate.settle()
            states.append(substrate.read_phases().phases[0])
        if max(apart(states[0], state) for state in states[1:]) > 0.5:
            found.append(seed)
            break
    assert found, "no multistable sample"
    token = substrate.store_state()
    stored = substrate.read_phases().phases[0]
    field = np.zeros((1, 1), complex)
    for _ in range(12):
        # What a nudge that hops does: after it the phases are in another basin.
        kicked = substrate.optics
        kicked.switch_gain()
        substrate.apply_nudge(field + 0.01)
        if apart(twin.plant.phases(), stored) < 0.5:
            continue
        assert not substrate.restore_state(token).all()
        assert apart(substrate.read_phases().phases[0], stored) < 5e-3
        assert substrate.restore_state(token).all()
        break
    else:
        pytest.fail("the phases always fell back")
    measured = substrate.measure_nudged(token, [(field + 0.01, 1.0), (field + 0.01, -1.0)])
    assert not any(m.outcome.hop.any() for m in measured)
    assert network.n_nodes == 6


def test_interleaved_nudges_return_the_same(open_rig):
    substrate, _ = open_rig(readout={"interleave": True})
    prepare(substrate)
    token = substrate.store_state()
    fields = [(np.full((1, 1), 0.05 + 0.02j), beta) for beta in (1.0, -1.0, 0.5)]
    woven = substrate.measure_nudged(token, fields, 4)
    plain = super(RigSubstrate, substrate).measure_nudged(token, fields, 4)
    for one, other in zip(woven, plain, strict=True):
        assert apart(one.reading.phases, other.reading.phases) < 1e-3
        assert one.reading.count == 4
        assert one.outcome.settled.all()


def test_wiring_that_does_not_fit_is_refused_before_any_output_moves():
    heaters = content()["instruments"]
    tables = content(instruments={**heaters, "heaters": {**heaters["heaters"], "modules": 2}})
    with Twin(make_rig(tables)) as twin:
        with pytest.raises(LimitError, match=r"wiring\.bias_phase = .heaters:16"):
            RigSubstrate.open(twin.rig, guarded=False)
        assert max(twin.plant.voltages().values()) == 0.0


def test_another_instrument_behind_the_port_is_refused():
    heaters = content()["instruments"]
    other = {**heaters["heaters"], "identity": "Q8b"}
    with Twin(make_rig(content())) as twin:
        rig = make_rig(content(instruments={**heaters, "heaters": other}))
        with pytest.raises(IdentityError, match="Q8b"):
            RigSubstrate.open(rig.with_addresses(twin.addresses), guarded=False)
        assert max(twin.plant.voltages().values()) == 0.0


def test_misfits_are_refused():
    none = content(wiring={"gain_switch": None, "bias_amplitude": None, "bias_phase": None})
    with Twin(make_rig(none)) as twin, pytest.raises(ConfigurationError, match="gain_switch"):
        RigSubstrate.open(twin.rig, guarded=False)
    wrong = content(wiring={"gain_switch": "detectors:20"})
    with Twin(make_rig(wrong)) as twin, pytest.raises(ConfigurationError, match="voltage source"):
        RigSubstrate.open(twin.rig, guarded=False)


def test_power_in_total_is_limited(open_rig):
    """Zero couplings and fields are looked at beforehand, what an experiment asks when it does."""
    limits = {"voltage_V": 8.0, "total_power_W": 0.3}
    heaters = content()["instruments"]
    table = {**heaters["heaters"], "limits": limits, "resistance_ohm": 500.0}
    with pytest.raises(LimitError, match=r"total_power_W = 0.3.*at least 0\.6"):
        open_rig(instruments={**heaters, "heaters": table})
    limits["total_power_W"] = 0.66
    substrate, twin = open_rig(instruments={**heaters, "heaters": table})
    most = Parameters.zeros(substrate.network)
    most.coupling[:] = -3.0
    most.bias[substrate.network.free] = -2.9
    substrate.set_inputs(np.zeros((1, 2)))
    little = Parameters.zeros(substrate.network)
    little.coupling[:] = 0.01
    substrate.write_parameters(little)
    before = twin.plant.voltages()
    with pytest.raises(LimitError, match="total_power_W"):
        substrate.write_parameters(most)
    assert twin.plant.voltages() == before
    assert max(before.values()) > 1.0


def test_after_safe_nothing_is_driven_and_parameters_must_come_again(open_rig):
    substrate, twin = open_rig()
    prepare(substrate)
    substrate.safe()
    assert max(twin.plant.voltages().values()) == 0.0
    with pytest.raises(SubstrateError, match="write_parameters"):
        substrate.settle()
    prepare(substrate)
    substrate.close()
    assert max(twin.plant.voltages().values()) == 0.0


def test_an_experiment_on_another_network_is_refused():
    rig = make_rig(content())
    refuse_other_network(rig, build_network("layered", {"sizes": [2, 3, 1]}))
    for kind, options, words in (
        ("layered", {"sizes": [2, 4, 1]}, "nodes 6 against 7"),
        ("all-to-all", {"n_nodes": 6, "inputs": 2, "outputs": 1}, "bonds 9 against 15"),
        ("layered", {"sizes": [3, 2, 1]}, "inputs"),
    ):
        with pytest.raises(NetworkError, match=words):
            refuse_other_network(rig, build_network(kind, options))


@pytest.mark.parametrize(
    ("limits", "drive", "words"),
    [
        ({"voltage_V": 8.0}, 8.1, "limits.voltage_V"),
        ({"voltage_V": 8.0, "current_A": 0.014}, 7.5, "limits.current_A"),
        ({"voltage_V": 8.0, "power_W": 0.1}, 7.5, "limits.power_W"),
        ({"voltage_V": 8.0, "total_power_W": 0.65}, 3.0, "limits.total_power_W"),
        ({}, 13.0, "full scale"),
    ],
)
def test_a_gain_drive_above_a_limit_is_refused_before_any_output_moves(limits, drive, words):
    heaters = content()["instruments"]
    table = {**heaters["heaters"], "limits": limits, "resistance_ohm": 500.0}
    tables = content(instruments={**heaters, "heaters": table}, wiring={"gain_off_V": drive})
    with Twin(make_rig(tables)) as twin:
        with pytest.raises(LimitError, match=f"wiring.gain_off_V = {drive}.*{words}"):
            RigSubstrate.open(twin.rig, guarded=False)
        assert max(twin.plant.voltages().values()) == 0.0


def test_the_gain_drive_is_that_of_the_rig_file(open_rig):
    substrate, twin = open_rig(wiring={"gain_off_V": 4.5})
    seen = []
    source = substrate._bench.sources["heaters"]
    write = source.write_voltages
    source.write_voltages = lambda channels, volts: (
        seen.extend(volts[np.asarray(channels) == 21]),
        write(channels, volts),
    )
    prepare(substrate)
    assert seen == [4.5, 0.0]
    assert max(twin.plant.voltages().values()) > 0.0
