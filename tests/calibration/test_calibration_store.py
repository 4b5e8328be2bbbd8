"""A calibration file holds what was complete, whatever happens to its writer."""

import os
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from calibration_samples import content
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eqp_hw.calibration.errors import CalibrationError
from eqp_hw.calibration.figures import compose
from eqp_hw.calibration.journal import journal_path
from eqp_hw.calibration.layout import StoredStep
from eqp_hw.calibration.reader import read_calibration, read_heading
from eqp_hw.calibration.step import Finding, RawArray, StepData, StepFit
from eqp_hw.calibration.store import CalibrationWriter, default_path
from eqp_hw.errors import EqpError, RecordError
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import make_rig

RIG = make_rig(content())
WHO = {"heaters": "Q8iv-0001", "detectors": "EQP,VDIG-64,VL0001"}
TIME = "2026-01-01T00:00:00+00:00"


def stored(name, seed=0, **more):
    rng = np.random.default_rng(seed)
    data = StepData(
        {
            "sweep": RawArray(rng.normal(size=(3, 4)), "V", "all detectors"),
            "label": RawArray(np.array(["heaters:0", "µ"]), "", "channels"),
            "count": RawArray(np.array(7), "", "a number"),
        }
    )
    fit = StepFit(
        {"resistance_ohm": rng.uniform(400, 600, 21)},
        {"resistance_ohm": rng.uniform(0, 1, 21)},
        {"sweep": rng.normal(size=(3, 4))},
        [Finding("fault", "heaters:3", "draws no current")],
        {"sweep": "V"},
    )
    given = {"started": TIME, "ended": TIME, "seconds": 1.5, "summary": "21 of 21"} | more
    return StoredStep(name, "a sweep", data=data, fit=fit, **given)


def same(one, other):
    assert one.name == other.name
    assert list(one.data.arrays) == list(other.data.arrays)
    for key, array in one.data.arrays.items():
        also = other.data.arrays[key]
        np.testing.assert_array_equal(array.values, also.values)
        assert (array.unit, array.description) == (also.unit, also.description)
    for part in ("figures", "uncertainties", "residuals"):
        left, right = getattr(one.fit, part), getattr(other.fit, part)
        assert list(left) == list(right)
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])
    assert list(one.fit.findings) == list(other.fit.findings)
    assert (one.summary, one.ended, one.taken_from) == (
        other.summary,
        other.ended,
        other.taken_from,
    )


class _PowerError(OSError):
    """The file system fails."""


class Store(RuleBasedStateMachine):
    """Steps come, writes fail at any system call, the process goes and comes back."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="eqp-store-"))
        self.path = self.folder / "c.h5"
        self.steps, self.attempts, self.rows = [], [], None
        self.writer = None
        self.finished = False

    @initialize()
    def begin(self):
        self.writer = CalibrationWriter.create(self.path, RIG, WHO, seed=5, temperature_C=21.5)

    @precondition(lambda self: self.writer is not None and not self.finished)
    @rule(seed=st.integers(0, 9), n=st.integers(0, 3))
    def measure(self, seed, n):
        journal = self.writer.journal("sweep")
        for k in range(n):
            journal.append("row", RawArray(np.array([seed, k]), "V", ""))
        self.rows = [[seed, k] for k in range(n)]

    @precondition(lambda self: self.writer is not None and not self.finished)
    @rule(seed=st.integers(0, 9))
    def done(self, seed):
        step = stored(f"step-{len(self.steps)}", seed)
        self.writer.add_step(step)
        self.steps.append(step)
        self.rows = None

    @precondition(lambda self: self.writer is not None and not self.finished)
    @rule(seed=st.integers(0, 9))
    def failed(self, seed):
        data = StepData({"row": RawArray(np.array([seed]))})
        self.writer.add_attempt("sweep", data, "no contrast")
        self.attempts.append(("sweep", "no contrast", [seed]))
        self.rows = None

    @precondition(lambda self: self.writer is not None and not self.finished)
    @rule(call=st.sampled_from(["fsync", "replace", "open"]))
    def disk_fails(self, call):
        def fail(*_, **__):
            raise _PowerError(28, "No space left on device")

        targets = {
            "fsync": "eqp_hw.records.atomic_file.os.fsync",
            "replace": "eqp_hw.records.failures.os.replace",
            "open": "eqp_hw.records.atomic_file.h5py.File",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(targets[call], fail)
            with pytest.raises(RecordError, match="disk is full"):
                self.writer.add_step(stored("never"))

    @precondition(lambda self: self.writer is not None and not self.finished)
    @rule()
    def finish(self):
        figures, errors = compose(
            nominal_calibration(RIG), [step.fit for step in self.steps], "now"
        )
        self.writer.finish(figures, errors, [])
        self.finished = True

    @precondition(lambda self: self.writer is not None)
    @rule()
    def goes(self):
        self.writer.close()
        self.writer = None

    @precondition(lambda self: self.writer is None)
    @rule()
    def comes_back(self):
        if self.finished:
            with pytest.raises(CalibrationError, match="is complete"):
                CalibrationWriter.reopen(self.path)
            return
        self.writer = CalibrationWriter.reopen(self.path)
        if self.rows:
            assert self.writer.unfinished.data["row"].tolist() == self.rows
            assert journal_path(self.path).exists()
            self.attempts.append(("sweep", "ended", self.rows))
        self.writer.put_aside()
        self.rows = None
        assert not journal_path(self.path).exists()

    @invariant()
    def all_complete_is_there(self):
        if not self.path.exists():
            return
        found = read_calibration(self.path)
        assert list(found.steps) == [step.name for step in self.steps]
        for step in self.steps:
            same(found.steps[step.name], step)
        assert len(found.attempts) == len(self.attempts)
        for (step, reason, data), (known, why, values) in zip(
            found.attempts, self.attempts, strict=True
        ):
            assert step == known
            assert why in reason
            assert data["row"].tolist() == values
        assert found.heading.complete == self.finished
        assert (found.heading.seed, found.heading.temperature_C) == (5, 21.5)
        assert found.heading.identities == WHO

    def teardown(self):
        if self.writer is not None:
            self.writer.close()
        for path in self.folder.iterdir():
            assert not path.name.endswith(".partial")
            path.unlink()
        self.folder.rmdir()


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


KILLED = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
from pathlib import Path
from test_calibration_store import RIG, WHO, stored
from eqp_hw.calibration.step import RawArray
from eqp_hw.calibration.store import CalibrationWriter

writer = CalibrationWriter.create(Path(sys.argv[1]), RIG, WHO)
for k in range(10**6):
    journal = writer.journal(f"step-{{k}}")
    for n in range(20):
        journal.append("row", RawArray(np.array([k, n])))
    print(k, flush=True)
    writer.add_step(stored(f"step-{{k}}", k))
"""


@pytest.mark.parametrize("when", [1, 4])
def test_kill_9_keeps_all_finished_steps(tmp_path, when):
    path = tmp_path / "c.h5"
    code = KILLED.format(folder=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if int(line) == when:
            # In the midst of writing the step down, or just before or after.
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    found = read_calibration(path)
    assert len(found.steps) >= when
    for k, step in enumerate(found.steps.values()):
        same(step, stored(f"step-{k}", k))
    with CalibrationWriter.reopen(path) as writer:
        writer.put_aside()
        writer.add_step(stored("next"))
    again = read_calibration(path)
    assert list(again.steps)[-1] == "next"
    assert len(again.resumes) == 1
    # The rows of the step that was cut off are kept, unless it had just been written down.
    for step, _, data in again.attempts:
        assert data["row"][0].tolist() == [int(step.removeprefix("step-")), 0]


def test_a_truncated_file_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "c.h5"
    with CalibrationWriter.create(path, RIG, WHO) as writer:
        writer.add_step(stored("sweep"))
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(EqpError, match=r"c\.h5"):
            read_calibration(path)


def test_changed_numbers_are_noticed(tmp_path):
    path = tmp_path / "c.h5"
    with CalibrationWriter.create(path, RIG, WHO) as writer:
        writer.add_step(stored("sweep"))
    with h5py.File(path, "r+") as file:
        file["steps/sweep/data/sweep"][1, 1] += 1e-9
    with pytest.raises(CalibrationError, match=r"damaged.*not those that were written"):
        read_calibration(path)
    assert read_heading(path).rig_name == "sample"  # the heading needs none of it


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "c.h5"
    path.write_text("a thesis")
    with pytest.raises(RecordError, match="exists and is not replaced"):
        CalibrationWriter.create(path, RIG, WHO)
    assert path.read_text() == "a thesis"


def test_a_second_writer_is_refused_a_reader_is_not(tmp_path):
    path = tmp_path / "c.h5"
    with CalibrationWriter.create(path, RIG, WHO) as writer:
        writer.add_step(stored("sweep"))
        code = (
            "import sys; from pathlib import Path\n"
            "from eqp_hw.calibration.reader import read_calibration\n"
            "from eqp_hw.calibration.store import CalibrationWriter\n"
            "print(len(read_calibration(sys.argv[1]).steps))\n"
            "CalibrationWriter.reopen(Path(sys.argv[1]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.strip() == "1"
    assert "in use by another process" in done.stderr


def test_names_are_free_and_readable(tmp_path):
    odd = make_rig(content(rig={"name": "Büro / Lab 3"}), path=str(tmp_path / "rig.toml"))
    first = default_path(odd)
    assert first.parent == tmp_path / "calibrations"
    assert first.name.startswith("B-ro-Lab-3-")
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    one = default_path(odd, moment)
    one.touch()
    assert (one.name, default_path(odd, moment).name) == (
        "B-ro-Lab-3-20260102-030405.h5",
        "B-ro-Lab-3-20260102-030405-2.h5",
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_bytes(b"no"), "not an HDF5 file"),
        (lambda p: p.mkdir(), "a folder"),
        (lambda p: None, "cannot be read"),
        (lambda p: h5py.File(p, "w").close(), "not a calibration of eqp_hw"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, make, said):
    path = tmp_path / "c.h5"
    make(path)
    with pytest.raises(EqpError, match=said):
        read_calibration(path)


def test_a_newer_format_is_named(tmp_path):
    path = tmp_path / "c.h5"
    CalibrationWriter.create(path, RIG, WHO).close()
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(CalibrationError, match="format version 99"):
        read_calibration(path)


def test_what_cannot_be_recorded_leaves_the_file_alone(tmp_path):
    path = tmp_path / "c.h5"
    with CalibrationWriter.create(path, RIG, WHO) as writer:
        bad = StepData({"x": RawArray(np.array([object()]))})
        with pytest.raises(CalibrationError, match="cannot be recorded"):
            writer.add_attempt("sweep", bad, "why")
        writer.add_step(stored("sweep"))
        with pytest.raises(CalibrationError, match="recorded already"):
            writer.add_step(stored("sweep"))
    assert list(read_calibration(path).steps) == ["sweep"]
    assert read_calibration(path).attempts == ()


def test_figures_compose_element_by_element():
    nominal = nominal_calibration(RIG)
    first, second = np.full(21, 510.0), np.full(21, np.nan)
    second[4] = 530.0
    first[3] = np.nan
    fits = [
        StepFit({"resistance_ohm": first}, {"resistance_ohm": np.full(21, 0.1)}),
        StepFit({"resistance_ohm": second}, {"resistance_ohm": np.full(21, 0.2)}),
    ]
    made, errors = compose(nominal, fits, "here")
    assert made.resistance_ohm[[2, 3, 4]].tolist() == [510.0, 500.0, 530.0]
    np.testing.assert_array_equal(errors["resistance_ohm"][[2, 3, 4]], [0.1, np.nan, 0.2])
    assert np.isnan(errors["half_wave_power_W"]).all()
    assert made.source == "here"
    with pytest.raises(CalibrationError, match=r"'resistance_ohm' of shape \(3,\)"):
        compose(nominal, [StepFit({"resistance_ohm": np.ones(3)})], "")
