"""Compiled half of `native_engine` (native/)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray

def isas() -> list[str]:
    """Instruction sets usable on this processor, best first."""

class Engine:
    """One graph: symbolic factorisation, and the kernels of one instruction set.

    Arrays are C-contiguous; a complex field travels as (batch, 2n) real numbers. Results are
    written to the arrays given.
    """

    def __init__(self, n: int, edges: IntArray, isa: str) -> None: ...
    def relax(
        self,
        coupling: FloatArray,
        field: FloatArray,
        start: FloatArray,
        options: dict[str, Any],
        follow: bool,
        tried: bool,
        threads: int,
        phases: FloatArray,
        status: npt.NDArray[np.uint8],
        residual: FloatArray,
        positive_definite: npt.NDArray[np.uint8],
        certified: npt.NDArray[np.uint8],
        steps: IntArray,
        rejected: IntArray,
        factorisations: IntArray,
    ) -> None: ...
    def solve(
        self,
        coupling: FloatArray,
        field: FloatArray,
        phases: FloatArray,
        rhs: FloatArray,
        out: FloatArray,
        threads: int,
    ) -> None: ...
    def smallest_eigenvalue(
        self,
        coupling: FloatArray,
        field: FloatArray,
        phases: FloatArray,
        out: FloatArray,
        threads: int,
    ) -> None: ...
    def selected_inverse(
        self,
        coupling: FloatArray,
        field: FloatArray,
        phases: FloatArray,
        diagonal: FloatArray,
        bonds: FloatArray,
    ) -> None: ...
    def segment(
        self,
        coupling: FloatArray,
        field: FloatArray,
        phases: FloatArray,
        spread: FloatArray,
        margin: FloatArray,
        theta: float,
        out: FloatArray,
        threads: int,
    ) -> None: ...
    def leaves_branch(
        self,
        coupling: FloatArray,
        previous_field: FloatArray,
        field: FloatArray,
        start: FloatArray,
        end: FloatArray,
        rules: dict[str, Any],
        hop: npt.NDArray[np.uint8],
        threads: int,
    ) -> None: ...
    def integrate(
        self,
        coupling: FloatArray,
        field: FloatArray,
        start: FloatArray,
        h: float,
        n_steps: int,
        method: str,
        out: FloatArray,
    ) -> None: ...
    def sincos(self, x: FloatArray, sine: FloatArray, cosine: FloatArray) -> None: ...
    @property
    def isa(self) -> str: ...
    def describe(self) -> dict[str, int]: ...
