"""The flow by SciPy's LSODA, one sample at a time.

Plain ("no Jacobian"), as most would call it; and with the banded analytic Jacobian that the
row-by-row numbering of a lattice allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.integrate import solve_ivp

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .problem import Outcome, Problem, cpu_seconds


def measure(
    problem: Problem, starts: FloatArray, t_end: float, tolerance: float, *, banded: bool
) -> Outcome:
    """Integrate the free flow of each sample, then the nudged one from its end."""
    i, j = problem.edges.T
    ends = (np.concatenate([i, j]), np.concatenate([j, i]))
    values = np.concatenate([problem.coupling, problem.coupling])
    matrix = sparse.csr_array(sparse.coo_array((values, ends), shape=(problem.n, problem.n)))
    band = int(np.abs(i - j).max())
    rows, columns = ends
    packed_row = band + rows - columns

    def flow(start: FloatArray, total: ComplexArray) -> FloatArray:
        def force(_: float, phase: FloatArray) -> FloatArray:
            z = np.exp(1j * phase)
            torque: FloatArray = (z.conj() * (matrix @ z + total)).imag
            return torque

        def jacobian(_: float, phase: FloatArray) -> FloatArray:
            z = np.exp(1j * phase)
            packed = np.zeros((2 * band + 1, problem.n))
            packed[packed_row, columns] = values * np.cos(phase[rows] - phase[columns])
            packed[band] = -(z.conj() * (matrix @ z + total)).real
            return packed

        extra = {"jac": jacobian, "lband": band, "uband": band} if banded else {}
        options: dict[str, Any] = {"rtol": tolerance, "atol": tolerance, "t_eval": [t_end], **extra}
        solution = solve_ivp(force, (0.0, t_end), start, method="LSODA", **options)
        if not solution.success:
            raise RuntimeError(f"LSODA: {solution.message}")
        end: FloatArray = solution.y[:, -1]
        return end

    def all_samples(begin: FloatArray, total: ComplexArray) -> FloatArray:
        return np.stack([flow(x, b) for x, b in zip(begin, total[: len(begin)], strict=True)])

    free_field = problem.free_field()
    free_s, free = cpu_seconds(lambda: all_samples(starts, free_field))
    nudged_field = problem.nudged_field(free_field, free)
    nudged_s, nudged = cpu_seconds(lambda: all_samples(free, nudged_field))
    return Outcome(
        route="SciPy LSODA" + (", banded Jacobian" if banded else ""),
        samples=len(starts),
        free_s=free_s,
        gradient_s=free_s + nudged_s,
        free_phases=free,
        free_residual=problem.residual(free, free_field),
        nudged_residual=problem.residual(nudged, nudged_field),
    )
