"""``resume`` on a rig: as if never stopped, and not on another rig unseen."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import RunInterrupted
from eqp_hw.experiment.rig_changes import changes_between
from eqp_hw.experiment.run import run_experiment
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.records.reader import read_run

EXAMPLES = Path(__file__).parents[2] / "examples"
XOR_RIG = EXAMPLES / "rigs" / "xor_array.toml"


def resume(path, *options):
    return CliRunner().invoke(app, ["resume", str(path), "--json", *options])


def test_a_changed_rig_is_refused_and_accepted_when_told_to(tmp_path):
    rig, path = tmp_path / "rig.toml", tmp_path / "run.h5"
    text = XOR_RIG.read_text(encoding="utf-8")
    rig.write_text(text, encoding="utf-8")
    overrides = [
        f'substrate={{kind = "rig", file = "{rig}", virtual_lab = true}}',
        *("run.epochs=4", "run.evaluation_starts=1", "run.validate_every=0"),
    ]
    asked = []

    def stop():
        asked.append(None)
        return len(asked) >= 2

    with pytest.raises(RunInterrupted):
        run_experiment(Experiment.load(EXAMPLES / "xor.toml", overrides), path, stop=stop)
    content = tomllib.loads(text)
    content["calibration"]["half_wave_power_W"] = 0.026
    rig.write_text(render_toml(content), encoding="utf-8")
    whole = path.read_bytes()
    refused = resume(path)
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert "rig.toml: has changed since the run" in said
    assert "calibration.half_wave_power_W 0.025 -> 0.026" in said
    assert "--accept-changed-rig" in said
    assert path.read_bytes() == whole
    done = resume(path, "--accept-changed-rig")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["steps"] == 4
    data = read_run(path)
    assert data.resolved["derived"]["substrate_file"] == text
    assert data.resumes[-1]["substrate_file"] == rig.read_text(encoding="utf-8")


def test_what_changed_is_said_key_by_key_and_comments_do_not_count():
    before = "[a]\nb = 1 # one\nc = 2\n[a.d]\ne = [1]\n"
    assert changes_between(before, "[a]\nc = 2\nb = 1\nd.e = [1]\n") == []
    assert changes_between(before, "[a]\nb = 3\n[a.d]\ne = [1]\nf = 'x'\n") == [
        "a.b 1 -> 3",
        "a.c 2 -> nothing",
        "a.d.f nothing -> 'x'",
    ]
    assert changes_between(before, "[a") == ["it cannot be compared key by key"]
