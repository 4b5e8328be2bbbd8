"""The physical flow of an XY network by SciPy, written apart from eqp_hw: the judge of exactness.

Nothing of eqp_hw is imported. The flow dφ/dt = −∂F/∂φ is integrated by DOP853 (explicit, order 8)
at tight tolerances until its end is proven, by an argument that shares nothing with the emulator's
certificate:

Let x* be an equilibrium, λ > 0 the smallest eigenvalue of H(x*), and d the Euclidean distance of a
state x from it. Moving by δ changes the weight of a bond by at most |J_ij|·|δ_i − δ_j| ≤
|J_ij|·√2·‖δ‖, that of a field by |b_i|·‖δ‖, so ‖H(x*+δ) − H(x*)‖ ≤ L·‖δ‖ with
L = max_i(2√2·Σ_j|J_ij| + |b_i|). In the ball d ≤ r = λ/2L therefore H ≥ λ/2: F is strictly convex
there, (x − x*)·∂F/∂x ≥ (λ/2)·d² > 0, the distance falls, the flow cannot leave the ball and ends
in x*. Reaching the ball is reaching x*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.integrate import solve_ivp

OPEN: Final = 0
SAME: Final = 1
OTHER: Final = 2


class XYFlow:
    """Free phases of a batch under couplings, bias and clamped inputs."""

    def __init__(
        self,
        n_nodes: int,
        edges: np.ndarray,
        coupling: np.ndarray,
        bias: np.ndarray,
        inputs: np.ndarray,
        input_phases: np.ndarray,
    ) -> None:
        matrix = np.zeros((n_nodes, n_nodes))
        matrix[edges[:, 0], edges[:, 1]] = coupling
        matrix += matrix.T
        free = np.setdiff1d(np.arange(n_nodes), inputs)
        self.inner = matrix[np.ix_(free, free)]
        self.field = np.exp(1j * input_phases) @ matrix[np.ix_(inputs, free)] + bias[free]

    def force(self, phases: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """−∂F/∂φ of (rows, n) phases."""
        sine, cosine = np.sin(phases), np.cos(phases)
        field = self.field[rows]
        return cosine * (sine @ self.inner + field.imag) - sine * (cosine @ self.inner + field.real)

    def energy(self, phases: np.ndarray, row: int) -> float:
        """F of one sample."""
        z = np.exp(1j * phases)
        return -float((np.conj(z) * (0.5 * (self.inner @ z) + self.field[row])).real.sum())

    def hessian(self, phases: np.ndarray, row: int) -> np.ndarray:
        """H of one sample."""
        weight = self.inner * np.cos(phases[:, None] - phases[None, :])
        own = (np.conj(self.field[row]) * np.exp(1j * phases)).real
        return np.diag(weight.sum(axis=1) + own) - weight

    def smallest_eigenvalue(self, phases: np.ndarray, row: int) -> float:
        return float(np.linalg.eigvalsh(self.hessian(phases, row))[0])

    def radius(self, equilibrium: np.ndarray, row: int) -> float:
        """r of the module's argument; 0 at what is not a stable equilibrium."""
        bound = 2 * np.sqrt(2) * np.abs(self.inner).sum(axis=1) + np.abs(self.field[row])
        return max(0.0, self.smallest_eigenvalue(equilibrium, row)) / (2 * float(bound.max()))

    def rate(self) -> float:
        """Bound of the eigenvalues of H: the flow's shortest time is its inverse."""
        bound = 2 * np.abs(self.inner).sum(axis=1) + np.abs(self.field)
        return float(bound.max())


@dataclass(frozen=True)
class Verdict:
    """Where the flow of each sample ended, against a candidate equilibrium.

    Attributes
    ----------
    basin
        (batch,) `SAME`, `OTHER` (another equilibrium is proven) or `OPEN` (not decided by t_max).
    time
        (batch,) flow time at which that was clear.
    evaluations
        Evaluations of the force, summed over samples.
    """

    basin: np.ndarray
    time: np.ndarray
    evaluations: int


def judge(
    flow: XYFlow,
    start: np.ndarray,
    candidate: np.ndarray,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    t_max: float = 1e5,
) -> Verdict:
    """Integrate from ``start`` and say whether the end is ``candidate``, both (batch, n)."""
    batch = len(start)
    radius = np.array([flow.radius(candidate[row], row) for row in range(batch)])
    state = start.copy()
    basin = np.full(batch, OPEN)
    time = np.zeros(batch)
    rows, t, span, evaluations = np.arange(batch), 0.0, 100.0 / flow.rate(), 0
    while len(rows) and t < t_max:
        shape = (len(rows), start.shape[1])
        # SciPy controls the RMS error over the whole batch: a single sample's may be √batch
        # larger, which tighter tolerances make good.
        tighter = 1 / np.sqrt(len(rows))
        path = solve_ivp(
            lambda _, y, rows=rows, shape=shape: flow.force(y.reshape(shape), rows).ravel(),
            (t, t + span),
            state[rows].ravel(),
            "DOP853",
            t_eval=[t + span],
            rtol=max(1e-13, rtol * tighter),
            atol=atol * tighter,
        )
        if path.status != 0:
            raise RuntimeError(f"solve_ivp failed: {path.message}")
        evaluations += path.nfev * len(rows)
        t += span
        span *= 1.3
        state[rows] = path.y[:, -1].reshape(shape)
        for row in rows:
            if distance(state[row], candidate[row]) < radius[row]:
                basin[row] = SAME
            elif _reached_another(flow, state[row], candidate[row], int(row)):
                basin[row] = OTHER
        time[rows] = t
        rows = rows[basin[rows] == OPEN]
    return Verdict(basin, time, evaluations)


def follow_branch(flow: XYFlow, start: np.ndarray, new_field: np.ndarray, row: int) -> np.ndarray:
    """Follow the equilibrium ``start``, (n,), while the field of one sample moves to ``new_field``.

    Steps of at most 1 % of the way and .02 rad, each corrected by Newton with a positive
    definite Hessian. Returns NaN where the branch ends: steps below 1e-10 are refused.
    """
    old = flow.field[row].copy()
    phases, position, step = start.copy(), 0.0, 1e-2
    try:
        while position < 1.0:
            to = min(1.0, position + step)
            flow.field[row] = old + to * (new_field - old)
            trial = _newton(flow, phases, row, 6)
            near = np.abs(trial - phases).max() < 0.02  # False for NaN
            if near and flow.smallest_eigenvalue(trial, row) > 0:
                phases, position, step = trial, to, min(1e-2, 1.5 * step)
            else:
                step /= 2
                if step < 1e-10:
                    return np.full_like(start, np.nan)
    finally:
        flow.field[row] = old
    return phases


def _newton(flow: XYFlow, start: np.ndarray, row: int, most: int) -> np.ndarray:
    """Newton's method from ``start``; NaN where it does not reach rounding level."""
    phases, one = start.copy(), np.array([row])
    for _ in range(most):
        force = flow.force(phases[None], one)[0]
        if np.abs(force).max() < 1e-12:
            return phases
        try:
            phases += np.linalg.solve(flow.hessian(phases, row), force)
        except np.linalg.LinAlgError:
            break
    return np.full_like(start, np.nan)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Euclidean distance of two states modulo 2π."""
    return float(np.linalg.norm(np.angle(np.exp(1j * (a - b)))))


def _reached_another(flow: XYFlow, state: np.ndarray, candidate: np.ndarray, row: int) -> bool:
    """Whether an equilibrium near ``state`` other than ``candidate`` is proven to be its end."""
    one = np.array([row])
    if np.abs(flow.force(state[None], one)).max() > 1e-2:
        return False
    end = _newton(flow, state, row, 20)
    if np.isnan(end).any():
        return False
    return distance(state, end) < flow.radius(end, row) and distance(end, candidate) > 1e-6
