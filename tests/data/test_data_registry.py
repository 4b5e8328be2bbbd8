"""Data sets by name: contents of the known ones, options, and what is unavailable."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from eqp_hw.data.registry import DATASETS, load_dataset, parse_dataset_options
from eqp_hw.errors import ConfigurationError, UnavailableError

SCIKIT = ["two-moons", "iris", "digits", "wine", "breast-cancer"]


def test_xor_is_the_truth_table() -> None:
    data = load_dataset("xor")
    assert data.features.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.feature_range == (0.0, 1.0)
    assert data.split is not None
    assert data.split.train.tolist() == data.split.test.tolist() == [0, 1, 2, 3]


def test_parity_changes_class_with_every_flipped_bit() -> None:
    data = load_dataset("parity", {"bits": 5})
    label = {tuple(row): k for row, k in zip(data.features.tolist(), data.labels, strict=True)}
    assert len(label) == 32
    for row, k in label.items():
        for i in range(5):
            assert label[(*row[:i], 1 - row[i], *row[i + 1 :])] == 1 - k


@pytest.mark.parametrize(
    ("kind", "n", "d", "k"),
    [
        ("iris", 150, 4, 3),
        ("digits", 1797, 64, 10),
        ("wine", 178, 13, 3),
        ("breast-cancer", 569, 30, 2),
        ("two-moons", 200, 2, 2),
    ],
)
def test_scikit_learn_data_sets_have_their_known_sizes(kind: str, n: int, d: int, k: int) -> None:
    pytest.importorskip("sklearn")
    data = load_dataset(kind)
    assert (data.n_samples, data.n_features, data.n_classes) == (n, d, k)
    assert len(data.feature_names) == d
    assert data.split is None
    assert data.description


def test_digits_are_images_with_a_fixed_range() -> None:
    pytest.importorskip("sklearn")
    data = load_dataset("digits")
    assert data.image_shape == (8, 8)
    assert data.feature_range == (0.0, 16.0)
    assert (data.features.min(), data.features.max()) == (0, 16)


def test_two_moons_follow_their_options() -> None:
    pytest.importorskip("sklearn")
    first = load_dataset("two-moons", {"samples": 50, "noise": 0.0, "seed": 4})
    again = load_dataset("two-moons", {"samples": 50, "noise": 0, "seed": 4})
    other = load_dataset("two-moons", {"samples": 50, "noise": 0.0, "seed": 5})
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    upper = first.features[first.labels == 0]
    assert np.allclose(np.hypot(upper[:, 0], upper[:, 1]), 1)  # without noise: on the circle


@pytest.mark.parametrize("kind", SCIKIT)
def test_without_scikit_learn_the_message_says_how_to_get_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    assert DATASETS[kind].unavailable_because() == (
        "scikit-learn is not installed: pip install 'eqp_hw[data]'"
    )
    with pytest.raises(UnavailableError, match=rf"'{kind}' needs scikit-learn: pip install"):
        load_dataset(kind)


def test_the_others_are_always_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    rest = [kind for name, kind in DATASETS.items() if name not in SCIKIT]
    assert [kind.name for kind in rest] == ["xor", "parity", "csv", "idx"]
    assert all(kind.unavailable_because() is None for kind in rest)


def test_every_option_is_described() -> None:
    for kind in DATASETS.values():
        assert kind.description
        for line in kind.options().values():
            assert not line.startswith("None")
    assert set(DATASETS["csv"].options()) == {
        "path",
        "label",
        "features",
        "delimiter",
        "feature_range",
    }


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mnist", {}, r"task\.kind = 'mnist': there is no such data set.*idx"),
        ("xor", {"bits": 2}, r"task\.bits = 2: data set 'xor' has no such option"),
        ("parity", {"bits": 1}, r"task\.bits = 1.*greater than or equal to 2"),
        ("parity", {"bits": "3"}, r"task\.bits = '3'.*valid integer"),
        ("parity", {"bits": True}, r"task\.bits = True.*valid integer"),
        ("two-moons", {"noise": float("nan")}, r"task\.noise = nan.*finite"),
        ("csv", {"path": "x.csv"}, r"task\.label: data set 'csv' needs this option"),
        ("csv", {"path": "x", "label": "y", "delimiter": ";;"}, r"task\.delimiter = ';;'"),
        ("csv", {"path": "x", "label": "y", "features": "a"}, r"task\.features = 'a'"),
        ("csv", {"path": "x", "label": "y", "feature_range": [0]}, r"task\.feature_range"),
        ("csv", {"path": "x", "label": "y", "feature_range": ["0", 1]}, r"task\.feature_range"),
        ("idx", {"folder": "x", "train_limit": 0}, r"task\.train_limit = 0"),
    ],
)
def test_bad_options_are_named(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_dataset_options(kind, options, field="task")


def test_relative_paths_start_from_the_base_folder(tmp_path: Path) -> None:
    (tmp_path / "toy.csv").write_text("a,y\n1,u\n2,v\n")
    assert load_dataset("csv", {"path": "toy.csv", "label": "y"}, tmp_path).n_samples == 2
    absolute = {"path": str(tmp_path / "toy.csv"), "label": "y"}
    assert load_dataset("csv", absolute, "/nowhere").n_samples == 2
