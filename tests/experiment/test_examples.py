"""The example files load, fit together, and say the same as the Python example."""

import gzip
import runpy
from pathlib import Path

import numpy as np
import pytest

from eqp_hw.experiment.assemble import Experiment

FOLDER = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(FOLDER.glob("*.toml"))
N_NODES = {
    "digits": 64 + 200 + 10,
    "iris": 4 + 10 + 3,
    "mnist_lcl": 784 + 529 + 10,
    "xor": 5,
    "xor_lattice_skips": 25,
}


@pytest.fixture(scope="module")
def mnist_like(tmp_path_factory):
    """A folder in the format of MNIST, with 3000 + 1200 random images."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for part, n in (("train", 3000), ("t10k", 1200)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            content = gzip.compress(header + array.tobytes(), compresslevel=1)
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(content)
    return folder


def test_all_examples_are_there():
    names = {path.stem for path in FILES}
    assert names >= {*N_NODES, "iris_lattice"}


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_example_fits_together(path, mnist_like):
    pytest.importorskip("sklearn")
    overrides = [f"task.folder={mnist_like}"] if path.stem == "mnist_lcl" else []
    with Experiment.load(path, overrides).build() as assembly:
        assert assembly.network.n_nodes == N_NODES.get(path.stem, assembly.network.n_nodes)
        # The digits' settings were chosen by cross-validation; all its training part trains.
        # Non-reciprocal networks take long to evaluate, and the last epoch is kept anyway.
        without = {"digits", "iris_nonreciprocal"}
        assert (len(assembly.task.split.validation) > 0) == (path.stem not in without)
        assert len(assembly.task.split.test) > 0
        if path.stem == "mnist_lcl":
            assert assembly.network.n_couplings == 19_044 + 5_290
            assert len(assembly.task.split.train) == 2000


def test_one_step_of_the_main_job(tmp_path):
    pytest.importorskip("sklearn")
    experiment = Experiment.load(FOLDER / "iris.toml", ["run.epochs=1", "run.batch_size=96"])
    outcome = experiment.run(output=tmp_path / "iris.h5")
    assert outcome.summary["steps"] == 1
    assert 0 <= outcome.test_accuracy <= 1


def test_python_example_says_the_same_as_the_file():
    made = runpy.run_path(str(FOLDER / "iris_api.py"))["experiment"].settings.resolved()
    read = Experiment.load(FOLDER / "iris.toml").settings.resolved()
    for table in ("task", "encoding", "substrate", "estimator", "optimiser", "run"):
        assert made[table] == read[table], f"change [{table}] in iris_api.py as well"
    assert made["cost"]["kind"] == read["cost"]["kind"]
    assert made["network"]["initial"] == read["network"]["initial"]
