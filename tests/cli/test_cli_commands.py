import json
import logging
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from eqp_hw import __version__
from eqp_hw.cli.app import app
from eqp_hw.records.checkpoint import checkpoint_path
from eqp_hw.records.reader import read_run

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
[run]
epochs = 2
seed = 4
"""
PROMISED = {"test_accuracy", "final_cost", "epochs", "seconds", "run_file"}


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    handlers, propagate = (
        logging.getLogger("eqp_hw").handlers,
        logging.getLogger("eqp_hw").propagate,
    )
    yield lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])
    logging.getLogger("eqp_hw").handlers = handlers
    logging.getLogger("eqp_hw").propagate = propagate
    logging.getLogger("eqp_hw").setLevel(logging.INFO)


def one_line(result):
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_json_is_one_line_with_what_is_promised(cli, tmp_path):
    figures = one_line(cli("run", "tiny.toml", "--json", "--output", "run.h5"))
    assert figures.keys() >= PROMISED
    assert figures.keys() >= {"train_accuracy", "validation_accuracy", "hops", "excluded"}
    assert figures["run_file"] == "run.h5"
    assert figures["epochs"] == 2
    assert 0 <= figures["final_cost"] <= 1
    assert read_run(tmp_path / "run.h5").result.summary["final_cost"] == figures["final_cost"]
    shown = one_line(cli("show", "run.h5", "--json"))
    assert {name: shown[name] for name in figures} == figures
    assert one_line(cli("resume", "run.h5", "--json")) == figures


def test_run_then_show(cli):
    result = cli("run", "tiny.toml", "--set", "run.epochs=1", "-o", "run.h5")
    assert result.exit_code == 0
    assert "test accuracy" in result.stdout
    assert "eqp-hw show run.h5" in result.stdout
    assert result.stderr == ""  # no bars where there is no terminal
    shown = cli("show", "run.h5")
    assert shown.exit_code == 0
    assert "xor on all-to-all" in shown.stdout
    assert "--report" in shown.stderr
    again = cli("resume", "run.h5")
    assert again.exit_code == 0
    assert "already finished" in again.stderr


def test_report_is_written_by_run_and_by_show(cli, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    done = cli("run", "tiny.toml", "-o", "run.h5", "-q", "--report", "one.html")
    assert done.exit_code == 0, done.output
    figures = one_line(cli("show", "run.h5", "--json", "--report", "two.html"))
    assert figures["report"] == "two.html"
    for name in ("one.html", "two.html"):
        assert "xor on all-to-all" in (tmp_path / name).read_text(encoding="utf-8")


def test_default_output_is_in_runs(cli, tmp_path):
    figures = one_line(cli("run", "tiny.toml", "--json"))
    assert figures["run_file"].startswith("runs/tiny-")
    assert (tmp_path / figures["run_file"]).exists()


def test_quiet_says_nothing(cli):
    result = cli("run", "tiny.toml", "--quiet", "-o", "run.h5")
    assert result.exit_code == 0
    assert result.output == ""


def test_interrupted_run_is_shown_and_resumed(cli, monkeypatch, tmp_path):
    from eqp_hw.experiment.listener import StopSignals

    with monkeypatch.context() as patched:
        patched.setattr(StopSignals, "__call__", lambda self: True)
        result = cli("run", "tiny.toml", "-o", "run.h5", "--json")
    assert result.exit_code == 130
    assert result.stdout == ""
    assert "eqp-hw resume run.h5" in result.stderr
    assert checkpoint_path(tmp_path / "run.h5").exists()
    shown = one_line(cli("show", "run.h5", "--json"))
    assert shown["finished"] is False
    assert shown["test_accuracy"] is None
    assert shown["steps"] == 1
    assert "eqp-hw resume run.h5" in cli("show", "run.h5").stderr
    resumed = one_line(cli("resume", "run.h5", "--json"))
    whole = one_line(cli("run", "tiny.toml", "-o", "whole.h5", "--json"))
    for figures in (resumed, whole):
        del figures["seconds"], figures["run_file"]
    assert resumed == whole


def test_list_names_every_kind_in_one_line(cli):
    kinds = one_line(cli("list", "--json"))
    assert {entry["name"] for entry in kinds["substrates"]} >= {"emulator"}
    assert {"xor", "iris", "idx", "csv"} <= {entry["name"] for entry in kinds["data-sets"]}
    assert {"layered", "lattice"} <= {entry["name"] for entry in kinds["networks"]}
    assert {"centred"} <= {entry["name"] for entry in kinds["estimators"]}
    (lock_in,) = (entry for entry in kinds["estimators"] if entry["name"] == "lock-in")
    assert lock_in["options"]["harmonics"] == "default 1"
    assert all(entry["description"] for entries in kinds.values() for entry in entries)
    text = cli("list").stdout
    for entries in kinds.values():
        for entry in entries:
            assert entry["name"] in text
    momentum = cli("list", "optimisers").stdout
    assert "default 0.9" in momentum


def test_list_says_why_something_is_unavailable(cli, monkeypatch):
    from importlib.metadata import EntryPoint

    from eqp_hw import registry
    from eqp_hw.data import registry as data_registry

    broken = EntryPoint("rig", "no_such_module:Factory", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    monkeypatch.setattr(data_registry.importlib.util, "find_spec", lambda name: None)
    text = cli("list").stdout
    assert "unavailable because" in text
    assert "no_such_module" in text
    assert "scikit-learn" in text


def test_version_and_help(cli):
    assert cli("--version").stdout.strip() == f"eqp-hw {__version__}"
    for command in ("run", "resume", "show", "list"):
        assert cli(command, "--help").exit_code == 0


def test_verbose_logs_in_detail(cli):
    assert cli("--verbose", "run", "tiny.toml", "-o", "run.h5", "--json").exit_code == 0
    assert logging.getLogger("eqp_hw").level == logging.DEBUG


@pytest.mark.parametrize(
    "heavy", ["numpy", "scipy", "h5py", "pydantic", "sklearn", "matplotlib", "networkx"]
)
def test_import_and_help_load_nothing_heavy(heavy):
    code = f"import sys, eqp_hw, eqp_hw.cli.app\nsys.exit({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{heavy} is loaded by 'eqp-hw --help'\n{done.stderr}"


def test_every_public_name_is_there():
    import eqp_hw

    for name in eqp_hw.__all__:
        assert getattr(eqp_hw, name) is not None
    assert set(eqp_hw.__all__) <= set(dir(eqp_hw))
    with pytest.raises(AttributeError, match="no attribute 'Experimant'"):
        _ = eqp_hw.Experimant
