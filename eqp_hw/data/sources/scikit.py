"""Data sets that come with scikit-learn, an optional library."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, final

from pydantic import Field

from eqp_hw.data.dataset import Dataset
from eqp_hw.data.source import DatasetSource
from eqp_hw.errors import UnavailableError

__all__ = ["BreastCancerSource", "DigitsSource", "IrisSource", "TwoMoonsSource", "WineSource"]


@final
class IrisSource(DatasetSource):
    """Fisher's Iris: 150 samples, 4 features, 3 classes."""

    def load(self, base: Path) -> Dataset:
        """Return the data set, without a split of its own."""
        del base
        return _from_bunch("iris", _sklearn_datasets("iris").load_iris())


@final
class DigitsSource(DatasetSource):
    """Hand-written digits: 1797 samples of 8×8 pixels 0..16, 10 classes."""

    def load(self, base: Path) -> Dataset:
        """Return the data set, without a split of its own."""
        del base
        bunch = _sklearn_datasets("digits").load_digits()
        return _from_bunch("digits", bunch, feature_range=(0.0, 16.0), image_shape=(8, 8))


@final
class WineSource(DatasetSource):
    """Wine: 178 samples, 13 features, 3 classes."""

    def load(self, base: Path) -> Dataset:
        """Return the data set, without a split of its own."""
        del base
        return _from_bunch("wine", _sklearn_datasets("wine").load_wine())


@final
class BreastCancerSource(DatasetSource):
    """Breast cancer (Wisconsin diagnostic): 569 samples, 30 features, 2 classes."""

    def load(self, base: Path) -> Dataset:
        """Return the data set, without a split of its own."""
        del base
        return _from_bunch("breast-cancer", _sklearn_datasets("breast-cancer").load_breast_cancer())


@final
class TwoMoonsSource(DatasetSource):
    """Two interleaved half circles in the plane."""

    samples: int = Field(default=200, ge=2, description="number of samples")
    noise: float = Field(
        default=0.1, ge=0, allow_inf_nan=False, description="standard deviation of the noise"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the samples")

    def load(self, base: Path) -> Dataset:
        """Return the data set, without a split of its own."""
        del base
        features, labels = _sklearn_datasets("two-moons").make_moons(
            n_samples=self.samples, noise=self.noise, random_state=self.seed
        )
        return Dataset(
            "two-moons",
            features,
            labels,
            feature_names=("x", "y"),
            class_names=("upper", "lower"),
            description=f"two half moons, {self.samples} samples, noise {self.noise:g}",
        )


def _sklearn_datasets(name: str) -> ModuleType:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise UnavailableError(
            f"data set {name!r} needs scikit-learn: pip install 'eqp_hw[data]'"
        ) from error


def _from_bunch(
    name: str,
    bunch: Any,
    *,
    feature_range: tuple[float, float] | None = None,
    image_shape: tuple[int, int] | None = None,
) -> Dataset:
    n, d = bunch.data.shape
    classes = tuple(str(c) for c in bunch.target_names)
    return Dataset(
        name,
        bunch.data,
        bunch.target,
        feature_names=tuple(str(f) for f in bunch.feature_names),
        class_names=classes,
        feature_range=feature_range,
        image_shape=image_shape,
        description=f"{n} samples, {d} features, {len(classes)} classes (scikit-learn)",
    )
