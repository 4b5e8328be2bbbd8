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
from typing import final

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray, IntArray

from .ellipse import Detection
from .network_equations import Equations, Equilibria, Free, Prior
from .network_model import Elements, NetworkModel

__all__ = ["NetworkFit", "fit_network", "gain_of_ratios", "whitened_by_theta"]

_log = logging.getLogger("eqp_hw.calibration")

_CHUNK = 128
_HUBER = 4.0
_GAUGE = 1e-5


@final
@dataclass(frozen=True, eq=False)
class NetworkFit:
    """A fitted network.

    Attributes
    ----------
    elements, detection
        Figures.
    covariance
        Of the parameters in the order of ``layout``, by chi-square per degree of freedom.
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
    """

    elements: Elements
    detection: Detection
    covariance: FloatArray
    layout: dict[str, slice]
    rows: dict[str, IntArray]
    residual: FloatArray
    radius: FloatArray
    chi_square: float
    weights: FloatArray
    turns: FloatArray
    history: list[float] = field(default_factory=list)


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

    Raises
    ------
    FitError
        The equations do not determine the figures, or the fit does not converge.
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


def whitened_by_theta(
    model: NetworkModel, fit: NetworkFit, seen: Equilibria
) -> tuple[FloatArray, FloatArray]:
    """Return (m, n_free, n_heaters) ∂(predicted phase)/∂θ and (m, n_free) minus residuals, in σ."""
    phases, _ = fit.detection.phases(seen.voltage_V)
    if seen.turns is not None:
        phases = phases - (seen.turns @ fit.turns)[:, None]
    local = model.local_fields(fit.elements, fit.elements.theta(seen.power_W), phases)
    by_theta = np.linalg.solve(local.stiffness, model.by_theta(local).imag)
    return by_theta / seen.noise[None, :, None], -fit.weights * fit.residual / seen.noise


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
        self._model, self._seen, self._local = model, seen, local
        self._start = start

    def _cost(self, values: FloatArray) -> float:
        total = self._prior_cost(values)
        for part in self._parts():
            angle, round_, _, _ = self.equations.residuals(values, part, jacobian=False)
            total += _huber(angle / self._scale).sum() * self._scale**2
            if len(self.equations.rows["detection"]):
                total += _huber(round_).sum()
        return float(total)

    def _prior_cost(self, values: FloatArray) -> float:
        away = values - self.equations.centre
        return float(
            self.equations.precision @ away**2 + (self.equations.gauge @ away / _GAUGE) ** 2
        )

    def _parts(self) -> list[slice]:
        return [slice(k, k + _CHUNK) for k in range(0, len(self._seen), _CHUNK)]

    def _normal(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        normal = (
            np.diag(self.equations.precision)
            + np.outer(self.equations.gauge, self.equations.gauge) / _GAUGE**2
        )
        away = values - self.equations.centre
        right = (
            -self.equations.precision * away
            - self.equations.gauge * (self.equations.gauge @ away) / _GAUGE**2
        )
        for part in self._parts():
            angle, round_, by_angle, by_round = self.equations.residuals(
                values, part, jacobian=True
            )
            assert by_angle is not None
            root = np.sqrt(_huber_weight(angle / self._scale))
            rows = (by_angle * root[:, :, None]).reshape(-1, self.equations.n)
            normal += rows.T @ rows
            right -= rows.T @ (root * angle).ravel()
            if by_round is not None:
                self._add_rounds(normal, right, round_, by_round)
        return normal, right

    def _add_rounds(
        self, normal: FloatArray, right: FloatArray, round_: FloatArray, by_round: FloatArray
    ) -> None:
        weight = _huber_weight(round_)
        start, n = self.equations.layout["detection"].start, self._model.n_free
        for node in range(n):
            where = start + node + n * np.arange(5)
            rows = by_round[:, :, node].T
            weighted = rows * weight[:, node, None]
            normal[np.ix_(where, where)] += weighted.T @ rows
            right[where] -= weighted.T @ round_[:, node]

    def linearised(self) -> tuple[FloatArray, FloatArray]:
        """Return the normal matrix and right side at the first guess."""
        self._scale = self._robust_scale(self.equations.first)
        return self._normal(self.equations.first)

    # -- steps --------------------------------------------------------------------------------
    def run(self, steps: int) -> NetworkFit:
        values, damping = self.equations.first.copy(), 1e-4
        self._scale = self._robust_scale(values)
        cost = self._cost(values)
        history = [cost]
        for _ in range(steps):
            normal, right = self._normal(values)
            fell = False
            for _ in range(12):
                step = self._held_back(self._solve(normal, right, damping))
                tried = self._cost(values + step)
                if np.isfinite(tried) and tried < cost:
                    fell = True
                    break
                damping *= 10
            if not fell:
                break
            values, gain = values + step, cost - tried
            damping = max(damping / 10, 1e-12)
            self._scale = self._robust_scale(values)
            cost = self._cost(values)
            history.append(cost)
            # A first guess for the next stage need not be exact.
            enough = 3e-3 * cost if self._local else 0.0
            if gain < max(enough, 1e-4 * np.sqrt(len(self._seen) * self._model.n_free)):
                break
        return self._finish(values, history)

    def _held_back(self, step: FloatArray) -> FloatArray:
        """Shorten a step that leaves the range in which the equations are near linear."""
        logs = np.abs(step[self.equations.layout["maximum"]]).max(initial=0.0)
        slopes = self.equations.rows["slope"]
        own = np.diag(self._start.slope)[slopes[:, 0]]
        turns = np.abs(step[self.equations.layout["slope"]] / own).max(initial=0.0)
        return step / max(1.0, float(logs), float(turns) / 0.3)

    def _robust_scale(self, values: FloatArray) -> float:
        angles = [
            np.abs(self.equations.residuals(values, part, False)[0]) for part in self._parts()
        ]
        return max(1.0, 1.4826 * float(np.median(np.concatenate(angles))))

    def _solve(self, normal: FloatArray, right: FloatArray, damping: float) -> FloatArray:
        scaled, scale = _scaled(normal)
        damped = scaled + damping * np.eye(self.equations.n)
        try:
            step: FloatArray = cho_solve(cho_factor(damped), right / scale) / scale
        except np.linalg.LinAlgError:
            raise FitError(
                "the equilibria do not determine the elements of the network: more of them, "
                "or more different ones, are needed"
            ) from None
        return step

    def _finish(self, values: FloatArray, history: list[float]) -> NetworkFit:
        elements, detection = self.equations.unpack(values)
        found = [self.equations.residuals(values, part, False) for part in self._parts()]
        angle = np.concatenate([one[0] for one in found])
        round_ = np.concatenate([one[1] for one in found])
        normal, _ = self._normal(values)
        weights = _huber_weight(angle / self._scale)
        count = angle.size + (round_.size if len(self.equations.rows["detection"]) else 0)
        square = float((weights * angle**2).sum())
        if len(self.equations.rows["detection"]):
            square += float((_huber_weight(round_) * round_**2).sum())
        chi_square = square / max(1, count - self.equations.n)
        scaled, scale = _scaled(normal)
        inner = np.linalg.inv(scaled)
        return NetworkFit(
            elements,
            detection,
            chi_square * inner / np.outer(scale, scale),
            self.equations.layout,
            self.equations.rows,
            angle * self._seen.noise,
            round_ * self._seen.noise,
            chi_square,
            weights,
            values[self.equations.layout["turn"]].copy(),
            history,
        )


def _scaled(normal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a normal matrix of unit diagonal, and the roots of the diagonal it had."""
    scale = np.sqrt(np.diag(normal))
    scale = np.where(scale > 0, scale, 1.0)
    return normal / np.outer(scale, scale), scale


def _huber(x: FloatArray) -> FloatArray:
    size = np.abs(x)
    loss: FloatArray = np.where(size <= _HUBER, x**2, 2 * _HUBER * size - _HUBER**2)
    return loss


def _huber_weight(x: FloatArray) -> FloatArray:
    weight: FloatArray = np.minimum(1.0, _HUBER / np.maximum(np.abs(x), 1e-300))
    return weight
