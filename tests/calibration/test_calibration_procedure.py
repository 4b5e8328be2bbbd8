"""A whole calibration over simulated instruments: order, resumption, abort, other rigs."""

from dataclasses import replace

import numpy as np
import pytest
from calibration_samples import SAMPLE_STEPS, Detectors, Resistances, write_rig
from typing_extensions import override

from eqp_hw.calibration.errors import CalibrationError, FitError
from eqp_hw.calibration.journal import journal_path, read_journal
from eqp_hw.calibration.procedure import calibrate, chosen_steps
from eqp_hw.calibration.reader import read_calibration, read_heading
from eqp_hw.calibration.report import write_report
from eqp_hw.calibration.step import StepFit
from eqp_hw.drivers.errors import InstrumentError, LimitError
from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.errors import ConfigurationError, RecordError
from eqp_hw.rig.calibrations import CalibrateOptions, Watcher
from eqp_hw.sim_backends.virtual_lab.twin import Twin

PLAIN = CalibrateOptions(guarded=False)


class Third(Resistances):
    """Needs the detectors, adds nothing of its own."""

    name = "third"
    needs = ("detectors",)


class Stops(Detectors):
    """Ends in the midst of its measurement, with the heaters on."""

    error: tuple = (KeyboardInterrupt,)

    @override
    def measure(self, session):
        for k in range(2):
            session.record("power_W", session.write_powers(np.full(session.n_heaters, 0.01)), "W")
            session.record("mark", k)
        # Made here: one that lives on would keep all that it has passed through.
        kind, *words = self.error
        raise kind(*words)


def stops(error):
    step = Stops()
    step.error = error
    return step


class Log(Watcher):
    def __init__(self):
        self.said = []

    def on_begin(self, path, names):
        self.said.append(("begin", *names))

    def on_step(self, name, description):
        self.said.append(("step", name))

    def on_progress(self, done, total, doing):
        self.said.append(("progress", done, total))

    def on_result(self, result):
        self.said.append(("result", result.name, result.passed, result.before))


@pytest.fixture
def lab(tmp_path):
    rig = write_rig(tmp_path)
    with Twin(rig, truth_seed=3) as twin:
        yield twin.rig, twin


def safe(twin):
    return twin.plant.state()["largest_voltage_V"] == 0.0


def test_complete_and_used_by_the_rig(lab, tmp_path):
    rig, twin = lab
    log = Log()
    outcome = calibrate(rig, replace(PLAIN, temperature_C=22.0), log, steps=SAMPLE_STEPS)
    assert safe(twin)
    assert outcome.complete
    assert outcome.passed
    assert outcome.path.parent == tmp_path / "calibrations"
    assert log.said[0] == ("begin", "resistances", "detectors")
    assert [entry for entry in log.said if entry[0] == "result"] == [
        ("result", "resistances", True, False),
        ("result", "detectors", True, False),
    ]
    assert ("progress", 2, 3) in log.said
    assert not journal_path(outcome.path).exists()
    found = read_calibration(outcome.path)
    assert found.heading.temperature_C == 22.0
    assert found.heading.identities["heaters"].startswith("Q8iv-00C1,")
    assert found.rig_text == (tmp_path / "rig.toml").read_text(encoding="utf-8")
    assert found.provenance["libraries"]["numpy"] == np.__version__
    assert found.steps["detectors"].data["power_W"].shape == (4, 21)
    # The second step drove by the resistances that the first one had found.
    ohm = found.figures["resistance_ohm"]
    assert np.abs(ohm / 500 - 1).max() > 0.03
    data = found.steps["resistances"].data
    np.testing.assert_allclose(ohm, (data["voltage_V"] / data["current_A"]).mean(axis=0))
    with RigSubstrate.open(rig.with_calibration("latest"), guarded=False) as substrate:
        record = substrate.calibration_record
        assert substrate.capabilities.settle_s == 0.0125
    assert record["path"] == str(outcome.path)
    assert record["sha256"][:8] in substrate.engine_name
    page = write_report(outcome.path, tmp_path / "page.html", steps=SAMPLE_STEPS).read_text()
    for wanted in ("Calibration of sample", "resistance_ohm", "One line a detector.", "complete"):
        assert wanted in page
    assert page.count("data:image/") == 4


def test_the_same_seed_gives_the_same_drives(lab, tmp_path):
    rig, _ = lab
    drives = []
    for k, seed in enumerate((0, 0, 1)):
        options = replace(PLAIN, seed=seed, output=tmp_path / f"{k}.h5")
        path = calibrate(rig, options, steps=SAMPLE_STEPS).path
        drives.append(read_calibration(path).steps["detectors"].data["power_W"])
    np.testing.assert_allclose(drives[0], drives[1], rtol=1e-3)
    assert np.abs(drives[0] - drives[2]).max() > 1e-3


@pytest.mark.parametrize(
    "error", [(KeyboardInterrupt,), (ZeroDivisionError,), (InstrumentError, "gone for good")]
)
def test_aborted_it_is_safe_and_resumed_without_repeating(lab, error):
    rig, twin = lab
    with pytest.raises(error[0]):
        calibrate(rig, PLAIN, steps=(Resistances(), stops(error), Third()))
    assert safe(twin)
    (path,) = (p for p in (rig.base / "calibrations").iterdir() if p.suffix == ".h5")
    assert not read_heading(path).complete
    first = read_calibration(path).steps["resistances"]
    with pytest.raises(ConfigurationError, match="there is no calibration to use"):
        RigSubstrate.open(rig.with_calibration("latest"), guarded=False)
    log = Log()
    outcome = calibrate(
        rig, replace(PLAIN, resume=True), log, steps=(Resistances(), Detectors(), Third())
    )
    assert outcome.path == path
    assert outcome.complete
    assert [entry for entry in log.said if entry[0] == "step"] == [
        ("step", "detectors"),
        ("step", "third"),
    ]
    found = read_calibration(path)
    assert found.steps["resistances"].ended == first.ended
    assert len(found.resumes) == 1
    ((name, _, data),) = found.attempts
    assert name == "detectors"
    assert data["mark"].tolist() == [0, 1]
    assert data["power_W"].shape == (2, 21)
    assert not journal_path(path).exists()


class Continued(Detectors):
    """Goes on where it was cut off."""

    cut_at: int = -1

    @override
    def measure(self, session):
        drives = session.rng.uniform(0, 0.02, (6, session.n_heaters))
        done = session.recorded()
        for k in range(len(done["detector_V"]) if "detector_V" in done else 0, 6):
            session.record("power_W", session.write_powers(drives[k]), "W")
            if k == self.cut_at:
                raise KeyboardInterrupt
            session.record("detector_V", session.settle().voltage_V, "V")
            session.record("now_s", session.now_s())
            session.checkpoint()
        return session.recorded()


def test_a_step_goes_on_within_itself_from_its_last_checkpoint(lab, tmp_path):
    rig, _ = lab
    step = Continued()
    whole = calibrate(rig, replace(PLAIN, output=tmp_path / "w.h5"), steps=(Resistances(), step))
    path = tmp_path / "c.h5"
    for cut in (2, 4):  # cut off twice: the second time in what was continued
        step.cut_at = cut
        resume = path.exists()
        with pytest.raises(KeyboardInterrupt):
            calibrate(rig, replace(PLAIN, output=path, resume=resume), steps=(Resistances(), step))
        left = read_journal(journal_path(path))
        assert len(left.data["power_W"]) == cut + 1
        assert len(left.whole["power_W"]) == len(left.whole["detector_V"]) == cut
    step.cut_at = -1
    outcome = calibrate(rig, replace(PLAIN, output=path, resume=True), steps=(Resistances(), step))
    assert outcome.complete
    found = read_calibration(path)
    assert found.attempts == ()
    data = found.steps["detectors"].data
    reference = read_calibration(whole.path).steps["detectors"].data
    # The same drives, each of them once.
    np.testing.assert_allclose(data["power_W"], reference["power_W"], rtol=0.02)
    assert data["detector_V"].shape == (6, 8)
    assert not journal_path(path).exists()


@pytest.mark.parametrize("error", [(LimitError, "too much"), (FitError, "no contrast")])
def test_a_step_without_figures_takes_along_those_that_need_it(lab, error):
    rig, twin = lab

    class Fourth(Resistances):
        name = "fourth"

    steps = (Resistances(), stops(error), Third(), Fourth())
    outcome = calibrate(rig, PLAIN, steps=steps)
    assert safe(twin)
    assert not outcome.complete
    assert not outcome.passed
    assert outcome.missing == ("detectors", "third")
    assert [(s.name, s.passed) for s in outcome.steps] == [
        ("resistances", True),
        ("detectors", False),
        ("third", False),
        ("fourth", True),
    ]
    assert error[1] in outcome.steps[1].detail
    assert outcome.steps[2].detail == "needs detectors, which gave no figures"
    assert read_calibration(outcome.path).attempts[0][1] == error[1]
    again = calibrate(rig, replace(PLAIN, resume=True), steps=(*SAMPLE_STEPS, Third(), Fourth()))
    assert again.complete


def test_figures_of_a_wrong_shape_are_a_failed_step(lab):
    rig, _ = lab

    class Wrong(Resistances):
        @override
        def fit(self, data, known, rig):
            made = super().fit(data, known, rig)
            return replace(made, figures={"resistance_ohm": np.ones(3)})

    outcome = calibrate(rig, PLAIN, steps=(Wrong(),))
    assert not outcome.complete
    assert "the rig needs (21,)" in outcome.steps[0].detail


def test_only_takes_the_others_over_with_their_age(lab):
    rig, _ = lab
    whole = calibrate(rig, PLAIN, steps=SAMPLE_STEPS)
    part = calibrate(rig, replace(PLAIN, only=("detectors",)), steps=SAMPLE_STEPS)
    assert part.complete
    assert part.path != whole.path
    assert [step.before for step in part.steps] == [True, False]
    one, other = read_calibration(whole.path), read_calibration(part.path)
    assert other.steps["resistances"].taken_from == str(whole.path)
    assert other.steps["resistances"].ended == one.steps["resistances"].ended
    assert other.heading.measured == one.heading.measured
    np.testing.assert_array_equal(other.figures["resistance_ohm"], one.figures["resistance_ohm"])
    third = calibrate(rig, replace(PLAIN, only=("detectors",)), steps=SAMPLE_STEPS)
    # The origin is that of the measurement, not of the file between.
    assert read_calibration(third.path).steps["resistances"].taken_from == str(whole.path)


def test_only_without_anything_before_is_incomplete(lab):
    rig, _ = lab
    outcome = calibrate(rig, replace(PLAIN, only=("resistances",)), steps=SAMPLE_STEPS)
    assert (outcome.passed, outcome.complete, outcome.missing) == (True, False, ("detectors",))
    files = list((rig.base / "calibrations").iterdir())
    with pytest.raises(ConfigurationError, match=r"--only = 'detectors': it builds on resistances"):
        calibrate(rig, replace(PLAIN, only=("detectors",)), steps=SAMPLE_STEPS)
    assert list((rig.base / "calibrations").iterdir()) == files


def test_another_rig_is_refused(lab, tmp_path):
    rig, _ = lab
    begun = calibrate(rig, replace(PLAIN, only=("resistances",)), steps=SAMPLE_STEPS).path
    whole = calibrate(rig, PLAIN, steps=SAMPLE_STEPS).path
    with Twin(rig, truth_seed=4) as twin:
        for options in (replace(PLAIN, resume=True, output=begun),):
            with pytest.raises(ConfigurationError, match=r"another rig.*VL000003 then.*VL000004"):
                calibrate(twin.rig, options, steps=SAMPLE_STEPS)
        with pytest.raises(ConfigurationError, match="no calibration of this rig to go on with"):
            calibrate(twin.rig, replace(PLAIN, resume=True), steps=SAMPLE_STEPS)
        for file in ("latest", str(whole)):
            with pytest.raises(ConfigurationError, match=r"other instruments.*VL000003 then"):
                RigSubstrate.open(twin.rig.with_calibration(file), guarded=False)
        assert safe(twin)
        # Nothing is taken over from the other rig either.
        part = calibrate(twin.rig, replace(PLAIN, only=("resistances",)), steps=SAMPLE_STEPS)
        assert not part.complete


def test_nothing_is_overwritten_or_continued_twice(lab, tmp_path):
    rig, twin = lab
    path = tmp_path / "mine.h5"
    calibrate(rig, replace(PLAIN, output=path), steps=SAMPLE_STEPS)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="exists and is not replaced"):
        calibrate(rig, replace(PLAIN, output=path), steps=SAMPLE_STEPS)
    with pytest.raises(CalibrationError, match="is complete"):
        calibrate(rig, replace(PLAIN, output=path, resume=True), steps=SAMPLE_STEPS)
    assert path.read_bytes() == before
    assert safe(twin)


def test_a_step_that_a_rig_cannot_take_is_left_out_and_said(lab):
    rig, _ = lab

    class Other(Detectors):
        @override
        def unavailable_because(self, rig):
            return "there is no lamp"

    outcome = calibrate(rig, PLAIN, steps=(Resistances(), Other(), Third()))
    assert outcome.complete
    assert outcome.skipped == {"detectors": "there is no lamp"}
    assert [step.name for step in outcome.steps] == ["resistances", "third"]
    with pytest.raises(ConfigurationError, match="cannot take the step: there is no lamp"):
        chosen_steps(rig, ("detectors",), (Resistances(), Other()))
    with pytest.raises(ConfigurationError, match=r"no step.*detectors: there is no lamp"):
        chosen_steps(rig, (), (Other(),)[:0] or (type("Lone", (Other,), {"needs": ()})(),))


def test_bad_choices_are_refused_before_anything_is_opened(tmp_path):
    rig = write_rig(tmp_path)  # nothing answers at its addresses
    with pytest.raises(ConfigurationError, match=r"--only = 'x'.*resistances, detectors"):
        calibrate(rig, replace(PLAIN, only=("x",)), steps=SAMPLE_STEPS)
    with pytest.raises(ConfigurationError, match="none is installed"):
        calibrate(rig, PLAIN, steps=())
    with pytest.raises(CalibrationError, match="stands before a step that it needs"):
        calibrate(rig, PLAIN, steps=SAMPLE_STEPS[::-1])
    assert not (tmp_path / "calibrations").exists()


def test_summary_counts_what_was_not_found():
    ohm = np.full(21, 500.0)
    ohm[3] = np.nan
    fit = StepFit(
        {"resistance_ohm": ohm, "half_wave_power_W": np.ones(21), "chi_square": np.array(1.0)},
        {"resistance_ohm": np.where(np.isnan(ohm), np.nan, 0.25)},
    )
    said = Resistances().summary(fit, None)
    assert said == "resistance_ohm ± 0.25 (20 of 21), half_wave_power_W, and 1 more"
    assert Resistances().summary(StepFit({}), None) == "no figures"
    assert Resistances().summary(StepFit({"x": np.ones(2)}), None) == "1 figures"


class Again(Resistances):
    """Resistances once more, after the detectors."""

    name = "again"
    needs = ("detectors",)
    measured = 700.0

    def fit(self, data, known, rig):
        made = super().fit(data, known, rig)
        return replace(made, figures={"resistance_ohm": np.full(21, self.measured)})


def test_what_is_measured_anew_replaces_what_later_steps_had_found(lab):
    rig, _ = lab
    steps = (*SAMPLE_STEPS, Again())
    whole = read_calibration(calibrate(rig, PLAIN, steps=steps).path)
    np.testing.assert_array_equal(whole.figures["resistance_ohm"], 700.0)
    part = calibrate(rig, replace(PLAIN, only=("resistances",)), steps=steps)
    assert part.complete
    found = read_calibration(part.path)
    own = found.steps["resistances"].fit.figures["resistance_ohm"]
    np.testing.assert_array_equal(found.figures["resistance_ohm"], own)
    assert not found.steps["resistances"].taken_from
    assert found.steps["again"].taken_from


def test_a_step_is_not_measured_anew_without_those_bound_to_it(lab):
    rig, _ = lab

    class Bound(Again):
        bound_to = ("resistances",)
        bound_because = "powers are told by both"

    steps = (*SAMPLE_STEPS, Bound())
    calibrate(rig, PLAIN, steps=steps)
    files = list((rig.base / "calibrations").iterdir())
    with pytest.raises(
        ConfigurationError,
        match=r"--only = 'resistances': figures of the step again hold only .*powers are told by "
        r"both.*allowed: resistances,again",
    ):
        calibrate(rig, replace(PLAIN, only=("resistances",)), steps=steps)
    assert list((rig.base / "calibrations").iterdir()) == files
    assert calibrate(rig, replace(PLAIN, only=("resistances", "again")), steps=steps).complete
