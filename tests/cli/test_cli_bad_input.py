"""Bad input, as a user meets it: a message that helps, exit code 2, nothing written."""

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.records.run_file import RunWriter

GOOD = """
[task]
kind = "csv"
path = "data.csv"
label = "kind"

[network]
kind = "layered"
hidden = [3]

[run]
epochs = 1
"""
CSV = "a,b,kind\n" + "\n".join(f"{k % 7},{(3 * k) % 5},{'xy'[k % 2]}" for k in range(20)) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "data.csv").write_text(CSV, encoding="utf-8")
    return tmp_path


def refused(*arguments):
    """Run the command line; return the message of a refusal, on one line."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


IN_THE_FILE = [
    ("unknown key", "epochs = 1", "epoch = 1", ["run.epoch", "did you mean 'epochs'"]),
    ("unknown table", "[run]", "[runs]", ["runs", "did you mean 'run'"]),
    ("wrong type", "epochs = 1", 'epochs = "one"', ["run.epochs = 'one'", "a whole number"]),
    ("out of range", "epochs = 1", "epochs = 0", ["run.epochs = 0", ">= 1"]),
    ("syntax", "epochs = 1", "epochs = = 1", ["is not TOML", "line 12", "epochs = = 1"]),
    ("key twice", "epochs = 1", "epochs = 1\nepochs = 2", ["is not TOML", "line 13"]),
    ("no such data", 'path = "data.csv"', 'path = "date.csv"', ["date.csv", "cannot be read"]),
    ("missing column", '"kind"\n\n[n', '"sort"\n\n[n', ["'sort'", "no such column", "a, b, kind"]),
    ("data set kind", 'kind = "csv"', 'kind = "cvs"', ["task.kind = 'cvs'", "iris"]),
    ("option of data", "path =", "paht =", ["task.paht", "no such option"]),
    (
        "network kind",
        'kind = "layered"\nhidden = [3]',
        'kind = "dense"',
        ["network.kind = 'dense'", "layered"],
    ),
    ("network option", "hidden", "hiden", ["network.hiden", "sizes"]),
    (
        "no input",
        'kind = "layered"\nhidden = [3]',
        'kind = "all-to-all"\nn_nodes = 6\ninputs = []',
        ["network.inputs = []", "no input node"],
    ),
    (
        "output inside input",
        'kind = "layered"\nhidden = [3]',
        'kind = "all-to-all"\nn_nodes = 6\ninputs = [0, 1]\noutputs = [1, 2]',
        ["network.outputs = [1, 2]", "node 1 is both input and output"],
    ),
    (
        "disconnected node",
        'kind = "layered"\nhidden = [3]',
        'kind = "edge-list"\nedges = [[0, 2], [1, 3], [4, 5]]\ninputs = [0, 1]\noutputs = [2, 3]',
        ["network.edges", "not connected to any input"],
    ),
    (
        "zero mode",
        "hidden = [3]",
        "hidden = [3]\n[network.initial]\nscale = 0.0",
        ["network.initial", "may rotate freely"],
    ),
    (
        "more features than inputs",
        "hidden = [3]",
        "sizes = [1, 3, 2]",
        ["network.inputs", "2 features", "the network has 1"],
    ),
    (
        "more classes than outputs",
        "hidden = [3]",
        "sizes = [2, 3, 1]",
        ["network.outputs", "2 classes", "network has 1"],
    ),
    ("estimator", "[run]", '[estimator]\nkind = "x"\n[run]', ["estimator.kind = 'x'", "centred"]),
    ("cost", "[run]", '[cost]\nkind = "mse"\n[run]', ["cost.kind = 'mse'", "log-cosine"]),
    (
        "optimiser option",
        "[run]",
        '[optimiser]\nkind = "adam"\nmomentum = 0.5\n[run]',
        ["optimiser.momentum = 0.5", "beta1"],
    ),
    (
        "substrate option",
        "[run]",
        "[substrate]\ntolerence = 0.5\n[run]",
        ["substrate.tolerence = 0.5", "did you mean 'tolerance'"],
    ),
    (
        "substrate option of a wrong type",
        "[run]",
        '[substrate]\ntolerance = "1e-4"\n[run]',
        ["substrate.tolerance = '1e-4'", "a number"],
    ),
    (
        "more threads than any machine has",
        "[run]",
        "[substrate]\nthreads = 1000000000000\n[run]",
        ["substrate.threads = 1000000000000", "<= 1024"],
    ),
    (
        "patience that ends before the first validation",
        "epochs = 1",
        "epochs = 90\nvalidate_every = 10\npatience = 5",
        ["run.patience = 5", ">= run.validate_every = 10"],
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "fragments"), [case[1:] for case in IN_THE_FILE], ids=[c[0] for c in IN_THE_FILE]
)
def test_mistakes_in_the_experiment_file(folder, old, new, fragments):
    assert old in GOOD
    (folder / "bad.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    before = files_of(folder)
    message = refused("run", "bad.toml", "--output", "run.h5")
    assert "bad.toml" in message or ".csv" in message
    for fragment in fragments:
        assert fragment in message
    assert files_of(folder) == before
    assert message == refused("run", "bad.toml")
    assert files_of(folder) == before  # and no folder of runs with an empty run in it
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (("0,0,x", "nan,0,x"), ["data.csv", "line 2, column 'a' = 'nan'", "finite"]),
        (("0,0,x", "inf,0,x"), ["data.csv", "line 2, column 'a' = 'inf'", "finite"]),
        (("0,0,x", "zero,0,x"), ["data.csv", "line 2, column 'a' = 'zero'", "not a number"]),
        (("0,0,x", "0,0,"), ["data.csv", "line 2, column 'kind'", "label is missing"]),
        (("0,0,x", "0,0"), ["data.csv", "line 2", "2 cells"]),
    ],
)
def test_mistakes_in_the_data(folder, change, fragments):
    (folder / "data.csv").write_text(CSV.replace(*change, 1), encoding="utf-8")
    message = refused("run", "good.toml", "-o", "run.h5")
    for fragment in fragments:
        assert fragment in message
    assert not (folder / "run.h5").exists()


def test_label_out_of_range_of_the_target_encoding(folder):
    (folder / "data.csv").write_text(CSV.replace("0,0,x", "0,0,z", 1), encoding="utf-8")
    change = ["--set", "encoding.target=binary", "--set", "task.split.kind=random"]
    message = refused("run", "good.toml", *change)
    assert message.startswith("error: --set encoding.target=binary: encoding.target = 3")
    assert "two classes" in message


def test_mistakes_in_overrides_name_the_override(folder):
    message = refused("run", "good.toml", "--set", "run.epochs=-1")
    assert message.startswith("error: --set run.epochs=-1: run.epochs = -1")
    assert "key=value" in refused("run", "good.toml", "--set", "run.epochs")


def test_no_such_experiment_and_not_text(folder):
    assert "none.toml: cannot be read: no such file" in refused("run", "none.toml")
    assert "cannot be read" in refused("run", ".")
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refused("run", "binary.toml")


def test_existing_run_file_is_not_replaced(folder):
    (folder / "run.h5").write_bytes(b"precious")
    message = refused("run", "good.toml", "--output", "run.h5")
    assert "run.h5" in message
    assert "--force" in message
    assert (folder / "run.h5").read_bytes() == b"precious"


def test_output_in_a_missing_folder(folder):
    assert "does not exist" in refused("run", "good.toml", "--output", "none/run.h5")


def test_report_may_not_take_the_name_of_anything_but_a_page(folder):
    message = refused("run", "good.toml", "--output", "run.h5", "--report", "data.csv")
    assert "--report = 'data.csv'" in message
    assert (folder / "data.csv").read_text(encoding="utf-8") == CSV
    assert not (folder / "run.h5").exists()
    assert "does not exist" in refused("show", "run.h5", "--report", "none/page.html")


def test_report_that_cannot_be_made_is_refused_before_training(folder, monkeypatch):
    monkeypatch.setattr("eqp_hw.cli.report.find_spec", lambda name: None)
    message = refused("run", "good.toml", "--output", "run.h5", "--report", "page.html")
    assert "needs matplotlib: pip install" in message
    assert not (folder / "run.h5").exists()


def test_not_a_run_file(folder):
    for command in ("show", "resume"):
        assert "not an HDF5 file" in refused(command, "data.csv")
        assert "no such file" in refused(command, "none.h5")
        assert "a folder" in refused(command, ".")
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    assert "not a run file of eqp_hw" in refused("show", "other.h5")


def test_run_file_of_another_version_and_in_use(folder):
    done = CliRunner().invoke(app, ["run", "good.toml", "-o", "run.h5", "-q"])
    assert done.exit_code == 0, done.output
    with RunWriter.reopen(folder / "run.h5"):
        message = refused("run", "good.toml", "-o", "run.h5", "--force")
        assert "in use" in message
    with h5py.File(folder / "run.h5", "r+") as file:
        file.attrs["format_version"] = 7
    for command in ("show", "resume"):
        message = refused(command, "run.h5")
        assert "run.h5" in message
        assert "version 7" in message


def test_unknown_command_and_option():
    for arguments in (["trian"], ["run"], ["run", "x.toml", "--outptu", "y"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
