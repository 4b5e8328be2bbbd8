"""The data set and its split: what they refuse, and that they cannot be changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eqp_hw.data.dataset import Dataset, Split
from eqp_hw.errors import DataError


def make(**changes: Any) -> Dataset:
    arguments: dict[str, Any] = {
        "name": "toy",
        "features": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]],
        "labels": [0, 1, 1],
    }
    return Dataset(**(arguments | changes))


def test_defaults_are_filled_in() -> None:
    data = make()
    assert (data.n_samples, data.n_features, data.n_classes) == (3, 2, 2)
    assert data.feature_names == ("feature 0", "feature 1")
    assert data.class_names == ("0", "1")
    assert data.class_counts().tolist() == [1, 2]
    assert data.features.dtype == np.float64
    assert data.labels.dtype == np.int64


def test_the_arrays_are_the_data_sets_own_and_read_only() -> None:
    features = np.zeros((3, 2))
    data = make(features=features)
    features[0, 0] = 9
    assert data.features[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        data.features[0, 0] = 1
    features.flags.writeable = False
    assert np.shares_memory(make(features=features).features, features)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_row_and_column(bad: float) -> None:
    features = np.zeros((3, 2))
    features[2, 1] = bad
    with pytest.raises(DataError, match=r"row 2, column 1 \(height\)"):
        make(features=features, feature_names=("width", "height"))


def test_large_values_whose_sum_overflows_are_accepted() -> None:
    assert make(features=np.full((3, 2), 1.7e308)).features[0, 0] == 1.7e308


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros((0, 2)), "labels": []}, "shape"),
        ({"features": np.zeros((3, 0))}, "shape"),
        ({"features": np.zeros(3)}, "shape"),
        ({"features": [["a", "b"]] * 3}, "not a table of real numbers"),
        ({"features": np.zeros((3, 2), complex)}, "not a table of real numbers"),
        ({"features": [[1.0], [1.0, 2.0]]}, "not a table of real numbers"),
        ({"labels": [0, 1]}, "3 rows of features but 2 labels"),
        ({"labels": [0, 1, -1]}, r"labels\[2\] = -1.*allowed: 0\.\.1"),
        ({"labels": [0, 1, 2], "class_names": ("a", "b")}, r"labels\[2\] = 2.*allowed: 0\.\.1"),
        ({"labels": [0, 1, 10**12]}, r"labels\[2\] = 1000000000000"),
        ({"labels": [0.5, 1, 0]}, "integers"),
        ({"labels": [0, 0, 0]}, "at least two classes"),
        ({"feature_names": ("one",)}, "1 names for 2 features"),
        ({"feature_range": (1.0, 1.0)}, "not a range"),
        ({"feature_range": (0.0, np.inf)}, "not a range"),
        ({"image_shape": (2, 2)}, "does not hold 2 features"),
        ({"image_shape": (-1, -2)}, "does not hold 2 features"),
        ({"split": Split(np.array([0, 3]), np.array([]), np.array([1]))}, "split.train = 3"),
    ],
)
def test_inconsistent_data_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_the_fingerprint_tells_data_apart() -> None:
    prints = {
        make().fingerprint(),
        make(labels=[0, 1, 0]).fingerprint(),
        make(features=[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0 + 1e-15]]).fingerprint(),
        make(features=[[0.0, 1.0], [2.0, 3.0], [4.0, 6.0]]).fingerprint(),
    }
    assert len(prints) == 4
    assert make().fingerprint() == make(name="other").fingerprint()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([], [0], [1]), "no sample is left for training"),
        (([0, 0], [], []), "sample 0 is listed twice"),
        (([0, -1], [], []), "negative"),
        (([0, 1], [1], []), "sample 1 is both in train and in validation"),
        (([0, 1], [], [0]), "sample 0 is both in train and in test"),
        (([0], [1], [1]), "both in validation and in test"),
        (([0.5], [], []), "list of integers"),
        (([[0]], [], []), "list of integers"),
    ],
)
def test_bad_splits_are_refused(parts: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(np.array(parts[0]), np.array(parts[1]), np.array(parts[2]))


def test_overlap_is_allowed_where_it_is_meant() -> None:
    split = Split(np.arange(4), np.arange(4), np.arange(4), disjoint=False)
    assert split.test.tolist() == [0, 1, 2, 3]
