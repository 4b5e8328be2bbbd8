"""An N-step rig from the command line, over real wires: calibrated, then used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nstep_samples import stepped_content
from typer.testing import CliRunner

from eqp_hw.calibration.reader import read_calibration
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.cli.app import app
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.records.provenance import file_checksum
from eqp_hw.records.reader import read_run
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = (
    ResistanceStep(),
    ReadoutStep(drives=20, series=128),
    NetworkStep(equations_per_figure=3, least=120, samples=16),
)
ON = ["--virtual-lab", "--truth-seed", "3"]


@pytest.fixture(autouse=True)
def few_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eqp_hw.calibration.procedure.STEPS", STEPS)
    monkeypatch.setattr("eqp_hw.calibration.report.STEPS", STEPS)


def test_calibrate_and_run(tmp_path: Path) -> None:
    content = stepped_content(3)
    content["calibration"]["readout_noise"] = 0.002
    rig = tmp_path / "rig.toml"
    rig.write_text(render_toml(content), encoding="utf-8")
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["calibrate", str(rig), *ON, "--report", str(page)])
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "calibrations").glob("*.h5")
    found = read_calibration(path)
    assert found.heading.complete
    hidden = draw_truths(load_rig(rig), 3).figures
    power = found.figures["half_wave_power_W"] / hidden.half_wave_power_W - 1
    assert np.abs(power[1:]).max() < 0.01  # the first heater joins the clamped inputs
    assert abs(power[-1]) < 0.002  # the step shifter: a tenth off by the data sheet
    assert abs(hidden.half_wave_power_W[-1] / 0.025 - 1) > 0.01
    assert np.abs(found.figures["readout_amplitude_V"] - hidden.readout_amplitude_V).max() < 2e-3
    assert np.abs(found.figures["readout_offset_V"] - hidden.readout_offset_V).max() < 2e-3
    assert "Noise against averaging" in page.read_text(encoding="utf-8")

    run = tmp_path / "run.h5"
    words = [str(EXAMPLES / "xor.toml"), "--rig", str(rig), *ON, "--calibration", "latest"]
    words += ["--set", "run.epochs=1", "--set", "run.evaluation_starts=1", "--json"]
    done = CliRunner().invoke(app, ["run", *words, "--output", str(run)])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["finished"]
    assert (said["excluded"], said["unsettled"]) == (0, 0)
    used = read_run(run).resolved["derived"]["calibration"]
    assert (used["path"], used["sha256"]) == (str(path), file_checksum(path))
