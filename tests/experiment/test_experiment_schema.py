import json
import tomllib

import pytest
from experiment_samples import TINY, write_tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.choices import make_cost, make_optimiser
from eqp_hw.experiment.schema import ExperimentSettings
from eqp_hw.experiment.toml_file import apply_overrides, render_toml

MINIMAL = {"task": {"kind": "xor"}, "network": {"kind": "all-to-all", "n_nodes": 5}}


def test_minimal_experiment_takes_the_defaults():
    parsed = ExperimentSettings.parse(MINIMAL)
    assert parsed.estimator.kind == "centred"
    assert parsed.estimator.beta == 0.1
    assert parsed.cost.kind == "log-cosine"
    assert parsed.substrate.kind == "emulator"
    assert parsed.network.options == {"n_nodes": 5}
    assert parsed.run.checkpoint_every_steps == 1
    assert parsed.run.snapshots == (0, 50, 100)


@pytest.mark.parametrize("text", [TINY, TINY + "patience = 3\nsnapshot_epochs = [0, 2]\n"])
def test_resolved_form_survives_json_and_toml(text):
    parsed = ExperimentSettings.parse(tomllib.loads(text))
    resolved = parsed.resolved()
    assert ExperimentSettings.parse(json.loads(json.dumps(resolved))).resolved() == resolved
    assert ExperimentSettings.parse(tomllib.loads(render_toml(resolved))).resolved() == resolved


BAD = [
    ({"tasks": {}}, "tasks", "did you mean 'task'"),
    ({"run": {"epoch": 3}}, "run.epoch", "did you mean 'epochs'"),
    ({"network": {"kind": "layered", "initial": {"bais": "none"}}}, "network.initial.bais", "bias"),
    ({"run": {"epochs": "many"}}, "run.epochs", "a whole number"),
    ({"run": {"epochs": 2.5}}, "run.epochs", "a whole number"),
    ({"run": {"epochs": True}}, "run.epochs", "a whole number"),
    ({"run": {"epochs": 0}}, "run.epochs", ">= 1"),
    ({"run": {"seed": -1}}, "run.seed", ">= 0"),
    ({"run": {"selection": "lst"}}, "run.selection", "did you mean 'last'"),
    ({"run": {"snapshot_epochs": 3}}, "run.snapshot_epochs", "a list"),
    ({"run": {"snapshot_epochs": [0, -1]}}, "run.snapshot_epochs.1", ">= 0"),
    ({"run": 5}, "run", "a table"),
    ({"estimator": {"beta": float("nan")}}, "estimator.beta", "a finite number"),
    ({"estimator": {"beta": -0.1}}, "estimator.beta", "> 0"),
    ({"optimiser": {"learning_rate": "fast"}}, "optimiser.learning_rate", "a number"),
    ({"optimiser": {"rate_factors": {"bias": -1.0}}}, "optimiser.rate_factors.bias", ">= 0"),
    ({"optimiser": {"decay": 1.5}}, "optimiser.decay", "<= 1"),
    ({"task": {}}, "task.kind", "eqp-hw list"),
    ({"task": {"kind": "xor", "split": {"kid": "all"}}}, "task.split.kid", "did you mean 'kind'"),
    ({"task": {"kind": "xor", "split": {"test_fraction": 1}}}, "task.split.test_fraction", "< 1"),
    (
        {"network": {"kind": "all-to-all", "initial": {"coupling": "fans"}}},
        "network.initial.coupling",
        "did you mean 'fan'",
    ),
]


@pytest.mark.parametrize(("change", "field", "hint"), BAD, ids=[case[1] for case in BAD])
def test_bad_settings_name_field_and_what_is_allowed(change, field, hint):
    with pytest.raises(ConfigurationError) as caught:
        ExperimentSettings.parse({**MINIMAL, **change})
    assert caught.value.field == field
    assert hint in str(caught.value)


def test_missing_tables_are_named():
    with pytest.raises(ConfigurationError, match="network: is missing"):
        ExperimentSettings.parse({"task": {"kind": "xor"}})


def test_file_and_override_are_named_as_the_source(tmp_path):
    path = write_tiny(tmp_path)
    with pytest.raises(ConfigurationError, match=r"--set run.epochs=x: run.epochs = 'x'"):
        Experiment.load(path, ["run.epochs=x"])
    path.write_text(TINY.replace("epochs = 6", "epochs = -6"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"tiny\.toml: run.epochs = -6"):
        Experiment.load(path)


def test_overrides_are_toml_or_bare_text():
    content, by_key = apply_overrides(
        {"run": {"epochs": 1}},
        ["run.epochs=5", "run.stop_distance=1e-3", "task.folder=/data/mnist", "network.skips=[2]",
         "optimiser.kind=adam", 'cost.kind="cosine"'],
    )  # fmt: skip
    assert content == {
        "run": {"epochs": 5, "stop_distance": 1e-3},
        "task": {"folder": "/data/mnist"},
        "network": {"skips": [2]},
        "optimiser": {"kind": "adam"},
        "cost": {"kind": "cosine"},
    }
    assert by_key["run.epochs"] == "run.epochs=5"


@pytest.mark.parametrize(
    "override", ["run.epochs", "=5", "run..epochs=5", "run.epochs.x=1", "a b=1", "network.skips=[2",
                 "run.epochs="],
)  # fmt: skip
def test_bad_overrides_are_refused(override):
    with pytest.raises(ConfigurationError) as caught:
        apply_overrides({"run": {"epochs": 1}}, [override])
    assert "--set" in str(caught.value)


@given(override=st.text(max_size=30))
@settings(deadline=None, max_examples=200)
def test_any_override_is_taken_or_refused_in_words(override):
    try:
        content, _ = apply_overrides({"run": {"epochs": 1}}, [override])
    except ConfigurationError:
        return
    assert content != {}


_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
)


@given(
    content=st.dictionaries(
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
        st.one_of(
            _VALUES,
            st.lists(_VALUES, max_size=3),
            st.dictionaries(
                st.text(alphabet="abc-_ .\"'é", min_size=1, max_size=5),
                _VALUES,
                min_size=1,
                max_size=3,
            ),
        ),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=200)
def test_rendered_toml_reads_back(content):
    assert tomllib.loads(render_toml(content)) == content


@pytest.mark.parametrize(
    ("make", "kind", "options", "message"),
    [
        (make_cost, "log-cosin", {}, "did you mean 'log-cosine'"),
        (make_cost, "log-cosine", {"regularisation": "x"}, "cost.regularisation = 'x'"),
        (make_cost, "log-cosine", {"regularization": 0.1}, "did you mean 'regularisation'"),
        (make_cost, "log-cosine", {"regularisation": 0.0}, "cost.regularisation = 0.0"),
        (make_cost, "cosine", {"sharpness": 1.0}, "no options"),
        (make_optimiser, "sgd", {}, "gradient-descent, momentum, adam"),
        (make_optimiser, "momentum", {"momentum": 1.5}, "optimiser.momentum = 1.5"),
        (make_optimiser, "gradient-descent", {"momentum": 0.5}, "optimiser.momentum"),
    ],
)
def test_bad_costs_and_optimisers(make, kind, options, message):
    with pytest.raises(ConfigurationError) as caught:
        make(kind, options)
    assert message in str(caught.value)
