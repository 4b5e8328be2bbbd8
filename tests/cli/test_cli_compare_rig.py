"""`eqp-hw compare RIG EXPERIMENT`: figures, page, JSON, and what it refuses."""

from __future__ import annotations

import json
import logging
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.experiment.toml_file import render_toml

EXAMPLES = Path(__file__).parents[2] / "examples"
RIG = EXAMPLES / "rigs" / "xor_array.toml"
XOR = EXAMPLES / "xor.toml"
CENTRED = ["--set", "estimator.kind=centred", "--set", "estimator.beta=0.02"]
QUICK = ["--samples", "2", "--bonds", "2", "--replicates", "1", *CENTRED]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("eqp_hw")
    handlers, propagate = logger.handlers, logger.propagate
    yield lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(logging.INFO)


def by_reference(output):
    rows = json.loads(output)["rows"]
    return {row["reference"]: row for row in rows if row["group"] == "all"}


def test_a_rig_as_stated_agrees_with_its_own_cost_and_with_the_emulator(cli, tmp_path):
    page = tmp_path / "fidelity.html"
    arguments = ["compare", RIG, XOR, "--virtual-lab", "--truth-seed", 1, *QUICK]
    result = cli(*arguments, "--json", "--report", page)
    assert result.exit_code == 0, result.output
    rows = by_reference(result.stdout)
    assert set(rows) == {"finite differences", "emulator"}
    for row in rows.values():
        assert row["cosine"] > 0.98
        assert row["ratio"] == pytest.approx(1.0, abs=0.1)
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 2
    assert "Gradient fidelity" in text


def test_the_table_names_groups_and_says_when_the_calibration_is_wrong(cli, tmp_path):
    content = tomllib.loads(RIG.read_text(encoding="utf-8"))
    content["virtual_lab"] |= {"coupling_spread": 0.3, "splitting_imbalance": 0.0}
    path = tmp_path / "rig.toml"
    path.write_text(render_toml(content), encoding="utf-8")
    result = cli("compare", path, XOR, "--virtual-lab", "--truth-seed", 2, *QUICK)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    for word in ("EP against finite differences", "EP against emulator", "input-hidden", "bias"):
        assert word in words
    assert "rad from the emulator's" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([RIG], "a rig file alone"),
        ([RIG, RIG], "two rig files"),
        ([XOR, RIG], "behind the rig file"),
        ([XOR, XOR], "no rig file"),
        ([RIG, XOR, XOR], "too many files"),
        ([XOR, "--virtual-lab"], "--virtual-lab"),
        ([XOR, "--bonds", "3"], "--bonds"),
        ([XOR, "--step", "0.1"], "--step"),
        ([RIG, XOR, "--estimators", "centred"], "--estimators"),
        ([RIG, XOR, "--noise", "0.1"], "--noise"),
        ([RIG, XOR, "--truth-seed", "1"], "--truth-seed"),
        ([RIG, XOR, "--virtual-lab", "--samples", "0"], "--samples"),
        ([RIG, EXAMPLES / "iris.toml", "--virtual-lab"], "another network"),
        (["nowhere.toml", XOR], "nowhere.toml"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(cli, arguments, words):
    result = cli("compare", *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
