"""Features to phases of the input nodes.

An `InputEncoding` holds settings; ``fit`` on the *training* features alone returns an
immutable `InputEncoder`, which turns into a dictionary of JSON values (floats exact), so that
a run file can rebuild it. Input phases in [−π/2, π/2] and bits at ∓π/2 are the conventions of
Wang, Wanjura and Marquardt (arXiv 2402.08579).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from eqp_hw.data.tables import finite_table, refuse_cells
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray

__all__ = [
    "BitsEncoder",
    "BitsEncoding",
    "InputEncoder",
    "InputEncoding",
    "LinearEncoder",
    "LinearEncoding",
    "StandardEncoder",
    "StandardEncoding",
]


@dataclass(frozen=True)
class InputEncoder(ABC):
    """A fitted input encoding: features to phases, sample by sample.

    Attributes
    ----------
    n_features
        Number of features d.
    reference_phases
        Constant phases (rad) appended to every sample, one further input node each. They fix
        the zero of phase for tasks that would otherwise be blind to a global rotation.
    """

    kind: ClassVar[str]

    n_features: int
    reference_phases: tuple[float, ...]

    def __post_init__(self) -> None:
        for f in fields(self):
            values = getattr(self, f.name)
            if not np.isfinite(values).all() or (
                isinstance(values, tuple)
                and f.name != "reference_phases"
                and len(values) != self.n_features
            ):
                raise ConfigurationError(
                    "cannot be part of a fitted encoding",
                    field=f"{self.kind}.{f.name}",
                    value=values,
                    allowed=f"finite numbers, {self.n_features} of them",
                )

    @property
    def n_inputs(self) -> int:
        """Number of input nodes: features, then reference phases."""
        return self.n_features + len(self.reference_phases)

    def encode(self, features: npt.ArrayLike) -> FloatArray:
        """Return the phases of the input nodes.

        Parameters
        ----------
        features
            (batch, d) raw values.

        Returns
        -------
        (batch, n_inputs) rad. Not wrapped: a value outside the range that was fitted gets
        the phase that continues the line, beyond ±π/2.

        Raises
        ------
        DataError
            A wrong shape, a value that is not finite, or one that the encoding has no phase
            for.
        """
        table = finite_table(features, self.n_features)
        with np.errstate(over="ignore", invalid="ignore"):
            phases = self._phases(table)
        refuse_cells(~np.isfinite(phases), table, "lies too far outside the training data")
        reference = np.broadcast_to(self.reference_phases, (len(table), self.n_reference))
        return np.concatenate([phases, reference], axis=1)

    @property
    def n_reference(self) -> int:
        """Number of reference phases."""
        return len(self.reference_phases)

    def to_config(self) -> dict[str, Any]:
        """Return JSON values from which `input_encoder_from_config` rebuilds the encoder."""
        values = {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v
            for f in fields(self)
        }
        return {"kind": self.kind, **values}

    @abstractmethod
    def _phases(self, table: FloatArray) -> FloatArray:
        """Return the (batch, d) phases of finite features."""


@final
@dataclass(frozen=True)
class LinearEncoder(InputEncoder):
    """Maps [low, high] of each feature to [−π/2, π/2]; constant columns to 0."""

    kind: ClassVar[str] = "linear"

    low: tuple[float, ...]
    high: tuple[float, ...]

    def _phases(self, table: FloatArray) -> FloatArray:
        low, high = np.array(self.low), np.array(self.high)
        span = high - low
        fraction = (table - low) / np.where(span == 0, 1.0, span)
        return np.where(span == 0, 0.0, np.pi * (fraction - 0.5))


@final
@dataclass(frozen=True)
class StandardEncoder(InputEncoder):
    """Maps each feature to scale·(x − mean)/deviation; constant columns to 0."""

    kind: ClassVar[str] = "standard"

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    scale_rad: float

    def _phases(self, table: FloatArray) -> FloatArray:
        deviation = np.array(self.deviation)
        score = (table - np.array(self.mean)) / np.where(deviation == 0, 1.0, deviation)
        return np.where(deviation == 0, 0.0, self.scale_rad * score)


@final
@dataclass(frozen=True)
class BitsEncoder(InputEncoder):
    """Maps 0 to −π/2 and 1 to +π/2; refuses anything else."""

    kind: ClassVar[str] = "bits"

    def _phases(self, table: FloatArray) -> FloatArray:
        refuse_cells((table != 0) & (table != 1), table, "is not a bit", "0 or 1")
        return np.where(table == 1, np.pi / 2, -np.pi / 2)


@dataclass(frozen=True)
class InputEncoding(ABC):
    """Settings of an input encoding, before it has seen data.

    Attributes
    ----------
    reference_phases
        Constant phases (rad) appended to every sample; see `InputEncoder`.
    """

    kind: ClassVar[str]

    reference_phases: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference_phases", tuple(map(float, self.reference_phases)))
        if not all(map(math.isfinite, self.reference_phases)):
            raise ConfigurationError(
                "not finite",
                field="encoding.reference_phases",
                value=list(self.reference_phases),
                allowed="phases in rad",
            )

    def n_inputs(self, n_features: int) -> int:
        """Return how many input nodes ``n_features`` features need."""
        return n_features + len(self.reference_phases)

    @abstractmethod
    def fit(
        self, features: FloatArray, feature_range: tuple[float, float] | None = None
    ) -> InputEncoder:
        """Fit to the features of the training part.

        Parameters
        ----------
        features
            (n, d) raw values; of the training part only, else test data leak into training.
        feature_range
            The range that all features have by nature (`Dataset.feature_range`), if any.

        Raises
        ------
        DataError
            Not a table of finite numbers, or values that the encoding has no phase for.
        """


@final
@dataclass(frozen=True)
class LinearEncoding(InputEncoding):
    """Range of each feature to [−π/2, π/2]; by nature, or smallest and largest seen."""

    kind: ClassVar[str] = "linear"

    def fit(
        self, features: FloatArray, feature_range: tuple[float, float] | None = None
    ) -> LinearEncoder:
        """Fit; see `InputEncoding.fit`."""
        table = finite_table(features)
        d = table.shape[1]
        if feature_range is None:
            low, high = table.min(axis=0), table.max(axis=0)
        else:
            low, high = np.full(d, feature_range[0]), np.full(d, feature_range[1])
        with np.errstate(over="ignore"):
            too_wide = np.broadcast_to(~np.isfinite(high - low), table.shape)
        refuse_cells(too_wide, table, "belongs to a range too wide for numbers")
        return LinearEncoder(d, self.reference_phases, tuple(low.tolist()), tuple(high.tolist()))


@final
@dataclass(frozen=True)
class StandardEncoding(InputEncoding):
    """Score (x − mean)/deviation of each feature, times ``scale_rad``.

    With the default of π/4, two standard deviations reach ±π/2 and four wrap around.
    """

    kind: ClassVar[str] = "standard"

    scale_rad: float = np.pi / 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.scale_rad) and self.scale_rad > 0):
            raise ConfigurationError(
                "not a scale",
                field="encoding.scale_rad",
                value=self.scale_rad,
                allowed="a positive phase in rad",
            )

    def fit(
        self, features: FloatArray, feature_range: tuple[float, float] | None = None
    ) -> StandardEncoder:
        """Fit; see `InputEncoding.fit`. The range is not used."""
        del feature_range
        table = finite_table(features)
        # Rounding leaves a constant column a deviation of 1e-17 or so: compare values instead.
        constant = table.min(axis=0) == table.max(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = table.mean(axis=0)
            deviation = np.where(constant, 0.0, table.std(axis=0))
        refuse_cells(
            np.broadcast_to(~(np.isfinite(mean) & np.isfinite(deviation)), table.shape),
            table,
            "is too large",
        )
        return StandardEncoder(
            table.shape[1],
            self.reference_phases,
            tuple(mean.tolist()),
            tuple(deviation.tolist()),
            float(self.scale_rad),
        )


@final
@dataclass(frozen=True)
class BitsEncoding(InputEncoding):
    """Bits 0 and 1 to −π/2 and +π/2."""

    kind: ClassVar[str] = "bits"

    def fit(
        self, features: FloatArray, feature_range: tuple[float, float] | None = None
    ) -> BitsEncoder:
        """Fit; see `InputEncoding.fit`. Only checks that all values are 0 or 1."""
        del feature_range
        encoder = BitsEncoder(finite_table(features).shape[1], self.reference_phases)
        encoder.encode(features)
        return encoder
