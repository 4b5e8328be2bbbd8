"""Signals and exceptions during a run on a rig: outputs at zero, no guardian left behind."""

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin

EXAMPLES = Path(__file__).parents[3] / "examples"
RIG = EXAMPLES / "rigs" / "xor_array.toml"


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "exception"])
def test_outputs_end_at_zero(tmp_path, how):
    with Twin(load_rig(RIG)) as twin:
        content = tomllib.loads(RIG.read_text(encoding="utf-8"))
        for name, address in twin.addresses.items():
            content["instruments"][name]["address"] = address
            content["instruments"][name]["timeout_s"] = 0.4
        path = tmp_path / "rig.toml"
        path.write_text(render_toml(content), encoding="utf-8")
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "eqp_hw", "run", str(EXAMPLES / "xor.toml")),
                *("--rig", str(path), "-o", str(tmp_path / "run.h5")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while twin.plant.state()["largest_voltage_V"] == 0.0:
            assert process.poll() is None, process.stderr.read()
        if how == "exception":
            # The digitiser goes for good: training cannot go on.
            twin.wires["digitiser"].unplug(None)
        else:
            process.send_signal(getattr(signal, how))
        # Ends when the guardian has left as well: it holds the same pipe.
        said = process.communicate()[1]
        assert process.returncode == (2 if how == "exception" else 130), said
        assert twin.plant.state()["largest_voltage_V"] == 0.0
    assert "Traceback" not in said
    assert "guardian" not in said  # it was sent home, it did not have to act
    assert ("digitiser" if how == "exception" else "eqp-hw resume") in said
