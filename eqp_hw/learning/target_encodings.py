"""Class labels to target phases of the outputs, and output phases back to class labels.

Class k asks for output k at +π/2 and the others at −π/2, and the class read is
argmax_k sin φ_k: the convention of Wang, Wanjura and Marquardt (arXiv 2402.08579). Two
shorter codes stand beside it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from eqp_hw.data.tables import finite_table
from eqp_hw.errors import DataError
from eqp_hw.network.graph import FloatArray, IntArray

__all__ = ["BinaryCodeTarget", "BinaryTarget", "OneHotTarget", "TargetEncoding"]


@dataclass(frozen=True)
class TargetEncoding(ABC):
    """Class labels to target phases ±amplitude of the outputs, and back.

    Every class has a code word of signs: output o of class k is asked for
    ``code[k, o]·amplitude``.

    Attributes
    ----------
    n_classes
        Number of classes K.
    amplitude
        Target phase, rad; π/2 in the seed paper. A smaller one leaves outputs (with a bias
        field along 0) where their phase grows in proportion to the drive, as in regression.
    """

    kind: ClassVar[str]

    n_classes: int
    amplitude: float = math.pi / 2

    def __post_init__(self) -> None:
        if not 0 < self.amplitude <= math.pi / 2:
            raise DataError(
                "not a target phase",
                field="target_amplitude",
                value=self.amplitude,
                allowed="0 < value <= pi/2, rad",
            )
        if self.n_classes < 2:
            raise DataError(
                "there is nothing to tell apart",
                field="n_classes",
                value=self.n_classes,
                allowed="at least two classes",
            )

    @property
    @abstractmethod
    def code(self) -> FloatArray:
        """(K, n_outputs) code words of ±1."""

    @abstractmethod
    def scores(self, output_phases: npt.ArrayLike) -> FloatArray:
        """Return how well each class agrees with the outputs, (batch, K); largest is best."""

    @property
    def n_outputs(self) -> int:
        """Number of output nodes."""
        return int(self.code.shape[1])

    def encode(self, labels: npt.ArrayLike) -> FloatArray:
        """Return the target phases, (batch, n_outputs) rad, of (batch,) class labels.

        Raises
        ------
        DataError
            A label that is no integer in 0..K−1.
        """
        array = np.asarray(labels)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(
                f"have shape {array.shape} and type {array.dtype}",
                field="labels",
                allowed="a list of class numbers",
            )
        bad = np.flatnonzero((array < 0) | (array >= self.n_classes))
        if len(bad):
            raise DataError(
                "not a class number",
                field=f"labels[{bad[0]}]",
                value=int(array[bad[0]]),
                allowed=f"0..{self.n_classes - 1}",
            )
        phases: FloatArray = self.code[array] * self.amplitude
        return phases

    def decode(self, output_phases: npt.ArrayLike) -> IntArray:
        """Return the class read from (batch, n_outputs) phases; the lower one on a tie.

        Raises
        ------
        DataError
            A wrong shape or a phase that is not finite (a failed read has no class).
        """
        return np.asarray(self.scores(output_phases).argmax(axis=1), dtype=np.int64)

    def to_config(self) -> dict[str, Any]:
        """Return JSON values from which `target_encoding_from_config` rebuilds the encoding."""
        return {"kind": self.kind, "n_classes": self.n_classes, "amplitude": self.amplitude}

    def _sines(self, output_phases: npt.ArrayLike) -> FloatArray:
        return np.sin(finite_table(output_phases, self.n_outputs, "output phases"))


@final
@dataclass(frozen=True)
class OneHotTarget(TargetEncoding):
    """Class k: output k at +π/2, the others at −π/2. Read-out argmax_k sin φ_k."""

    kind: ClassVar[str] = "one-hot"

    @cached_property
    def code(self) -> FloatArray:
        """(K, K) code words: +1 on the diagonal, −1 elsewhere."""
        return 2 * np.eye(self.n_classes) - 1

    def scores(self, output_phases: npt.ArrayLike) -> FloatArray:
        """Return sin φ_k, (batch, K)."""
        return self._sines(output_phases)


@final
@dataclass(frozen=True)
class BinaryTarget(TargetEncoding):
    """One output: class 0 at −π/2, class 1 at +π/2. Read-out: the sign of sin φ."""

    kind: ClassVar[str] = "binary"

    n_classes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_classes != 2:
            raise DataError(
                "one output tells only two classes apart",
                field="n_classes",
                value=self.n_classes,
                allowed="2, or the target encodings one-hot and binary-code",
            )

    @cached_property
    def code(self) -> FloatArray:
        """(2, 1) code words −1, +1."""
        return np.array([[-1.0], [1.0]])

    def scores(self, output_phases: npt.ArrayLike) -> FloatArray:
        """Return ∓sin φ, (batch, 2)."""
        return self._sines(output_phases) @ self.code.T


@final
@dataclass(frozen=True)
class BinaryCodeTarget(TargetEncoding):
    """Class number in bits over ⌈log₂ K⌉ outputs, least significant bit first.

    The class read is the one whose code word correlates best with sin φ: the signs, unless
    they spell a number that is no class.
    """

    kind: ClassVar[str] = "binary-code"

    @cached_property
    def code(self) -> FloatArray:
        """(K, ⌈log₂ K⌉) code words."""
        bits = np.arange((self.n_classes - 1).bit_length())
        digits = (np.arange(self.n_classes)[:, None] >> bits) & 1
        return np.where(digits == 1, 1.0, -1.0)

    def scores(self, output_phases: npt.ArrayLike) -> FloatArray:
        """Return Σ_o code[k, o]·sin φ_o, (batch, K)."""
        return self._sines(output_phases) @ self.code.T
