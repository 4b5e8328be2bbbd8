"""`eqp-hw compare`: table, JSON, page, and what it refuses."""

from __future__ import annotations

import json
import logging

import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app

TINY = """
[task]
kind = "xor"
[encoding]
input = "bits"
target = "binary"
[network]
kind = "all-to-all"
n_nodes = 5
[network.initial]
bias = "uniform"
"""
QUICK = ["--displacements", "0.05,0.1", "--samples", "2", "--draws", "2"]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    logger = logging.getLogger("eqp_hw")
    handlers, propagate = logger.handlers, logger.propagate
    yield lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(logging.INFO)


def test_table_names_estimators_and_shifts(cli):
    result = cli(
        "compare", "tiny.toml", "--estimators", "centred,one-sided", "--noise", "0", *QUICK
    )
    assert result.exit_code == 0, result.output
    assert "exact reads: bias" in result.stdout
    for word in ("centred", "one-sided", "0.05", "0.1"):
        assert word in result.stdout


def test_json_holds_every_row(cli):
    result = cli(
        "compare", "tiny.toml", "--estimators", "centred", "--noise", "0,0.01", "--json", *QUICK
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    study = json.loads(result.stdout)
    assert {(row["noise"], row["displacement"]) for row in study["rows"]} == {
        (0.0, 0.05),
        (0.0, 0.1),
        (0.01, 0.05),
        (0.01, 0.1),
    }
    exact, noisy = (
        next(r["error"] for r in study["rows"] if r["noise"] == n and r["displacement"] == 0.05)
        for n in (0.0, 0.01)
    )
    assert noisy > exact


def test_page_is_written_and_nothing_else_replaced(cli, tmp_path):
    page = tmp_path / "study.html"
    arguments = ["compare", "tiny.toml", "--estimators", "centred", "--noise", "0,0.01"]
    result = cli(*arguments, *QUICK, "--report", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 3
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<p>mine</p>", encoding="utf-8")
    assert cli(*arguments, *QUICK, "--report", thesis).exit_code == 2
    assert thesis.read_text(encoding="utf-8") == "<p>mine</p>"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--noise", "loud"], ["--noise", "loud", "numbers separated by commas"]),
        (["--estimators", "magic"], ["--estimators", "magic", "centred"]),
        (["--displacements", "3"], ["--displacements", "pi/2"]),
        (["--reads", "0"], ["--reads", ">= 1"]),
        (["--report", "study.txt"], ["--report", ".html"]),
        (["--set", "substrate.kind=langevin"], ["substrate.kind", "emulator"]),
    ],
)
def test_bad_input_is_named(cli, arguments, words):
    result = cli("compare", "tiny.toml", *arguments)
    assert result.exit_code == 2
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output
