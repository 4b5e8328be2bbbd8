"""The script and the notebook of examples/ do what they say, on a small simulated bench."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eqp_hw.calibration.reader import read_calibration

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = EXAMPLES / "rigs" / "xor_array.toml"


def run(*words: object, text: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        input=text,
        capture_output=True,
        text=True,
        cwd=EXAMPLES,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_script_sweeps_calibrates_and_tells(tmp_path: Path) -> None:
    output = tmp_path / "made.h5"
    said = run(EXAMPLES / "calibrate_rig.py", SMALL, "--output", output)
    assert said.count("heaters:15 at ") == 9
    assert f"complete: {output}" in said
    found = read_calibration(output)
    assert found.heading.complete
    assert all(f"  {name}: " in said for name in found.figures)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom() -> None:
    pytest.importorskip("matplotlib")
    notebook = json.loads((EXAMPLES / "calibration.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["cells"][0]["cell_type"]) == (4, "markdown")
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c.get("outputs") == [] for c in notebook["cells"] if c["cell_type"] == "code")
    # Word for word, but for a smaller bench and no window.
    code = "\n\n".join(["import matplotlib; matplotlib.use('Agg')", *cells])
    assert "rigs/heater_array.toml" in code
    code = code.replace("rigs/heater_array.toml", "rigs/xor_array.toml")
    code += "\nprint('complete' if outcome.complete else outcome.missing, residual.std() < 0.002)"
    said = run("-", text=code)
    assert "network, " in said
    assert said.splitlines()[-1] == "complete True"
