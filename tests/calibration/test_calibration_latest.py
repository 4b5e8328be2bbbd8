"""Which calibration a rig gets, and why it is refused another one."""

import dataclasses
import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from calibration_samples import content, write_rig

from eqp_hw.calibration.figures import compose
from eqp_hw.calibration.latest import find_calibrations, find_latest, load_measured, reason_against
from eqp_hw.calibration.layout import StoredStep
from eqp_hw.calibration.reader import read_heading
from eqp_hw.calibration.status import status_of
from eqp_hw.calibration.step import Finding, RawArray, StepData, StepFit
from eqp_hw.calibration.store import CalibrationWriter, folder_of
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import Network
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import make_rig

WHO = {"heaters": "Q8iv-0001,Q8iv-0002,Q8iv-0003", "detectors": "EQP,VDIG-64,VL0001"}
OTHERS = {**WHO, "detectors": "EQP,VDIG-64,VL0002"}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make(
    rig,
    *,
    hours=1.0,
    who=WHO,
    missing=(),
    ohm=510.0,
    drift=None,
    name=None,
    findings=(),
    figures=None,
):
    """Write a calibration of one step that ended ``hours`` ago."""
    time = (NOW - timedelta(hours=hours)).isoformat()
    folder = folder_of(rig)
    folder.mkdir(exist_ok=True)
    path = folder / (name or f"c{len(list(folder.glob('*.h5')))}.h5")
    found = {"resistance_ohm": np.full(21, ohm), **(figures or {})}
    if drift is not None:
        found["drift_walk"] = np.array([drift, drift / 2])
    fit = StepFit(found, {"resistance_ohm": np.full(21, 0.5)}, {"x": np.ones(3)}, findings)
    step = StoredStep(
        "sweep", "a sweep", time, time, 1.0, "done", StepData({"v": RawArray(np.ones(2))}), fit
    )
    with CalibrationWriter.create(path, rig, who) as writer:
        # Time of the beginning is what the history is ordered by.
        writer._file.attrs["started"] = time
        writer.add_step(step)
        made, errors = compose(nominal_calibration(rig), [fit], "test")
        writer.finish(made, errors, list(missing))
    return path


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """The command line, used by other tests, keeps the log to itself."""
    monkeypatch.setattr(logging.getLogger("eqp_hw"), "propagate", True)


@pytest.fixture
def rig(tmp_path):
    return write_rig(tmp_path, calibration={"file": "latest"})


def load(rig, who=WHO, now=NOW):
    return load_measured(rig, who, now=now)


def refused(rig, who=WHO):
    with pytest.raises(ConfigurationError) as caught:
        load(rig, who)
    text = str(caught.value)
    assert text.startswith(f"{rig.path}: calibration.file = ")
    return text


def test_the_newest_complete_one_of_this_very_rig(rig):
    make(rig, hours=5, ohm=505.0)
    wanted = make(rig, hours=3, ohm=507.0)
    make(rig, hours=2, ohm=1.0, who=OTHERS)
    make(rig, hours=1, ohm=2.0, missing=["detectors"])
    found = load(rig)
    assert found.path == wanted
    assert (found.calibration.resistance_ohm == 507.0).all()
    assert found.measured == NOW - timedelta(hours=3)
    assert found.record()["sha256"] == found.sha256
    assert len(found.sha256) == 64
    assert load(rig, OTHERS).calibration.resistance_ohm[0] == 1.0
    order = [heading.path.name for heading in find_calibrations(rig)]
    assert order == ["c3.h5", "c2.h5", "c1.h5", "c0.h5"]


def test_none_at_all(rig):
    text = refused(rig)
    assert "there is no calibration to use in" in text
    assert "eqp-hw calibrate" in text


def test_of_another_rig_names_both(rig):
    path = make(rig, who=OTHERS)
    text = refused(rig)
    assert "other instruments than this rig 'sample' has" in text
    assert "detectors: EQP,VDIG-64,VL0002 then, EQP,VDIG-64,VL0001 now" in text
    # Named by its path as well, and of a chain the module that differs.
    assert "VL0002 then" in refused(rig.with_calibration(str(path)))
    one = {**WHO, "heaters": "Q8iv-0001,Q8iv-0009,Q8iv-0003,Q8iv-0004,Q8iv-0005,Q8iv-0006"}
    other = {**one, "heaters": one["heaters"].replace("0009", "0002")}
    make(rig, who=one, name="chain.h5")
    text = refused(rig.with_calibration("calibrations/chain.h5"), other)
    assert "heaters: Q8iv-0009 (2 of 6) then, Q8iv-0002 (2 of 6) now" in text


def test_incomplete_names_what_is_missing(rig):
    path = make(rig, missing=["detectors", "couplers"])
    text = refused(rig.with_calibration(str(path)))
    assert "incomplete (missing: detectors, couplers)" in text
    assert "--resume" in text
    assert "incomplete" in refused(rig)


def test_too_old(tmp_path):
    rig = write_rig(tmp_path, calibration={"file": "latest", "max_age_h": 24.0})
    make(rig, hours=23.9)
    assert load(rig).calibration.resistance_ohm[0] == 510.0
    with pytest.raises(ConfigurationError, match=r"24\.9 h old, calibration\.max_age_h = 24"):
        load(rig, now=NOW + timedelta(hours=1))


def test_drifted_too_far(tmp_path):
    rig = write_rig(tmp_path, calibration={"file": "latest", "max_drift": 0.1})
    path = make(rig, hours=1, drift=1e-3)  # 1e-3 * sqrt(3600) = 0.06 rad
    assert load(rig).path == path
    with pytest.raises(ConfigurationError, match=r"in 4\.0 h phases drift by 0\.12 rad"):
        load(rig, now=NOW + timedelta(hours=3))
    make(rig, hours=0.5)
    assert "no step has measured drift" in refused(rig)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"wiring": {"couplings": ["heaters:1", "heaters:0", "heaters:2-8"]}},
            "couplings[0]: heaters:0 then, heaters:1 now",
        ),
        ({"wiring": {"gain_switch": "heaters:22"}}, "gain_switch: heaters:21 then, heaters:22 now"),
        (
            {"readout": {"in_phase": ["detectors:4-7"], "quadrature": ["detectors:0-3"]}},
            "in_phase[0]: detectors:0 then, detectors:4 now",
        ),
    ],
)
def test_contradictory_wiring_names_the_first_difference(tmp_path, tables, said):
    path = make(write_rig(tmp_path))
    changed = write_rig(tmp_path, calibration={"file": str(path)}, **tables)
    assert said in refused(changed)
    assert said in refused(changed.with_calibration("latest"))


def test_another_graph_on_the_same_channels(tmp_path):
    path = make(write_rig(tmp_path))
    edges = [[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4], [2, 5], [3, 5], [2, 4]]
    other = make_rig(
        content(network={"kind": "layered", "sizes": [2, 3, 1]}, calibration={"file": str(path)})
    )
    assert len(edges) == other.network.n_edges
    graph = Network.create(6, np.array(edges), np.array([0, 1]), np.array([5]))
    other = dataclasses.replace(other, network=graph)
    with pytest.raises(ConfigurationError, match="bonds, couplings or roles"):
        load(other)


def test_limits_and_waits_may_change(tmp_path):
    path = make(write_rig(tmp_path))
    changed = write_rig(
        tmp_path, settle={"tolerance": 0.01}, calibration={"file": "latest", "coupling_maximum": 2}
    )
    assert load(changed).path == path


def test_unreadable_files_are_refused_by_name_and_passed_over_for_latest(rig, caplog):
    good = make(rig)
    broken = folder_of(rig) / "broken.h5"
    broken.write_bytes(good.read_bytes()[:5000])
    assert load(rig).path == good
    assert "broken.h5" in caplog.text
    assert "broken.h5" in refused(rig.with_calibration("calibrations/broken.h5"))
    assert "cannot be read" in refused(rig.with_calibration("calibrations/none.h5"))
    text = refused(rig.with_calibration("rig.toml"))
    assert "not an HDF5 file" in text


def test_what_was_broken_is_said_again_when_loaded(rig, caplog):
    make(rig, findings=[Finding("fault", "heaters:3", "dead"), Finding("note", "x", "y")])
    assert load(rig).faults == ("heaters:3: dead",)
    assert "heaters:3: dead" in caplog.text


def test_recommendations_fill_only_what_the_file_leaves_out(tmp_path):
    rig = write_rig(tmp_path, settle={"tolerance": 0.002}, calibration={"file": "latest"})
    figures = {
        "settle.typical_s": np.array(0.02),
        "settle.tolerance": np.array(0.5),
        "readout.samples": np.array(8.0),
        "readout.steps": np.array(2.0),  # not allowed: at least 3
        "settle.agreeing": np.array([3, 3]),  # no number
        "estimator.beta": np.array(0.1),
    }
    make(rig, figures=figures)
    found = load(rig)
    made, taken = rig.with_recommended(found.recommended)
    assert taken == {"settle.typical_s": 0.02, "readout.samples": 8.0}
    assert made.settings.settle.typical_s == 0.02
    assert made.settings.settle.tolerance == 0.002
    assert made.settings.readout.samples == 8
    assert rig.settings.readout.samples == 1


def test_without_serial_numbers_the_name_and_the_wiring_decide(tmp_path):
    rig = write_rig(tmp_path, calibration={"file": "latest"})
    path = make(rig, who=OTHERS)
    assert find_latest(rig, None).path == path
    renamed = write_rig(tmp_path, rig={"name": "another"}, calibration={"file": "latest"})
    assert find_latest(renamed, None) is None
    assert find_latest(renamed, OTHERS).path == path


def test_without_serial_numbers_one_of_several_rigs_is_not_guessed(tmp_path):
    rig = write_rig(tmp_path, calibration={"file": "latest"})
    one = make(rig, hours=5, name="one.h5")
    make(rig, hours=4, who=OTHERS, missing=["detectors"], name="cut-off.h5")
    assert load(rig, None).path == one
    two, three = make(rig, hours=3, who=OTHERS, name="two.h5"), make(rig, name="three.h5")
    with pytest.raises(ConfigurationError, match="2 rigs of the name") as refused:
        load(rig, None)
    message = str(refused.value)
    # The newest of each, with what tells them apart.
    assert str(two) in message
    assert str(three) in message
    assert "one.h5" not in message
    assert "VL0001" in message
    assert "VL0002" in message
    assert "Q8iv" not in message
    assert load(rig).path == three
    assert load(rig, OTHERS).path == two
    named = rig.with_calibration(str(two))
    assert load(named, None).path == two


def test_status_says_what_is_in_force_and_why_not(rig):
    older = make(rig, hours=5)
    make(rig, hours=2, who=OTHERS)
    make(rig, hours=1, missing=["detectors"])
    found = status_of(rig, WHO, now=NOW)
    assert (found.asked, found.in_force, found.refused) == ("latest", older, None)
    assert found.age_h == pytest.approx(5)
    assert [step.name for step in found.steps] == ["sweep"]
    assert found.worst_residual == ("sweep", "x", 1.0, "")
    assert [line.in_force for line in found.history] == [False, False, True]
    reasons = [line.refused for line in found.history]
    assert "incomplete" in reasons[0]
    assert "VL0002 then" in reasons[1]
    assert reasons[2] is None
    other = status_of(rig, {**WHO, "heaters": "Q8iv-0077"}, now=NOW)
    assert other.in_force is None
    assert "Q8iv-0077 now" in other.refused
    nominal = status_of(rig.with_calibration("nominal"), None, now=NOW)
    assert (nominal.asked, nominal.in_force, nominal.refused) == ("nominal", None, None)


def test_a_clock_that_went_back_is_said(rig, caplog):
    path = make(rig, hours=-3)
    assert reason_against(read_heading(path), rig, WHO, now=NOW) is None
    load(rig)
    assert "in the future" in caplog.text
