"""The flow under an oscillating nudge, integrated to about 1e-9 rad: dφ/dt = f(φ) + nudge(t).

A nudge that is slow against the network makes the flow stiff and its path smooth. So the path
is represented, window by window, by a polynomial of degree 8 through the nodes of Radau IIA
collocation (8 stages, order 15, L-stable; E. Hairer, G. Wanner, Solving Ordinary Differential
Equations II, IV.5), which costs the same however stiff the network is. The collocation
equations X = x₀ + h·Q·f(X) are solved by simplified Newton steps with a Jacobian A₀ that is
diagonalised once, so that each step is two products a sample with its eigenvectors and a small
solve an eigenvalue. The residual contains the true f: a poor A₀ costs steps, not accuracy.

A window is accepted when Newton has converged and the last Legendre coefficients of dφ/dt in it
are below the tolerance; otherwise A₀ is renewed, then the window is halved. Windows are common
to the batch: a sample's result depends on its companions below the tolerance only.
A₀ is dense, which suits networks of up to about a thousand free nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre
from scipy.special import roots_jacobi

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import BoolArray, Oscillation

from .forces import fast_force
from .oscillation import drive, read_times
from .phase_flow import PhaseFlow
from .reference.linear_algebra import to_dense

__all__ = ["DrivenPath", "follow_oscillation"]

_STAGES: Final = 8
_TOLERANCE: Final = 1e-9
_CONVERGED: Final = 1e-11
_MAX_ITERATIONS: Final = 30
_LARGEST_TURN: Final = 0.5
"""Of ωt in one window, rad."""
_SMALLEST_WINDOW: Final = 2.0**-24
_KEPT_INVERSES: Final = 6
_PART_BYTES: Final = 256_000_000


@final
@dataclass(frozen=True, eq=False)
class DrivenPath:
    """Phases along the driven flow.

    Attributes
    ----------
    phases
        (n_reads, batch, n) rad, unwrapped from the start.
    finished
        (batch,) whether the flow could be followed to the last read.
    """

    phases: FloatArray
    finished: BoolArray


def follow_oscillation(
    flow: PhaseFlow,
    field: ComplexArray,
    nudge: ComplexArray,
    start: FloatArray,
    oscillation: Oscillation,
) -> DrivenPath:
    """Integrate the flow from ``start`` under the field ``field`` + s(t)·cos(ωt)·``nudge``.

    Parameters
    ----------
    flow
        Couplings among the free nodes.
    field, nudge
        (batch, n) static field, and the nudge at its crest.
    start
        (batch, n) phases at the onset, rad.
    oscillation
        Frequency, and the times of the reads.
    """
    n = flow.bonds.n
    size = max(1, _PART_BYTES // max(1, 8 * (6 * n * n + 4 * n * _STAGES**2)))
    parts = [
        _Part(flow, field[rows], nudge[rows], start[rows], oscillation).run()
        for rows in (slice(k, k + size) for k in range(0, len(start), size))
    ]
    return DrivenPath(
        np.concatenate([part.phases for part in parts], axis=1),
        np.concatenate([part.finished for part in parts]),
    )


@final
class _Rule:
    """Radau IIA collocation on [0, 1]."""

    def __init__(self, stages: int) -> None:
        inner, _ = roots_jacobi(stages - 1, 1.0, 0.0)
        x = np.append(inner, 1.0)
        self.nodes: FloatArray = 0.5 * (x + 1.0)
        to_legendre: FloatArray = np.linalg.inv(legendre.legvander(x, stages - 1))
        integrals = np.stack(
            [0.5 * legendre.legval(x, legendre.legint(row, lbnd=-1.0)) for row in np.eye(stages)],
            axis=1,
        )
        self.integration: FloatArray = integrals @ to_legendre
        # The polynomial through x₀ and the stages: where it leads in a next window as long,
        # and the last coefficients of h·dφ/dt, that is of its derivative, in which P₇ and P₈
        # become 26·P₆ + … and 30·P₇ + …. From dφ/dt itself they would come with its rounding
        # times h, which in long windows hides them.
        nodes = np.concatenate([[-1.0], x])
        to_path = np.linalg.inv(legendre.legvander(nodes, stages))
        self.onward: FloatArray = legendre.legvander(x + 2.0, stages) @ to_path
        # Neighbouring degrees, since by symmetry one of them may vanish.
        share = np.array([[0.1], [1.0]])
        degree = np.array([[stages - 1], [stages]])
        self.tail: FloatArray = 2.0 * (2 * degree - 1) * share * to_path[-2:]


_RULE: Final = _Rule(_STAGES)


@final
class _Modes:
    """A₀ = V·diag(λ)·V⁻¹ of each sample, as row-vector products."""

    def __init__(self, flow: PhaseFlow, phases: FloatArray, field: ComplexArray) -> None:
        _, banded = flow.force_and_jacobian(phases, field)
        a = to_dense(flow.bonds, banded)
        self._forth, self._back, self._rates = _diagonalised(a, symmetric=flow.reciprocal)
        self._inverses: dict[float, npt.NDArray[np.float64 | np.complex128]] = {}

    def solve(self, step: float, residual: FloatArray) -> FloatArray:
        """Return (I + step·Q⊗A₀)⁻¹·residual; arrays (batch, stages, n)."""
        # Windows as long as each other up to rounding share one inverse.
        key = float(f"{step:.9e}")
        if key not in self._inverses:
            if len(self._inverses) >= _KEPT_INVERSES:
                self._inverses.clear()
            q = step * _RULE.integration
            matrices = np.eye(_STAGES) + self._rates[..., None, None] * q
            self._inverses[key] = np.asarray(np.linalg.inv(matrices))
        modes = np.einsum("blkj,bjl->bkl", self._inverses[key], residual @ self._forth)
        return np.ascontiguousarray((modes @ self._back).real)


def _diagonalised(
    a: FloatArray, *, symmetric: bool
) -> tuple[FloatArray | ComplexArray, FloatArray | ComplexArray, FloatArray | ComplexArray]:
    if not symmetric:
        rates, vectors = np.linalg.eig(a)
        if np.linalg.cond(vectors).max() < 1e8:
            inverse = np.linalg.inv(vectors)
            return inverse.transpose(0, 2, 1), vectors.transpose(0, 2, 1), rates
        a = 0.5 * (a + a.transpose(0, 2, 1))  # worse, but always there
    real_rates, real_vectors = np.linalg.eigh(a)
    return real_vectors, real_vectors.transpose(0, 2, 1), real_rates


@final
class _Part:
    """The integration of some samples side by side."""

    def __init__(
        self,
        flow: PhaseFlow,
        field: ComplexArray,
        nudge: ComplexArray,
        start: FloatArray,
        oscillation: Oscillation,
    ) -> None:
        self._flow = flow
        self._force = fast_force(flow)
        self._field = field.copy()
        self._nudge = nudge.copy()
        self._oscillation = oscillation
        self._phases = start.copy()
        finite = np.isfinite(start).all(axis=1) & np.isfinite(field).all(axis=1)
        self._alive: BoolArray = np.asarray(finite & np.isfinite(nudge).all(axis=1))
        for array in (self._phases, self._field, self._nudge):
            array[~self._alive] = 0.0
        self._modes = _Modes(flow, self._phases, self._field)
        self._modes_are_new = True
        self._guess: tuple[float, FloatArray] | None = None

    def run(self) -> DrivenPath:
        times = read_times(self._oscillation)
        lead = np.arange(self._oscillation.lead_periods)
        stops = np.concatenate([2 * np.pi * lead / self._oscillation.angular_frequency, times])
        reads, now = [], 0.0
        for stop in stops.tolist():
            if stop > now:
                self._advance(now, stop)
                now = stop
            reads.append(self._phases.copy())
        return DrivenPath(np.array(reads[len(lead) :]), self._alive)

    def _advance(self, start: float, end: float) -> None:
        """Integrate from ``start`` to ``end`` in windows of dyadic fractions."""
        turn = self._oscillation.angular_frequency * (end - start)
        largest = 2.0 ** -np.ceil(np.log2(max(1.0, turn / _LARGEST_TURN)))
        position, width = 0.0, float(largest)
        while position < 1.0:
            step = width * (end - start)
            stages, converged, tail = self._window(start + position * (end - start), step)
            good = converged & (tail <= _TOLERANCE) | ~self._alive
            if good.all():
                self._guess = (step, np.concatenate([self._phases[:, None], stages], axis=1))
                self._phases[self._alive] = stages[self._alive, -1]
                self._modes_are_new = False
                position += width
                easy = tail[self._alive].max(initial=0.0) <= 3e-3 * _TOLERANCE
                # Windows stay aligned, so that they end where the interval does.
                if easy and width < largest and (position / (2 * width)).is_integer():
                    width *= 2
            elif not (converged | ~self._alive).all() and not self._modes_are_new:
                field = (
                    self._field
                    + drive(self._oscillation, np.array(start + position * (end - start)))
                    * self._nudge
                )
                self._modes = _Modes(self._flow, self._phases, field)
                self._modes_are_new = True
            elif width > _SMALLEST_WINDOW:
                width *= 0.5
            else:
                self._alive &= good

    def _window(self, time: float, step: float) -> tuple[FloatArray, BoolArray, FloatArray]:
        """Solve the collocation equations: (stages, converged, last Legendre coefficients)."""
        batch, n = self._phases.shape
        swing = drive(self._oscillation, time + step * _RULE.nodes)
        field = self._field[:, None, :] + swing[:, None] * self._nudge[:, None, :]
        field = field.reshape(batch * _STAGES, n)
        origin = self._phases[:, None, :]
        x = np.repeat(origin, _STAGES, axis=1)
        if self._guess is not None and abs(self._guess[0] / step - 1.0) < 1e-6:
            onward = _RULE.onward @ self._guess[1]
            # A rough past leads nowhere sensible.
            x = np.where(np.abs(onward - x).max(axis=(1, 2), keepdims=True) < 0.1, onward, x)
        best = np.full(batch, np.inf)
        for iteration in range(_MAX_ITERATIONS):
            rate = self._force(x.reshape(batch * _STAGES, n), field).reshape(x.shape)
            correction = self._modes.solve(step, origin + step * (_RULE.integration @ rate) - x)
            x += correction
            moved = np.abs(correction).max(axis=(1, 2), initial=0.0)
            moved[~self._alive] = 0.0
            if not np.isfinite(moved).all() or (iteration > 4 and (moved > 2 * best).any()):
                break
            best = np.minimum(best, moved)
            if (moved <= _CONVERGED).all():
                break
        converged: BoolArray = np.asarray(moved <= 10 * _CONVERGED)
        path = np.concatenate([origin, x], axis=1)
        tail = np.abs(_RULE.tail @ path).max(axis=(1, 2), initial=0.0)
        return x, converged, tail
