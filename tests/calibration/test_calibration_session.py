"""A session over simulated instruments: limits first, recovery, and nothing left on."""

import numpy as np
import pytest
from calibration_samples import content

from eqp_hw.calibration.errors import CalibrationError
from eqp_hw.calibration.rig_session import RigSession, open_session
from eqp_hw.drivers.errors import LimitError
from eqp_hw.drivers.rig.bench import Bench
from eqp_hw.errors import CapabilityError
from eqp_hw.rig.load import Channel, make_rig
from eqp_hw.sim_backends.virtual_lab.faults import FaultKind
from eqp_hw.sim_backends.virtual_lab.twin import Twin


@pytest.fixture
def lab():
    with Twin(make_rig(content())) as twin, open_session(twin.rig, guarded=False) as session:
        yield session, twin


def largest_V(twin):
    return twin.plant.state()["largest_voltage_V"]


def test_drives_are_those_of_the_plant(lab):
    session, twin = lab
    wanted = np.linspace(0.5, 3.0, session.n_heaters)
    held = session.write_voltages(wanted)
    np.testing.assert_allclose(held, wanted, atol=session.resolution_V.max())
    for row, channel in enumerate(session.rig.wiring.heaters):
        driven = twin.plant.voltage_V(channel.instrument, channel.number)
        assert driven == pytest.approx(held[row], abs=2e-4)
    # Those not named stay as they are.
    session.write_voltages({Channel("heaters", 3): 1.25})
    assert session.setpoint_V[3] == pytest.approx(1.25, abs=2e-4)
    np.testing.assert_array_equal(np.delete(session.setpoint_V, 3), np.delete(held, 3))
    power = session.write_powers({Channel("heaters", 4): 0.01})
    assert power[4] == pytest.approx(0.01, rel=1e-3)
    found = session.read_back(np.array([4, 3]))
    np.testing.assert_allclose(found.voltage_V, session.setpoint_V[[4, 3]], atol=1e-3)
    assert (found.current_A > 0).all()
    session.all_zero()
    assert largest_V(twin) == 0.0


@pytest.mark.parametrize(
    ("drive", "said"),
    [
        ({Channel("heaters", 2): 8.2}, r"heaters:2\.voltage_V = 8\.2.*0 to 8 V"),
        ({Channel("heaters", 2): -0.1}, r"heaters:2\.voltage_V = -0\.1"),
        ({Channel("heaters", 2): float("nan")}, r"heaters:2\.voltage_V = nan: not finite"),
        ({Channel("heaters", 22): 1.0}, r"heaters:22.*no heater is wired"),
        (np.full(21, 7.9), r"limits\.total_power_W = 2\.6.*at most 2\.5 W"),
        (np.full(3, 1.0), r"drives of shape \(3,\)"),
        (np.where(np.arange(21) == 20, np.inf, 0.1), r"heaters:20\.voltage_V = inf"),
    ],
)
def test_beyond_a_limit_nothing_moves(lab, drive, said):
    session, twin = lab
    session.write_voltages(np.full(21, 0.5))
    before = session.setpoint_V
    with pytest.raises(LimitError, match=said):
        session.write_voltages(drive)
    np.testing.assert_array_equal(session.setpoint_V, before)
    assert largest_V(twin) == pytest.approx(0.5, abs=2e-4)


def test_negative_power_is_refused_by_name(lab):
    session, _ = lab
    power = np.zeros(21)
    power[7] = -1e-3
    with pytest.raises(LimitError, match=r"heaters:7\.voltage_V = -"):
        session.write_powers(power)


def test_current_and_power_limits_go_by_the_smaller_resistance():
    limits = {"voltage_V": 8.0, "current_A": 0.01, "power_W": 0.04}
    heaters = {**content()["instruments"]["heaters"], "limits": limits}
    rig = make_rig(content(instruments={"heaters": heaters}))
    with Twin(rig) as twin, open_session(twin.rig, guarded=False) as session:
        least = 500.0
        expected = min(8.0, 0.01 * least, np.sqrt(0.04 * least)) - session.resolution_V[0]
        np.testing.assert_allclose(session.highest_V, expected)
        session.write_voltages(session.highest_V)  # the drivers agree
        with pytest.raises(LimitError):
            session.write_voltages(session.highest_V + 3 * session.resolution_V)


def test_outputs_that_were_lost_are_written_again_and_waited_for(lab):
    session, twin = lab
    drive = session.rng.uniform(0.5, 3.0, session.n_heaters)
    session.write_voltages(drive)
    calm = session.settle().voltage_V
    twin.inject("heaters", FaultKind.POWER_CYCLE)
    again = session.settle()
    assert again.stable
    np.testing.assert_allclose(again.voltage_V, calm, atol=0.01)
    np.testing.assert_allclose(session.setpoint_V, drive, atol=2e-4)
    twin.inject("heaters", FaultKind.POWER_CYCLE)
    read = session.read_detectors(8).mean(axis=0)
    np.testing.assert_allclose(read, calm, atol=0.01)


def test_the_gain_switch_survives_a_restart(lab):
    session, twin = lab
    lit = session.settle().voltage_V
    session.gain(False)
    dark = session.settle().voltage_V
    assert np.abs(dark).max() < 0.05
    assert np.abs(lit).max() > 0.5
    switch = session.rig.wiring.gain_switch
    assert twin.plant.voltage_V(switch.instrument, switch.number) == pytest.approx(3.0, abs=1e-3)
    twin.inject("heaters", FaultKind.POWER_CYCLE)
    session.read_detectors()
    assert twin.plant.voltage_V(switch.instrument, switch.number) == pytest.approx(3.0, abs=1e-3)
    session.gain(True)
    np.testing.assert_allclose(session.settle().voltage_V, lit, atol=0.01)
    relaxed = twin.plant.state()["relaxations"]
    session.gain_off_on()
    session.settle()
    assert twin.plant.state()["gain"]
    assert twin.plant.state()["relaxations"] > relaxed  # from phases of their own


def test_a_rig_without_a_gain_switch_says_so():
    tables = content()
    del tables["wiring"]["gain_switch"]
    with Twin(make_rig(tables)) as twin, open_session(twin.rig, guarded=False) as session:
        assert not session.has_gain_switch
        with pytest.raises(CapabilityError, match=r"wiring\.gain_switch"):
            session.gain(False)


def test_a_gain_drive_beyond_its_limit_is_refused_before_anything_moves():
    rig = make_rig(content(wiring={"gain_off_V": 9.0}))
    with Twin(rig) as twin:
        with (
            pytest.raises(LimitError, match=r"wiring\.gain_off_V = 9\.0.*at most 8 V"),
            open_session(twin.rig, guarded=False),
        ):
            pass
        assert largest_V(twin) == 0.0


def test_noise_and_time_are_accounted_for(lab):
    session, _ = lab
    for _ in range(10):
        settled = session.settle()
    assert np.median(settled.noise_V) == pytest.approx(0.001, rel=0.4)
    assert session.read_detectors(5).shape == (5, session.n_detectors)
    ledger = session.ledger()
    assert ledger.total_s == pytest.approx(session.now_s(), abs=0.05)
    assert ledger.settling_s > 0 < ledger.transport_s
    assert 0.3 < ledger.wire_share <= 1
    assert ledger.transactions == 11


def test_an_exception_ends_at_zero_outputs():
    with Twin(make_rig(content())) as twin:

        def work(session):
            session.write_voltages(np.full(21, 2.0))
            assert largest_V(twin) > 1
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), open_session(twin.rig, guarded=False) as session:
            work(session)
        assert largest_V(twin) == 0.0


def test_slew_limits_make_ramps():
    heaters = content()["instruments"]["heaters"]
    heaters["limits"]["slew_V_per_s"] = 100.0
    with Twin(make_rig(content(instruments={"heaters": heaters}))) as twin:
        seen = []
        plain = twin.plant.set_voltage

        def watch(instrument, channel, voltage):
            if channel == 0:
                seen.append(voltage)
            plain(instrument, channel, voltage)

        twin.plant.set_voltage = watch
        with open_session(twin.rig, guarded=False) as session:
            seen.clear()
            session.write_voltages({Channel("heaters", 0): 4.0})
            climbed = list(seen)
        assert len(climbed) >= 4
        assert np.diff([0.0, *climbed]).max() <= 1.0 + 1e-3


def test_rows_of_one_name_have_one_shape(lab):
    session, _ = lab
    kept = []
    session.begin_step(np.random.default_rng(1), lambda name, row: kept.append((name, row)))
    row = np.zeros(2)
    session.record("sweep", row, "V", "all")
    row[:] = 9.0  # recorded is recorded
    session.record("sweep", [1.0, 2.0])
    with pytest.raises(CalibrationError, match=r"'sweep': a row of shape \(3,\) after"):
        session.record("sweep", [1.0, 2.0, 3.0])
    with pytest.raises(CalibrationError, match="cannot be recorded"):
        session.record("other", [object()])
    data = session.recorded()
    assert data["sweep"].tolist() == [[0, 0], [1, 2]]
    assert (data.arrays["sweep"].unit, data.arrays["sweep"].description) == ("V", "all")
    assert [name for name, _ in kept] == ["sweep", "sweep"]


def test_bench_of_missing_channels_is_refused():
    tables = content()
    tables["instruments"]["heaters"]["modules"] = 2
    with Twin(make_rig(tables)) as twin, Bench(twin.rig) as bench:
        bench.connect()
        with pytest.raises(LimitError, match="16 channels"):
            RigSession(bench, guarded=False)
