"""The joint fit of a whole network to equilibria under known heater powers.

Every equilibrium gives one equation a free node. Two kinds of residual are used:

* far from the solution the angle of the local field, arg h_i: bounded, free of the scale of J, and
  with an exact derivative, Im(∂h/h);
* near it the step to the model's own equilibrium, A⁻¹ Im h, which is predicted minus measured
  phase: its noise is that of the read-out, the same everywhere, whatever the stiffness A.

The figures of the detectors are fitted along: they turn the measured phases, and the distances
from the ellipses (radius − 1) determine them. All are weighted by the noise of the read-out; the
covariance is that of the Gauss-Newton normal matrix times chi-square per degree of freedom.

Only ratios of couplings and fields show in an equilibrium. That of the whole is fixed by the mean
logarithm of all maxima, which keeps its nominal value.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dpotri

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray, IntArray

from .ellipse import Detection
from .network_equations import Equations, Equilibria, Free, Point, Prior
from .network_model import Elements, NetworkModel
from .network_normal import NormalEquations

__all__ = [
    "NetworkFit",
    "fit_network",
    "gain_of_ratios",
    "huber_weight",
    "inverted",
    "slope_scores",
]

_log = logging.getLogger("eqp_hw.calibration")

_BoolArray = npt.NDArray[np.bool_]
_CHUNK = 128
_HUBER = 4.0
_GAUGE = 1e-5
_UNDETERMINED = (
    "the equilibria do not determine the elements of the network: more of them, "
    "or more different ones, are needed"
)


@final
@dataclass(frozen=True, eq=False)
class NetworkFit:
    """A fitted network.

    Attributes
    ----------
    elements, detection
        Figures.
    normal
        (n, n) normal matrix of the parameters in the order of ``layout``, prior included.
    layout
        Slices of the parameters: "offset", "slope", "maximum" (logarithms), "ratio",
        "detection", "turn".
    rows
        Heater rows of "offset"; "slope" entries as (k, 2) pairs; maxima; edges.
    residual
        (m, n_free) predicted minus measured phases, rad.
    radius
        (m, n_free) radii minus 1.
    chi_square
        Per degree of freedom.
    weights
        (m, n_free) of the robust loss: below 1 for what did not fit.
    turns
        (k,) sizes of `Equilibria.turns`, rad.
    history
        Cost of each step.
    downhill
        (n,) half the gradient of the cost, turned round: another Gauss-Newton step solves the
        normal equations for it. Empty at stages that are but a first guess for the next.
    stated
        (n, n) covariance that counts more than the scatter of the residuals; None: that one.
    """

    elements: Elements
    detection: Detection
    normal: FloatArray
    layout: dict[str, slice]
    rows: dict[str, IntArray]
    residual: FloatArray
    radius: FloatArray
    chi_square: float
    weights: FloatArray
    turns: FloatArray
    history: list[float] = field(default_factory=list)
    downhill: FloatArray = field(default_factory=lambda: np.zeros(0))
    stated: FloatArray | None = None

    def unfinished(self, judged: _BoolArray) -> float:
        """Return by how much another step would move a parameter, in its standard errors, at most.

        Parameters
        ----------
        judged
            (n,) parameters that matter; the others stay where they are.

        Raises
        ------
        FitError
            The equilibria do not determine them.
        """
        inverse = inverted(self.normal[np.ix_(judged, judged)])
        step = np.abs(inverse @ self.downhill[judged])
        deviation = np.sqrt(self.chi_square * np.diag(inverse))
        return float((step / deviation).max(initial=0.0))

    @cached_property
    def covariance(self) -> FloatArray:
        """(n, n) of the parameters: as stated, or by chi-square per degree of freedom.

        Raises
        ------
        FitError
            The equilibria do not determine them.
        """
        return self.chi_square * inverted(self.normal) if self.stated is None else self.stated


def fit_network(
    model: NetworkModel,
    start: Elements,
    detection: Detection,
    seen: Equilibria,
    free: Free,
    *,
    prior: Prior | None = None,
    local: bool = False,
    steps: int = 30,
) -> NetworkFit:
    """Fit a network.

    Parameters
    ----------
    model
        Structure.
    start, detection
        First guess, from `start_elements`, a nominal calibration or an earlier fit.
    seen
        Equilibria.
    free
        What is fitted.
    local
        Angles of the local fields instead of predicted phases: for a first guess that is far.
    steps
        Most Gauss-Newton steps.

    Returns
    -------
    The fit where it ended. Whether it has converged (`NetworkFit.unfinished`) is for the caller to
    judge: under a wrong hypothesis it need not.

    Raises
    ------
    FitError
        The equations do not determine the figures.
    """
    return _Fit(model, start, detection, seen, free, prior or Prior(), local).run(steps)


def gain_of_ratios(
    model: NetworkModel, fit: NetworkFit, seen: Equilibria, free: Free, prior: Prior
) -> FloatArray:
    """Return (n_edges,) by how much each ratio of ``free``, fitted alone, would lower the cost.

    A score test at a fit without them, to first order, all other figures following; 0 for ratios
    that are not asked for. The prior decides between bonds of one loop, of which the equilibria
    see the product of ratios only.
    """
    one = _Fit(model, fit.elements, fit.detection, seen, free, prior, local=False)
    normal, right = one.linearised()
    chosen = one.equations.layout["ratio"]
    others = np.ones(len(right), dtype=bool)
    others[chosen] = False
    inner = cho_factor(_scaled(normal[np.ix_(others, others)])[0])
    scale = np.sqrt(np.diag(normal)[others])
    across = normal[others][:, chosen] / scale[:, None]
    left = right[chosen] - across.T @ cho_solve(inner, right[others] / scale)
    curvature = np.diag(normal)[chosen] - (across * cho_solve(inner, across)).sum(axis=0)
    gain = np.zeros(model.n_edges)
    gain[np.flatnonzero(free.ratios)] = left**2 / curvature
    return gain


def slope_scores(
    model: NetworkModel, fit: NetworkFit, seen: Equilibria
) -> tuple[FloatArray, FloatArray]:
    """Return (m, n_heaters) what each equilibrium says of each heater's θ, beside what was fitted.

    The residuals in σ times the derivatives of predicted phases by θ, summed over the nodes, and
    the squares of these derivatives.
    """
    phases, _ = fit.detection.phases(seen.voltage_V)
    if seen.turns is not None:
        phases = phases - (seen.turns @ fit.turns)[:, None]
    local = model.local_fields(fit.elements, fit.elements.theta(seen.power_W), phases)
    inverse = np.linalg.inv(local.stiffness) / seen.noise[:, None]
    by_theta, pairs = model.by_theta(local).imag, model.heater_pairs
    residual = -fit.weights * fit.residual / seen.noise
    along, square = (np.zeros((len(seen), model.n_heaters)) for _ in range(2))
    for heater in np.flatnonzero(model.seen):
        own = np.flatnonzero(pairs.item == heater)
        moved = np.einsum("mij,jm->mi", inverse[:, :, pairs.node[own]], by_theta[own])
        along[:, heater] = (moved * residual).sum(axis=1)
        square[:, heater] = (moved**2).sum(axis=1)
    return along, square


@final
class _Fit:
    def __init__(
        self,
        model: NetworkModel,
        start: Elements,
        detection: Detection,
        seen: Equilibria,
        free: Free,
        prior: Prior,
        local: bool,
    ) -> None:
        self.equations = Equations(model, start, detection, seen, free, prior, local)
        self._normal_equations = NormalEquations(self.equations)
        self._model, self._seen, self._local = model, seen, local
        self._start = start
        self._scale = 1.0

    def _at(self, values: FloatArray) -> list[Point]:
        starts = range(0, len(self._seen), _CHUNK)
        return [self.equations.at(values, slice(k, k + _CHUNK)) for k in starts]

    def _cost(self, values: FloatArray, points: list[Point]) -> float:
        total = self._prior_cost(values)
        for point in points:
            total += _huber(point.angle / self._scale).sum() * self._scale**2
            if len(self.equations.rows["detection"]):
                total += _huber(point.radius).sum()
        return float(total)

    def _prior_cost(self, values: FloatArray) -> float:
        away = values - self.equations.centre
        return float(
            self.equations.precision @ away**2 + (self.equations.gauge @ away / _GAUGE) ** 2
        )

    def _normal(self, values: FloatArray, points: list[Point]) -> tuple[FloatArray, FloatArray]:
        weights = [huber_weight(point.angle / self._scale) for point in points]
        of_radius = [huber_weight(point.radius) for point in points]
        matrix, gradients = self._normal_equations.sum_up(points, weights, of_radius)
        gauge, away = self.equations.gauge, values - self.equations.centre
        matrix += np.diag(self.equations.precision) + np.outer(gauge, gauge) / _GAUGE**2
        right = -gradients.sum(axis=1) - self.equations.precision * away
        return matrix, right - gauge * (gauge @ away) / _GAUGE**2

    def linearised(self) -> tuple[FloatArray, FloatArray]:
        """Return the normal matrix and right side at the first guess."""
        points = self._at(self.equations.first)
        self._scale = _robust_scale(points)
        return self._normal(self.equations.first, points)

    # -- steps --------------------------------------------------------------------------------
    def run(self, steps: int) -> NetworkFit:
        values, damping = self.equations.first.copy(), 1e-4
        points = self._at(values)
        self._scale = _robust_scale(points)
        cost = self._cost(values, points)
        history = [cost]
        for _ in range(steps):
            normal, right = self._normal(values, points)
            fell = False
            for _ in range(12):
                step = self._held_back(self._solve(normal, right, damping))
                there = self._at(values + step)
                tried = self._cost(values + step, there)
                if np.isfinite(tried) and tried < cost:
                    fell = True
                    break
                damping *= 10
            if not fell:
                break
            values, points, gain = values + step, there, cost - tried
            damping = max(damping / 10, 1e-12)
            self._scale = _robust_scale(points)
            cost = self._cost(values, points)
            history.append(cost)
            # A first guess for the next stage need not be exact.
            enough = 3e-3 * cost if self._local else 0.0
            if gain < max(enough, 1e-4 * np.sqrt(len(self._seen) * self._model.n_free)):
                break
        return self._finish(values, points, history)

    def _held_back(self, step: FloatArray) -> FloatArray:
        """Shorten a step that leaves the range in which the equations are near linear."""
        logs = np.abs(step[self.equations.layout["maximum"]]).max(initial=0.0)
        slopes = self.equations.rows["slope"]
        own = np.diag(self._start.slope)[slopes[:, 0]]
        turns = np.abs(step[self.equations.layout["slope"]] / own).max(initial=0.0)
        return step / max(1.0, float(logs), float(turns) / 0.3)

    def _solve(self, normal: FloatArray, right: FloatArray, damping: float) -> FloatArray:
        scaled, scale = _scaled(normal)
        scaled[np.diag_indices_from(scaled)] += damping
        try:
            factor = cho_factor(scaled, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            raise FitError(_UNDETERMINED) from None
        step: FloatArray = cho_solve(factor, right / scale) / scale
        return step

    def _finish(self, values: FloatArray, points: list[Point], history: list[float]) -> NetworkFit:
        elements, detection = self.equations.unpack(values)
        angle = np.concatenate([point.angle for point in points])
        round_ = np.concatenate([point.radius for point in points])
        # What an intermediate stage is sure of, nobody asks.
        normal, downhill = np.zeros((0, 0)), np.zeros(0)
        if not self._local:
            normal, downhill = self._normal(values, points)
        weights = huber_weight(angle / self._scale)
        count = angle.size + (round_.size if len(self.equations.rows["detection"]) else 0)
        square = float((weights * angle**2).sum())
        if len(self.equations.rows["detection"]):
            square += float((huber_weight(round_) * round_**2).sum())
        chi_square = square / max(1, count - self.equations.n)
        return NetworkFit(
            elements,
            detection,
            normal,
            self.equations.layout,
            self.equations.rows,
            angle * self._seen.noise,
            round_ * self._seen.noise,
            chi_square,
            weights,
            values[self.equations.layout["turn"]].copy(),
            history,
            downhill,
        )


def _robust_scale(points: list[Point]) -> float:
    angles = np.concatenate([np.abs(point.angle) for point in points])
    return max(1.0, 1.4826 * float(np.median(angles)))


def _scaled(normal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a normal matrix of unit diagonal, and the roots of the diagonal it had."""
    scale = np.sqrt(np.diag(normal))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = normal / scale
    scaled /= scale[:, None]
    return scaled, scale


def inverted(normal: FloatArray) -> FloatArray:
    """Return the inverse of a normal matrix; FitError."""
    scaled, scale = _scaled(normal)
    factor, failed = dpotrf(scaled.T, overwrite_a=True)
    if not failed:
        inverse, failed = dpotri(factor, overwrite_c=True)
    if failed:
        raise FitError(_UNDETERMINED)
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    inverse /= scale
    inverse /= scale[:, None]
    return np.asarray(inverse)


def _huber(x: FloatArray) -> FloatArray:
    size = np.abs(x)
    loss: FloatArray = np.where(size <= _HUBER, x**2, 2 * _HUBER * size - _HUBER**2)
    return loss


def huber_weight(x: FloatArray) -> FloatArray:
    """Return the weights of the robust loss, of residuals in σ."""
    weight: FloatArray = np.minimum(1.0, _HUBER / np.maximum(np.abs(x), 1e-300))
    return weight
