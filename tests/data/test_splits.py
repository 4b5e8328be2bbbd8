"""Splits: proportions, disjointness, the authors' digits, and no class lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.data.dataset import Dataset, IntArray, Split
from eqp_hw.data.splits import make_split
from eqp_hw.errors import ConfigurationError, DataError


def toy(counts: list[int], *, seed: int = 0, split: Split | None = None) -> Dataset:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    names = tuple(f"c{i}" for i in range(len(counts)))
    return Dataset(
        "toy", np.arange(float(len(labels)))[:, None], labels, class_names=names, split=split
    )


def counts_of(data: Dataset, part: IntArray) -> list[int]:
    return [int((data.labels[part] == k).sum()) for k in range(data.n_classes)]


def test_iris_like_data_split_into_equal_shares() -> None:
    data = toy([50, 50, 50])
    split = make_split(
        data, "stratified", np.random.default_rng(1), validation_fraction=0.25, test_fraction=0.2
    )
    assert counts_of(data, split.test) == [10, 10, 10]
    assert counts_of(data, split.validation) == [10, 10, 10]
    assert counts_of(data, split.train) == [30, 30, 30]


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(10, 60), min_size=2, max_size=8),
    test=st.floats(0.2, 0.5),
    validation=st.floats(0.2, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_stratified_parts_cover_the_data_and_keep_every_class(
    counts: list[int], test: float, validation: float, seed: int
) -> None:
    data = toy(counts, seed=seed)
    split = make_split(
        data,
        "stratified",
        np.random.default_rng(seed),
        validation_fraction=validation,
        test_fraction=test,
    )
    together = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(together), np.arange(data.n_samples))
    for part in (split.train, split.validation, split.test):
        assert min(counts_of(data, part)) >= 1
    n_test = round(test * data.n_samples)
    assert len(split.test) == n_test
    quota = n_test * np.array(counts) / data.n_samples
    assert (np.abs(np.array(counts_of(data, split.test)) - quota) < 1).all()


@pytest.mark.parametrize("kind", ["stratified", "random", "first-per-class", "given"])
def test_the_seed_decides(kind: str) -> None:
    own = Split(np.arange(150), np.array([]), np.arange(150, 200))
    data = toy([100, 100], split=own)

    def draw(seed: int) -> list[list[int]]:
        split = make_split(
            data,
            kind,
            np.random.default_rng(seed),
            train_per_class=60,
            test_per_class=30,
        )
        return [split.train.tolist(), split.validation.tolist(), split.test.tolist()]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_random_parts_have_the_sizes_asked_for() -> None:
    data = toy([97, 3])
    split = make_split(
        data, "random", np.random.default_rng(0), validation_fraction=0.25, test_fraction=0.2
    )
    assert [len(p) for p in (split.train, split.validation, split.test)] == [60, 20, 20]


def test_first_per_class_takes_the_first_samples_in_order() -> None:
    data = toy([200, 180, 175])
    split = make_split(data, "first-per-class", np.random.default_rng(0), validation_fraction=0.1)
    for number in range(3):
        members = np.flatnonzero(data.labels == number)
        learning = np.concatenate([split.train, split.validation])
        assert np.array_equal(np.intersect1d(members, learning), members[:100])
        assert np.array_equal(np.intersect1d(members, split.test), members[100:170])
    assert counts_of(data, split.validation) == [10, 10, 10]


def test_first_per_class_refuses_a_class_that_is_too_small() -> None:
    with pytest.raises(DataError, match=r"class 'c1' of 'toy' has 169 samples, fewer than 100"):
        make_split(toy([170, 169]), "first-per-class", np.random.default_rng(0))


def test_given_carves_validation_out_of_training_alone() -> None:
    own = Split(np.arange(80), np.array([]), np.arange(80, 100))
    data = toy([50, 50], split=own)
    split = make_split(data, "given", np.random.default_rng(0), validation_fraction=0.25)
    assert np.array_equal(split.test, own.test)
    assert len(split.validation) == 20
    assert np.array_equal(np.union1d(split.train, split.validation), own.train)


def test_given_leaves_a_validation_part_of_its_own_alone() -> None:
    own = Split(np.arange(60), np.arange(60, 70), np.arange(70, 100))
    split = make_split(toy([50, 50], split=own), "given", np.random.default_rng(0))
    assert np.array_equal(split.train, own.train)
    assert np.array_equal(split.validation, own.validation)


def test_given_keeps_an_overlap_that_is_meant() -> None:
    own = Split(np.arange(4), np.arange(4), np.arange(4), disjoint=False)
    split = make_split(toy([2, 2], split=own), "given", np.random.default_rng(0))
    assert not split.disjoint
    assert len(split.train) == len(split.validation) == len(split.test) == 4


def test_given_without_a_split_says_what_to_use() -> None:
    with pytest.raises(DataError, match=r"no split of its own.*stratified"):
        make_split(toy([5, 5]), "given", np.random.default_rng(0))


def test_all_puts_every_sample_in_every_part() -> None:
    split = make_split(toy([2, 2]), "all", np.random.default_rng(0))
    for part in (split.train, split.validation, split.test):
        assert part.tolist() == [0, 1, 2, 3]


def test_limits_draw_stratified_subsets_of_the_parts() -> None:
    own = Split(np.arange(600), np.array([]), np.arange(600, 1000))
    data = toy([500, 500], split=own)
    plain = make_split(data, "given", np.random.default_rng(7))
    limited = make_split(
        data,
        "given",
        np.random.default_rng(7),
        train_limit=100,
        validation_limit=20,
        test_limit=10_000,
    )
    assert len(limited.train) == 100
    assert np.isin(limited.train, plain.train).all()
    share = 100 * np.array(counts_of(data, plain.train)) / len(plain.train)
    assert (np.abs(np.array(counts_of(data, limited.train)) - share) < 1).all()
    assert len(limited.validation) == 20
    assert np.array_equal(limited.test, plain.test)


def test_a_class_of_one_sample_cannot_be_in_two_parts() -> None:
    with pytest.raises(DataError, match=r"class 'c1' of 'toy' has 1 samples"):
        make_split(toy([20, 1]), "stratified", np.random.default_rng(0))
    split = make_split(toy([20, 1]), "random", np.random.default_rng(0))
    assert len(split.test) == 4


def test_a_part_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"test part of 'toy' would have 1 of 20 samples.*2\.\.18"):
        make_split(toy([10, 10]), "stratified", np.random.default_rng(0), test_fraction=0.05)
    with pytest.raises(DataError, match="training part"):
        make_split(toy([10, 10]), "stratified", np.random.default_rng(0), train_limit=1)


def test_fractions_of_zero_leave_parts_empty() -> None:
    split = make_split(
        toy([3, 3]),
        "stratified",
        np.random.default_rng(0),
        validation_fraction=0,
        test_fraction=0,
    )
    assert len(split.train) == 6
    assert len(split.validation) == len(split.test) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "kfold"}, "split.kind = 'kfold'.*allowed: stratified"),
        ({"kind": "random", "test_fraction": 1.0}, "split.test_fraction = 1.0"),
        ({"kind": "random", "validation_fraction": -0.1}, "split.validation_fraction = -0.1"),
        ({"kind": "random", "validation_fraction": float("nan")}, "validation_fraction = nan"),
        ({"kind": "random", "train_limit": 0}, "split.train_limit = 0"),
        ({"kind": "first-per-class", "test_per_class": 0}, "split.test_per_class = 0"),
        ({"kind": "all", "test_limit": 2}, "split.test_limit = 2"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_split(toy([5, 5]), rng=np.random.default_rng(0), **arguments)
