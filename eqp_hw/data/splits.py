"""Divide a data set into training, validation and test parts.

Fractions are meant so in every kind: ``test_fraction`` of all samples is set aside for the
test, then ``validation_fraction`` of what remains for validation. Where the kind fixes the
test part ("given", "first-per-class"), validation is taken from its training part alone, so
that a model is never chosen on test data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np

from eqp_hw.data.dataset import Dataset, FloatArray, IntArray, Split
from eqp_hw.errors import ConfigurationError, DataError

__all__ = ["SPLITS", "make_split"]

SPLITS: Mapping[str, str] = MappingProxyType(
    {
        "stratified": "random parts in which each class has its share",
        "random": "random parts",
        "first-per-class": "the first samples of each class for training, the next for the test",
        "given": "the split that belongs to the data set, e.g. the files of MNIST",
        "all": "every sample in every part, for truth tables such as XOR",
    }
)


def make_split(
    dataset: Dataset,
    kind: str,
    rng: np.random.Generator,
    *,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    train_per_class: int = 100,
    test_per_class: int = 70,
    train_limit: int | None = None,
    validation_limit: int | None = None,
    test_limit: int | None = None,
) -> Split:
    """Split a data set.

    Parameters
    ----------
    dataset
        What to split.
    kind
        One of `SPLITS`. The default numbers of "first-per-class" are those of Wang et al.
        (arXiv 2402.08579) for the 8×8 digits.
    rng
        Used by all kinds but "all".
    validation_fraction
        Share of the training part that is set aside for validation; 0 for none. A "given"
        split that has a validation part of its own, or parts that overlap, stays as it is.
    test_fraction
        Share of all samples for the test ("stratified", "random"); 0 for none.
    train_per_class, test_per_class
        Samples of each class, in file order ("first-per-class").
    train_limit, validation_limit, test_limit
        Use at most so many samples of a part, drawn at random with each class having its
        share. None: all. Not allowed with "all".

    Returns
    -------
    Parts in ascending order of sample number; shuffling is the trainer's work.

    Raises
    ------
    ConfigurationError
        An unknown kind, a fraction outside [0, 1), or a number below 1.
    DataError
        Too few samples of a class, or no split that belongs to the data set.
    """
    limits = {"train": train_limit, "validation": validation_limit, "test": test_limit}
    per_class = {"train_per_class": train_per_class, "test_per_class": test_per_class}
    _check_arguments(
        kind,
        {"validation_fraction": validation_fraction, "test_fraction": test_fraction},
        {**per_class, **{f"{part}_limit": limit for part, limit in limits.items()}},
    )
    if kind == "all":
        return _everything(dataset, limits)

    # A random part may miss a class; the others are drawn class by class.
    strata = np.zeros_like(dataset.labels) if kind == "random" else dataset.labels
    draw = _Draw(dataset, strata, rng)
    everyone = np.arange(dataset.n_samples, dtype=np.int64)
    validation = everyone[:0]
    disjoint = True
    if kind == "given":
        own = _own_split(dataset)
        train, validation, test, disjoint = own.train, own.validation, own.test, own.disjoint
    elif kind == "first-per-class":
        train, test = _first_per_class(dataset, train_per_class, test_per_class)
    else:
        test, train = draw.set_aside(everyone, test_fraction, "test")
    if disjoint and len(validation) == 0:
        validation, train = draw.set_aside(train, validation_fraction, "validation")
    return Split(
        draw.at_most(train, train_limit, "training"),
        draw.at_most(validation, validation_limit, "validation"),
        draw.at_most(test, test_limit, "test"),
        disjoint=disjoint,
    )


def _check_arguments(
    kind: str, fractions: Mapping[str, float], numbers: Mapping[str, int | None]
) -> None:
    if kind not in SPLITS:
        raise ConfigurationError(
            "there is no such split", field="split.kind", value=kind, allowed=", ".join(SPLITS)
        )
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ConfigurationError(
                "not a fraction", field=f"split.{name}", value=fraction, allowed="0 <= value < 1"
            )
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ConfigurationError(
                "too small", field=f"split.{name}", value=number, allowed="at least 1"
            )


def _own_split(dataset: Dataset) -> Split:
    if dataset.split is None:
        raise DataError(
            f"data set {dataset.name!r} has no split of its own",
            field="split.kind",
            value="given",
            allowed=", ".join(name for name in SPLITS if name != "given"),
        )
    return dataset.split


def _everything(dataset: Dataset, limits: Mapping[str, int | None]) -> Split:
    for name, limit in limits.items():
        if limit is not None:
            raise ConfigurationError(
                "'all' uses every sample in every part",
                field=f"split.{name}_limit",
                value=limit,
                allowed="no limit, or another kind of split",
            )
    everyone = np.arange(dataset.n_samples, dtype=np.int64)
    return Split(everyone, everyone, everyone, disjoint=False)


def _first_per_class(dataset: Dataset, n_train: int, n_test: int) -> tuple[IntArray, IntArray]:
    train, test = [], []
    for number, name in enumerate(dataset.class_names):
        members = np.flatnonzero(dataset.labels == number)
        if len(members) < n_train + n_test:
            raise DataError(
                f"class {name!r} of {dataset.name!r} has {len(members)} samples, fewer than "
                f"{n_train} for training and {n_test} for the test",
                field="split.train_per_class",
                value=n_train,
                allowed="fewer samples a class",
            )
        train.append(members[:n_train])
        test.append(members[n_train : n_train + n_test])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


@final
@dataclass(frozen=True, eq=False)
class _Draw:
    """Draws samples stratum by stratum; ``strata`` holds that of every sample."""

    dataset: Dataset
    strata: IntArray
    rng: np.random.Generator

    def set_aside(self, pool: IntArray, fraction: float, part: str) -> tuple[IntArray, IntArray]:
        """Take a fraction of the pool away; return what was taken and what remains."""
        if fraction == 0:
            return pool[:0], pool
        count = max(1, round(fraction * len(pool)))
        taken = self._take(pool, count, part, keep=1)
        return taken, np.setdiff1d(pool, taken)

    def at_most(self, pool: IntArray, limit: int | None, part: str) -> IntArray:
        """Return the pool, or a draw from it where it is larger than the limit."""
        if limit is None or len(pool) <= limit:
            return pool
        return self._take(pool, limit, part, keep=0)

    def _take(self, pool: IntArray, count: int, part: str, *, keep: int) -> IntArray:
        """Draw ``count`` samples, at least one of each stratum, leaving ``keep`` of each."""
        present = np.unique(self.strata[pool])
        members = [pool[self.strata[pool] == number] for number in present]
        sizes = np.array([len(m) for m in members], dtype=np.int64)
        if sizes.min() < 1 + keep:
            name = self.dataset.class_names[self.dataset.labels[members[sizes.argmin()][0]]]
            raise DataError(
                f"class {name!r} of {self.dataset.name!r} has {sizes.min()} samples to draw "
                f"from, too few for the {part} part",
                field="split",
                allowed=f"at least {1 + keep} samples a class, a fraction of 0, or kind = 'random'",
            )
        low, high = len(present), int((sizes - keep).sum())
        if not low <= count <= high:
            raise DataError(
                f"the {part} part of {self.dataset.name!r} would have {count} of {len(pool)} "
                "samples",
                field="split",
                allowed=f"{low}..{high}, so that no class is missing in any part: change the "
                "part's fraction or limit, or use kind = 'random'",
            )
        shares = _apportion(count * sizes / sizes.sum(), count, sizes - keep)
        chosen = [self.rng.permutation(m)[:n] for m, n in zip(members, shares, strict=True)]
        return np.sort(np.concatenate(chosen))


def _apportion(quota: FloatArray, total: int, ceiling: IntArray) -> IntArray:
    """Round quotas to integers in 1..ceiling that add up to the total (largest remainder)."""
    shares = np.clip(np.floor(quota).astype(np.int64), 1, ceiling)
    while (missing := total - int(shares.sum())) != 0:
        step = int(np.sign(missing))
        room = shares < ceiling if step > 0 else shares > 1
        # Most below (or above) its quota first; rounding noise must not break ties.
        gain = np.where(room, np.round(step * (quota - shares), 9), -np.inf)
        shares[int(gain.argmax())] += step
    return shares
