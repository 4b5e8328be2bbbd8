"""What docs/ prints about benches works as printed."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.drivers.rig.bench import Bench
from eqp_hw.rig.load import make_rig

ROOT = Path(__file__).parents[2]


def blocks(document, language):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_rig_files_in_the_guide_are_accepted():
    contents = [tomllib.loads(block) for block in blocks("rigs.md", "toml")]
    whole = [content for content in contents if "rig" in content]
    assert whole
    for content in whole:
        Bench(make_rig(content))  # its instruments too, unopened


def test_rig_of_the_guide_passes_its_check(tmp_path):
    (block,) = (one for one in blocks("rigs.md", "toml") if "[rig]" in one)
    path = tmp_path / "my_rig.toml"
    path.write_text(block, encoding="utf-8")
    done = CliRunner().invoke(app, ["check", str(path), "--virtual-lab"])
    assert done.exit_code == 0, done.output
    assert "it has no voltmeter" in " ".join(done.output.split())


@pytest.mark.parametrize("document", ["virtual_lab.md", "drivers.md"])
def test_programs_in_the_guides_run(document, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    found = blocks(document, "python")
    names = {"__name__": "guide"}
    for block in found:
        exec(compile(block, document, "exec"), names)  # the guide's own words are the test
    printed = capsys.readouterr().out
    for said in re.findall(r"print\(.*\)  # ([A-Z0-9][A-Za-z0-9.,-]*(?: |$))", "\n".join(found)):
        assert said in printed
    assert len(printed.splitlines()) >= 3


def test_driver_of_the_guide_fits_forty_lines_and_passes_its_self_test(capsys):
    driver, stand_in, *_ = blocks("drivers.md", "python")
    assert len(driver.splitlines()) <= 40
    names = {}
    for block in (driver, stand_in):
        exec(compile(block, "drivers.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "reading passed 21.50 °C" in printed
    assert "failed" not in printed
    assert "It has not restarted" in printed
    assert names["ThermometerFactory"]().options() == {"averages": "conversions that it averages"}
