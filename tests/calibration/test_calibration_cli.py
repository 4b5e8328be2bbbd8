"""``eqp-hw calibrate``: what it says, how it ends, and that runs keep what it has made."""

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from calibration_samples import SAMPLE_STEPS, Detectors, write_rig
from typer.testing import CliRunner

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.reader import read_calibration
from eqp_hw.calibration.step import Finding
from eqp_hw.cli.app import app
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import RunInterrupted
from eqp_hw.experiment.run import run_experiment
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.records.provenance import file_checksum
from eqp_hw.records.reader import read_run
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
XOR_RIG = EXAMPLES / "rigs" / "xor_array.toml"


@pytest.fixture(autouse=True)
def sample_steps(monkeypatch):
    monkeypatch.setattr("eqp_hw.calibration.procedure.STEPS", SAMPLE_STEPS)
    monkeypatch.setattr("eqp_hw.calibration.report.STEPS", SAMPLE_STEPS)


def call(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def words_of(text):
    return " ".join(text.split())


def on_a_wire(rig, twin, name="wired.toml"):
    """Write a rig file whose addresses are those of a running twin."""
    content = tomllib.loads(Path(rig.path).read_text(encoding="utf-8"))
    for instrument, address in twin.addresses.items():
        content["instruments"][instrument]["address"] = address
    path = Path(rig.path).with_name(name)
    path.write_text(render_toml(content), encoding="utf-8")
    return path


def test_calibrate_status_report_check(tmp_path):
    plain = write_rig(tmp_path, calibration={"file": "latest"})
    with Twin(plain, truth_seed=3) as one, Twin(plain, truth_seed=4) as two:
        rig, foreign = on_a_wire(plain, one), on_a_wire(plain, two, "foreign.toml")
        _look_at_all(tmp_path, rig, foreign)


def _look_at_all(tmp_path, rig, foreign):
    early = call("calibrate", "status", rig, "--ask")
    assert early.exit_code == 1
    assert "there is no calibration to use" in words_of(early.stdout)
    page = tmp_path / "page.html"
    done = call("calibrate", rig, "--report", page)
    assert done.exit_code == 0, done.output
    said = words_of(done.stdout)
    (path,) = (tmp_path / "calibrations").glob("*.h5")
    assert f"complete: {path}" in said
    assert "resistance_ohm ± 0.5, and 1 more" in said
    assert "on the wires and settling" in said
    assert "One line a detector." in page.read_text(encoding="utf-8")
    now = json.loads(call("calibrate", "status", rig, "--ask", "--json").stdout)
    assert now["in_force"] == str(path)
    assert now["identities_known"]
    assert now["history"][0]["in_force"]
    offline = call("calibrate", "status", rig)
    assert offline.exit_code == 0
    assert "not compared (--ask does)" in words_of(offline.stdout)
    other = call("calibrate", "status", foreign, "--ask")
    assert other.exit_code == 1
    assert "VL000003 then, EQP,VDIG-64,VL000004 now" in words_of(other.stdout)
    again = call("calibrate", "report", path, "-o", tmp_path / "again.html")
    assert again.exit_code == 0
    refused = call("check", foreign)
    assert refused.exit_code == 1
    assert "calibration: " in words_of(refused.stdout)
    assert "VL000003 then" in words_of(refused.stdout)
    assert "round trip" not in refused.stdout  # nothing was driven
    named = call("check", rig, "--calibration", path, "--json")
    steps = {step["name"]: step for step in json.loads(named.stdout)["steps"]}
    assert path.name in steps["calibration"]["detail"]
    assert steps["heaters: round trip"]["passed"]


def test_json_and_exit_codes(tmp_path, monkeypatch):
    rig = write_rig(tmp_path).path
    done = call("calibrate", rig, "--virtual-lab", "--only", "resistances", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0  # all that was asked for
    assert (found["passed"], found["complete"], found["missing"]) == (True, False, ["detectors"])

    def no_contrast(*_):
        raise FitError("fringe without contrast")

    with monkeypatch.context() as patch:
        patch.setattr(Detectors, "fit", no_contrast)
        failed = call("calibrate", rig, "--virtual-lab")
    assert failed.exit_code == 1
    assert "FAIL detectors fringe without contrast" in words_of(failed.stdout)
    assert "incomplete, not to be used: detectors missing" in words_of(failed.stdout)
    plain = Detectors.fit

    def broken(self, data, known, rig):
        made = plain(self, data, known, rig)
        return type(made)(made.figures, findings=[Finding("fault", "heaters:3", "is dead")])

    monkeypatch.setattr(Detectors, "fit", broken)
    faulty = call("calibrate", rig, "--virtual-lab", "--resume")
    assert faulty.exit_code == 1
    assert "fault heaters:3: is dead" in words_of(faulty.stdout)
    assert "1 fault to be mended: heaters:3" in words_of(faulty.stdout)
    assert "kept resistances" in words_of(faulty.stdout)


@pytest.fixture(scope="module")
def shared_twin(tmp_path_factory):
    with Twin(write_rig(tmp_path_factory.mktemp("shared"))) as twin:
        yield twin


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.toml"], "nowhere.toml"),
        (["RIG", "--only", "x"], "--only = 'x': there is no such step"),
        (["RIG", "--resume"], "no calibration of this rig to go on with"),
        (["RIG", "--truth-seed", "3"], "--truth-seed = 3"),
        (["RIG", "--virtual-lab", "--report", "page.txt"], "a name that ends in .html"),
        (["RIG", "--output", "RIG"], "a name that ends in .h5"),
        (["RIG", "--output", "none/c.h5"], "none does not exist"),
        (["RIG", "--resume", "--output", "RIG"], "not an HDF5 file"),
        (["DEAD"], "heaters (serial:"),
        (["report", "RIG"], "not an HDF5 file"),
    ],
)
def test_bad_input_ends_with_a_sentence(tmp_path, monkeypatch, shared_twin, words, said):
    monkeypatch.chdir(tmp_path)
    rig = write_rig(tmp_path)
    on_a_wire(rig, shared_twin, "live.toml")
    gone = dict.fromkeys(shared_twin.addresses, f"serial:{tmp_path}/no-port")
    on_a_wire(rig, SimpleNamespace(addresses=gone), "dead.toml")
    names = {"RIG": "live.toml", "DEAD": "dead.toml"}
    done = call("calibrate", *(names.get(word, word) for word in words))
    assert done.exit_code == 2
    assert said in words_of(done.stderr)
    assert not list(tmp_path.glob("calibrations/*"))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "unplugged"])
def test_ended_from_outside_it_is_safe_and_resumed(tmp_path, how):
    with Twin(write_rig(tmp_path)) as twin:
        rig = on_a_wire(twin.rig, twin)
        process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "calibrate_slowly.py"), "calibrate", str(rig)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            if "resistances" in line:
                break  # the second step begins
        while not any(p.stat().st_size > 600 for p in tmp_path.glob("calibrations/*.journal")):
            assert process.poll() is None
        if how == "unplugged":
            twin.wires["detectors"].unplug(None)
        else:
            process.send_signal(getattr(signal, how))
        # Ends when the guardian has left as well: it holds the same pipe.
        said = words_of(process.communicate()[1])
        assert twin.plant.state()["largest_voltage_V"] == 0.0
        assert process.returncode == {"SIGTERM": 130, "SIGKILL": -9, "unplugged": 2}[how]
        assert "Traceback" not in said
        (path,) = (tmp_path / "calibrations").glob("*.h5")
        if how != "SIGKILL":
            assert f"eqp-hw calibrate {rig} --resume" in said
        assert list(read_calibration(path).steps) == ["resistances"]
        if how == "unplugged":
            return
        done = call("calibrate", rig, "--resume", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["file"] == str(path)
        found = read_calibration(path)
        assert found.heading.complete
        # The rows that had been measured are kept.
        ((step, reason, data),) = found.attempts
        assert step == "detectors"
        assert "ended during the measurement" in reason
        assert data["power_W"].shape[1] == 21


def test_a_run_keeps_which_calibration_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr(Detectors, "looks", 2)
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    content["calibration"]["file"] = "latest"
    (tmp_path / "rig.toml").write_text(render_toml(content), encoding="utf-8")
    plain = load_rig(tmp_path / "rig.toml")
    with Twin(plain) as one, Twin(plain, truth_seed=5) as two:
        _train(tmp_path, on_a_wire(plain, one), on_a_wire(plain, two, "foreign.toml"))


def _train(tmp_path, rig, foreign):
    short = [
        *("--set", "run.epochs=2", "--set", "run.evaluation_starts=1"),
        *("--set", "run.validate_every=0", "--json"),
    ]
    first = Path(json.loads(call("calibrate", rig, "--json").stdout)["file"])
    overrides = [f'substrate={{kind = "rig", file = "{rig}"}}', *short[1:6:2]]
    run = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted):
        run_experiment(Experiment.load(EXAMPLES / "xor.toml", overrides), run, stop=lambda: True)
    record = read_run(run).resolved["derived"]["calibration"]
    assert (record["path"], record["sha256"]) == (str(first), file_checksum(first))
    assert record["measured"] == read_calibration(first).heading.measured.isoformat()
    # A newer one comes into force: the run does not go on with it unseen.
    second = Path(json.loads(call("calibrate", rig, "--json").stdout)["file"])
    refused = call("resume", run, "--json")
    assert refused.exit_code == 2
    said = words_of(refused.stderr)
    assert f"was begun with the calibration {first}" in said
    assert str(second) in said
    accepted = call("resume", run, "--json", "--accept-changed-rig")
    assert accepted.exit_code == 0, accepted.output
    assert read_run(run).resumes[-1]["calibration"]["path"] == str(second)
    # Without a measured one the record says nothing of any; another rig is refused this one.
    nominal = tmp_path / "nominal.h5"
    overrides[0] = f'substrate={{kind = "rig", file = "{rig}", calibration = "nominal"}}'
    planned = Experiment.load(EXAMPLES / "xor.toml", overrides)
    with pytest.raises(RunInterrupted):
        run_experiment(planned, nominal, stop=lambda: True)
    assert "calibration" not in read_run(nominal).resolved["derived"]
    xor = ("run", EXAMPLES / "xor.toml", *short)
    other = call(*xor, "--rig", foreign, "--calibration", first, "-o", tmp_path / "f.h5")
    assert other.exit_code == 2
    assert "with other instruments than this rig" in words_of(other.stderr)
    assert not (tmp_path / "f.h5").exists()
    lone = call(*xor, "--calibration", "latest")
    assert lone.exit_code == 2
    assert "--calibration = 'latest': only a rig has one" in words_of(lone.stderr)
