import dataclasses

import numpy as np
import pytest
from experiment_samples import TINY, assert_same_run, write_tiny

import eqp_hw
from eqp_hw.errors import CapabilityError, ConfigurationError, DataError, NetworkError
from eqp_hw.experiment import assemble
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.learning.costs import Cosine, FrozenTorque

CSV = "a,b,kind\n" + "\n".join(f"{k % 7},{(3 * k) % 5},{'xy'[k % 2]}" for k in range(20)) + "\n"


def tables(**changes):
    content = {
        "task": {"kind": "csv", "path": "data.csv", "label": "kind"},
        "network": {"kind": "layered", "hidden": [3]},
        "run": {"epochs": 1, "seed": 5},
    }
    return {**content, **changes}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.csv").write_text(CSV, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("network", "n_nodes"),
    [
        ({"kind": "layered", "hidden": [3, 4]}, 2 + 3 + 4 + 2),
        ({"kind": "layered", "sizes": [2, 6, 2]}, 10),
        ({"kind": "all-to-all", "n_nodes": 7}, 7),
        ({"kind": "lattice", "rows": 3, "columns": 3}, 9),
    ],
)
def test_inputs_and_outputs_follow_from_the_encoding(folder, network, n_nodes):
    with Experiment.from_dict(tables(network=network), folder).build() as assembly:
        assert assembly.network.n_nodes == n_nodes
        assert len(assembly.network.inputs) == 2
        assert len(assembly.network.outputs) == 2


def test_windowed_networks_take_shape_and_outputs_from_images():
    pytest.importorskip("sklearn")
    experiment = Experiment.create(task="digits", network={"kind": "convolutional", "window": 3,
                                                           "channels": 2})  # fmt: skip
    with experiment.build() as assembly:
        assert len(assembly.network.inputs) == 64
        assert len(assembly.network.outputs) == 10


def test_one_seed_gives_one_split_and_start_and_another_seed_another(folder):
    def build(seed, split=None):
        changes = tables(run={"epochs": 1, "seed": seed})
        changes["task"] = {**changes["task"], "split": split or {}}
        with Experiment.from_dict(changes, folder).build() as assembly:
            return assembly.task.split.train, assembly.initial.flatten()

    train, start = build(1)
    np.testing.assert_array_equal(train, build(1)[0])
    np.testing.assert_array_equal(start, build(1)[1])
    assert not np.array_equal(train, build(2)[0])
    assert not np.array_equal(start, build(2)[1])
    np.testing.assert_array_equal(build(1, {"seed": 9})[0], build(2, {"seed": 9})[0])


def test_encoding_is_fitted_on_the_training_part_alone(folder):
    with Experiment.from_dict(tables(), folder).build() as assembly:
        train = assembly.dataset.features[assembly.task.split.train]
        np.testing.assert_array_equal(assembly.encoder.low, train.min(axis=0))
        np.testing.assert_array_equal(assembly.encoder.high, train.max(axis=0))


def test_truth_tables_use_every_sample_everywhere(tmp_path):
    with Experiment.load(write_tiny(tmp_path)).build() as assembly:
        split = assembly.task.split
        assert len(split.train) == len(split.validation) == len(split.test) == 4


def test_paths_start_from_the_file_and_from_here_in_overrides(folder, monkeypatch):
    (folder / "e.toml").write_text(
        '[task]\nkind = "csv"\npath = "data.csv"\nlabel = "kind"\n'
        '[network]\nkind = "layered"\nhidden = [3]\n',
        encoding="utf-8",
    )
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.csv").write_text(CSV, encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    Experiment.load("../e.toml").build().close()
    with Experiment.load("../e.toml", ["task.path=mine.csv"]).build() as assembly:
        assert assembly.dataset.name == "mine"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"task": {"kind": "csv", "path": "data.csv", "label": "sort"}}, DataError, "no such col"),
        ({"task": {"kind": "csv", "path": "none.csv", "label": "kind"}}, DataError, "none.csv"),
        ({"task": {"kind": "csv", "label": "kind"}}, ConfigurationError, "task.path"),
        ({"task": {"kind": "cvs"}}, ConfigurationError, "task.kind = 'cvs'"),
        (
            {"task": {"kind": "csv", "path": "data.csv", "label": "kind", "split": {"kind": "al"}}},
            ConfigurationError,
            "task.split.kind = 'al'",
        ),
        ({"encoding": {"input": "lin"}}, ConfigurationError, "encoding.input = 'lin'"),
        ({"encoding": {"target": "hot"}}, ConfigurationError, "encoding.target = 'hot'"),
        ({"encoding": {"reference": [0]}}, ConfigurationError, "encoding.reference"),
        ({"network": {"kind": "layered", "sizes": [3, 4, 2]}}, DataError, "network.inputs"),
        ({"network": {"kind": "layered", "sizes": [2, 4, 3]}}, DataError, "network.outputs"),
        ({"network": {"kind": "layers"}}, NetworkError, "network.kind = 'layers'"),
        (
            {"network": {"kind": "layered", "hidden": [3], "sizes": [2, 3, 2]}},
            NetworkError,
            "network.hidden",
        ),
        (
            {"network": {"kind": "layered", "hidden": [3], "initial": {"kind_scales": {"x": 1.0}}}},
            ConfigurationError,
            "network.initial.kind_scales",
        ),
        (
            {"network": {"kind": "layered", "hidden": [3], "initial": {"scale": 0.0}}},
            ConfigurationError,
            "may rotate freely",
        ),
        ({"substrate": {"kind": "emulatr"}}, ConfigurationError, "substrate.kind = 'emulatr'"),
        ({"substrate": {"tolerance": -1.0}}, ConfigurationError, "substrate.tolerance = -1.0"),
        ({"estimator": {"kind": "center"}}, ConfigurationError, "estimator.kind = 'center'"),
        ({"optimiser": {"rate_factors": {"skip": 1.0}}}, ConfigurationError, "rate_factors"),
        (
            {"run": {"patience": 3, "validate_every": 0}},
            ConfigurationError,
            "run.patience = 3",
        ),
        (
            {"run": {"epochs": 2, "snapshot_epochs": [0, 3]}},
            ConfigurationError,
            "run.snapshot_epochs = [0, 3]: epoch 3 is not one of this run (allowed: epochs from 0",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(folder, changes, error, message):
    with pytest.raises(error) as caught:
        Experiment.from_dict(tables(**changes), folder).build()
    assert message in str(caught.value)


def test_estimator_that_the_substrate_cannot_serve_is_refused(folder, monkeypatch):
    made = []

    def limited(kind, network, options, *, seed):
        substrate = eqp_hw.make_substrate(kind, network, options, seed=seed)
        substrate._capabilities = dataclasses.replace(substrate.capabilities, signed_nudge=False)
        made.append(substrate)
        return substrate

    monkeypatch.setattr(assemble, "make_substrate", limited)
    with pytest.raises(CapabilityError, match=r"estimator.kind = 'centred'.*one-sided"):
        Experiment.from_dict(tables(), folder).build()
    with pytest.raises(eqp_hw.errors.SubstrateError, match="closed"):
        made[0].reset(0)


def test_python_reads_like_the_file_and_runs_the_same(tmp_path):
    from_file = Experiment.load(write_tiny(tmp_path), ["run.epochs=2"])
    from_python = eqp_hw.Experiment.create(
        task="xor",
        encoding={"input": "bits", "target": "binary"},
        network={"kind": "all-to-all", "n_nodes": 5},
        initial={"coupling": "symmetrised-normal", "bias": "uniform"},
        cost=eqp_hw.LogCosine(0.01),
        optimiser={"kind": "adam", "learning_rate": 0.1},
        run={"epochs": 2, "batch_size": 3, "seed": 3},
    )
    with_network = eqp_hw.Experiment.create(
        task="xor",
        encoding={"input": "bits", "target": "binary"},
        network=eqp_hw.all_to_all(5, inputs=2, outputs=1),
        initial={"coupling": "symmetrised-normal", "bias": "uniform"},
        optimiser={"kind": "adam", "learning_rate": 0.1},
        run={"epochs": 2, "batch_size": 3, "seed": 3},
    )
    runs = [
        experiment.run(output=tmp_path / f"{k}.h5").run_file
        for k, experiment in enumerate((from_file, from_python, with_network))
    ]
    assert_same_run(runs[0], runs[1])
    assert_same_run(runs[0], runs[2])


def test_objects_that_no_file_can_hold(tmp_path):
    dataset = eqp_hw.load_dataset("xor")

    def torque(phases, targets):
        cost = Cosine()
        return cost.value(phases, targets), cost.gradient(phases, targets)

    def make(**changes):
        arguments = {
            "task": dataset,
            "network": eqp_hw.all_to_all(5, inputs=2, outputs=2),
            "cost": FrozenTorque(torque),
            "run": {"epochs": 3, "batch_size": 2},
            **changes,
        }
        return Experiment.create(**arguments)

    whole = make().run(output=tmp_path / "whole.h5").run_file
    steps = iter([False, False, True])
    path = tmp_path / "stopped.h5"
    with pytest.raises(KeyboardInterrupt, match="eqp-hw resume"):
        eqp_hw.experiment.run.run_experiment(make(), path, stop=lambda: next(steps))
    with pytest.raises(ConfigurationError, match="Python object"):
        eqp_hw.resume_run(path)
    with pytest.raises(ConfigurationError, match="same settings"):
        make(run={"epochs": 4, "batch_size": 2}).resume(path)
    make().resume(path)
    assert_same_run(whole, path)


def test_text_of_a_python_experiment_is_a_file_that_loads(tmp_path):
    made = Experiment.from_dict(
        {"task": {"kind": "xor"}, "network": {"kind": "all-to-all", "n_nodes": 4}}
    )
    path = tmp_path / "made.toml"
    path.write_text(made.origin.text, encoding="utf-8")
    assert Experiment.load(path).settings.resolved() == made.settings.resolved()


def test_overrides_are_kept_with_the_text(tmp_path):
    experiment = Experiment.load(write_tiny(tmp_path), ["run.epochs=2"])
    assert experiment.origin.text.startswith(TINY)
    assert "# --set run.epochs=2" in experiment.origin.text
