"""A classification data set in memory, and its division into training, validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np
import numpy.typing as npt

from eqp_hw.data.tables import finite_table, float_table
from eqp_hw.errors import DataError

__all__ = ["Dataset", "Split"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)


@final
@dataclass(frozen=True, eq=False)
class Split:
    """Which samples are for training, for validation (choosing) and for the final test.

    Attributes
    ----------
    train, validation, test
        Sample numbers, each at most once. Validation and test may be empty.
    disjoint
        Whether no sample may be in two parts. False only where overlap is meant, as for XOR,
        whose four samples are trained and tested alike.

    Raises
    ------
    DataError
        An empty training part, a repeated or negative sample number, or an overlap.
    """

    train: IntArray
    validation: IntArray
    test: IntArray
    disjoint: bool = True

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            part = _integers(getattr(self, name), f"split.{name}")
            object.__setattr__(self, name, part)
            if len(part) and part.min() < 0:
                raise DataError(
                    "a sample number is negative", field=f"split.{name}", value=int(part.min())
                )
            values, counts = np.unique(part, return_counts=True)
            if (counts > 1).any():
                raise DataError(
                    f"sample {values[counts > 1][0]} is listed twice",
                    field=f"split.{name}",
                    allowed="each sample at most once",
                )
        if len(self.train) == 0:
            raise DataError("no sample is left for training", field="split.train")
        if self.disjoint:
            self._refuse_overlap()

    def _refuse_overlap(self) -> None:
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            both = np.intersect1d(getattr(self, first), getattr(self, second))
            if len(both):
                raise DataError(
                    f"sample {both[0]} is both in {first} and in {second}",
                    field="split",
                    allowed="disjoint parts, unless disjoint = False says otherwise",
                )

    def check(self, n_samples: int) -> None:
        """Refuse sample numbers that a data set of ``n_samples`` does not have.

        Raises
        ------
        DataError
            A sample number at or above ``n_samples``.
        """
        for name in ("train", "validation", "test"):
            part = getattr(self, name)
            if len(part) and part.max() >= n_samples:
                raise DataError(
                    "the data set has no such sample",
                    field=f"split.{name}",
                    value=int(part.max()),
                    allowed=f"0..{n_samples - 1}",
                )


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """Raw features and class labels; immutable and validated.

    Arrays that the caller could still write to are copied; read-only ones are shared.

    Attributes
    ----------
    name
        Short name, e.g. ``"iris"``.
    features
        (n, d) raw values, not yet phases.
    labels
        (n,) class numbers 0..K−1.
    feature_names
        d names; ``feature 0`` ... if left out.
    class_names
        K names; ``0`` ... up to the largest label if left out.
    feature_range
        Range that the features have by their nature, such as (0, 16) or (0, 255). None: to
        be learned from the training part.
    image_shape
        (rows, columns) where the features are the pixels of an image, row by row.
    split
        The split that belongs to the data set (MNIST's own files), or None.
    description
        One line.

    Raises
    ------
    DataError
        No sample or feature, lengths that do not match, a value that is not finite (named by
        row and column), a label outside 0..K−1, fewer than two classes.
    """

    name: str
    features: FloatArray
    labels: IntArray
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    feature_range: tuple[float, float] | None = None
    image_shape: tuple[int, int] | None = None
    split: Split | None = None
    description: str = ""

    def __post_init__(self) -> None:
        table = float_table(self.features, f"{self.name}.features")
        object.__setattr__(self, "features", _read_only(table))
        object.__setattr__(self, "labels", _integers(self.labels, f"{self.name}.labels"))
        n, d = table.shape
        if len(self.labels) != n:
            raise DataError(
                f"{n} rows of features but {len(self.labels)} labels", field=f"{self.name}.labels"
            )
        names = tuple(self.feature_names) or tuple(f"feature {i}" for i in range(d))
        object.__setattr__(self, "feature_names", names)
        if len(names) != d:
            raise DataError(
                f"{len(names)} names for {d} features", field=f"{self.name}.feature_names"
            )
        finite_table(table, name=f"{self.name}.features", column_names=names)
        classes = tuple(self.class_names)
        if not classes:
            # A stray label such as 10**9 is refused below, not given a billion names.
            classes = tuple(str(k) for k in range(min(int(self.labels.max()) + 1, max(n, 2))))
        object.__setattr__(self, "class_names", classes)
        self._check_labels()
        self._check_shape()
        if self.split is not None:
            self.split.check(n)

    def _check_labels(self) -> None:
        k = len(self.class_names)
        bad = np.flatnonzero((self.labels < 0) | (self.labels >= k))
        if len(bad):
            raise DataError(
                "not a class number",
                field=f"{self.name}.labels[{bad[0]}]",
                value=int(self.labels[bad[0]]),
                allowed=f"0..{k - 1}",
            )
        if k < 2:
            raise DataError(
                "there is nothing to tell apart",
                field=f"{self.name}.class_names",
                value=list(self.class_names),
                allowed="at least two classes",
            )

    def _check_shape(self) -> None:
        if self.feature_range is not None:
            low, high = self.feature_range
            if not (np.isfinite([low, high]).all() and low < high):
                raise DataError(
                    "not a range",
                    field=f"{self.name}.feature_range",
                    value=(low, high),
                    allowed="two finite numbers, low < high",
                )
        if self.image_shape is not None:
            rows, columns = self.image_shape
            if rows < 1 or columns < 1 or rows * columns != self.n_features:
                raise DataError(
                    f"does not hold {self.n_features} features",
                    field=f"{self.name}.image_shape",
                    value=(rows, columns),
                    allowed="rows × columns = number of features",
                )

    @property
    def n_samples(self) -> int:
        """Number of samples n."""
        return len(self.features)

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return int(self.features.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    def class_counts(self) -> IntArray:
        """Return the number of samples of each class, (K,)."""
        return np.bincount(self.labels, minlength=self.n_classes).astype(np.int64)

    def fingerprint(self) -> str:
        """Return the SHA-256 of features and labels in hexadecimal, to recognise the data."""
        digest = hashlib.sha256(np.array(self.features.shape, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.features, dtype="<f8").data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()


def _integers(values: object, field: str) -> IntArray:
    array = np.asarray(values)
    if array.ndim == 1 and array.size == 0:
        array = array.astype(np.int64)  # an empty list has no integer type of its own
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise DataError(
            f"has shape {array.shape} and type {array.dtype}",
            field=field,
            allowed="a list of integers",
        )
    return _read_only(array.astype(np.int64, copy=False))


def _read_only(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array
