"""A network fitted, and where it does not fit: what is broken, swapped or one-sided.

Faults of heaters leave residuals of hundreds of milliradians and show at single nodes, without
any other node's help (`suspects`). A non-reciprocal bond leaves every node's own balance intact
and shows only where the two ends of bonds are compared: it is looked for when no heater is to
blame. Only the product of J_ij/J_ji around a loop can be seen in equilibria: what a factor a
node explains, r_ij = c_i/c_j, is no more than unequal mobilities, and does no harm.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray

from .ellipse import Detection
from .network_drift import Drift, drifting
from .network_equations import Equilibria, Free, Prior
from .network_fit import NetworkFit, fit_network, gain_of_ratios
from .network_model import Elements, NetworkModel
from .network_solve import NetworkSolution, fit_from_nothing, solve_network
from .suspects import Suspicion, suspects

__all__ = ["Diagnosis", "diagnose_network", "with_drift"]

_log = logging.getLogger("eqp_hw.calibration")

_BoolArray = npt.NDArray[np.bool_]
_GOOD_FIT = 1.5
_BROKEN = 4.0
_NOT_ALONE = 100.0
"""So bad a fit is no longer one to be believed about a single heater."""
_MOST_FAULTS = 4
_MOST_BONDS = 3
_MOST_RIVALS = 4
_DOUBT = 9.0
_PER_PIECE = (25, 5)
_NEARLY_ALL = 0.05
_FALL = 0.5
_SPREAD = 0.15
"""Bonds of one loop are told apart by how far the maxima would have to be from nominal."""


@final
@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A fit and the faults that it was made under.

    Attributes
    ----------
    solution
        The fit.
    without_effect
        Heater rows that act on no phase.
    swapped
        Pairs of heater rows whose channels are exchanged.
    one_sided
        Bonds whose J_ij and J_ji were fitted apart.
    rivals
        Bonds that would explain what the first of ``one_sided`` does nearly as well.
    turn
        (m,) rad by which a drifting reference turned all phases; None where it is steady.
    shapes
        (m, k) turns that it was fitted by, after those that the equilibria came with.
    seen
        The equilibria as they were fitted: powers where they really went, and turns.
    drift
        That of the shifters, where `with_drift` found one; the fit is then the one that counts it.
    """

    solution: NetworkSolution
    without_effect: tuple[int, ...]
    swapped: tuple[tuple[int, int], ...]
    one_sided: tuple[int, ...]
    rivals: tuple[int, ...]
    seen: Equilibria
    turn: FloatArray | None = None
    shapes: FloatArray | None = None
    drift: Drift | None = None


def diagnose_network(
    model: NetworkModel,
    nominal: Elements,
    detection: Detection,
    seen: Equilibria,
    half_waves: FloatArray,
    crosstalk: _BoolArray,
    inner: _BoolArray,
) -> Diagnosis:
    """Fit a network; where it does not fit, find out why and fit it under that.

    Parameters
    ----------
    inner
        (n_edges,) bonds between free nodes: only these can be seen from both ends.

    The others as in `solve_network`.

    Raises
    ------
    FitError
        The equilibria do not determine the elements.
    """
    faults: list[Suspicion] = []
    known_turns = 0 if seen.turns is None else seen.turns.shape[1]
    solution = solve_network(model, nominal, detection, seen, half_waves, crosstalk)
    solution, seen = _steadied(model, solution, seen, crosstalk)
    while len(faults) < _MOST_FAULTS:
        suspicion = _suspicion(model, nominal, detection, seen, half_waves, solution.fit, faults)
        if suspicion is None:
            break
        trial = replace(seen, power_W=suspicion.apply(seen.power_W))
        found = solve_network(model, nominal, detection, trial, half_waves, crosstalk)
        _log.info(
            "rows %s: chi-square %.3g, %.3g before",
            suspicion.rows,
            found.fit.chi_square,
            solution.fit.chi_square,
        )
        if found.fit.chi_square > _FALL * solution.fit.chi_square + _GOOD_FIT / 2:
            break
        faults.append(suspicion)
        solution, seen = found, trial
    bonds: tuple[int, ...] = ()
    rivals: tuple[int, ...] = ()
    if solution.fit.chi_square > _GOOD_FIT and inner.any():
        sharp = Prior(maximum=_SPREAD, maxima=nominal.maximum)
        solution, bonds, rivals = _one_sided(model, solution, seen, inner, sharp)
    idle = [one.rows[0] for one in faults if len(one.rows) == 1]
    if solution.fit.chi_square < _NOT_ALONE:
        idle += [row for row in _idle(model, solution.fit, nominal) if row not in idle]
    pairs = [(one.rows[0], one.rows[1]) for one in faults if len(one.rows) == 2]
    shapes = None if seen.turns is None else seen.turns[:, known_turns:]
    if shapes is None or not shapes.size:
        return Diagnosis(solution, tuple(idle), tuple(pairs), bonds, rivals, seen)
    turn = shapes @ solution.fit.turns[known_turns:]
    return Diagnosis(solution, tuple(idle), tuple(pairs), bonds, rivals, seen, turn, shapes)


def with_drift(model: NetworkModel, diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis with errors that count the drift of shifters, where there is one."""
    drift = drifting(model, diagnosis.solution.fit, diagnosis.seen)
    if drift is None:
        return diagnosis
    return replace(diagnosis, solution=replace(diagnosis.solution, fit=drift.fit), drift=drift)


def _steadied(
    model: NetworkModel,
    solution: NetworkSolution,
    seen: Equilibria,
    crosstalk: _BoolArray,
) -> tuple[NetworkSolution, Equilibria]:
    """Fit a slow turn of all phases together along, where that is what does not fit.

    The turn is a broken line over the equilibria in the order in which they were taken. Faults
    of heaters make no smooth turn: it must explain nearly all.
    """
    if solution.fit.chi_square < _GOOD_FIT:
        return solution, seen
    slopes = crosstalk | np.eye(model.n_heaters, dtype=bool)
    free = Free(slopes, np.zeros(model.n_edges, dtype=bool))
    first = solution.fit
    for per_piece in _PER_PIECE:
        line = _broken_line(len(seen), per_piece)
        turns = line if seen.turns is None else np.hstack([seen.turns, line])
        turning = replace(seen, turns=turns)
        fit = fit_network(model, first.elements, first.detection, turning, free)
        if fit.chi_square - 1 > _FALL * (first.chi_square - 1):
            continue  # shifters that drift each by itself have a mean, too
        if fit.chi_square < max(_GOOD_FIT, _NEARLY_ALL * first.chi_square):
            return replace(solution, fit=fit, slopes=slopes, found_crosstalk=()), turning
    return solution, seen


def _broken_line(m: int, per_piece: int) -> FloatArray:
    """Return (m, k) straight pieces between knots, of mean zero.

    A constant turn is a gauge: inputs and fields turned by as much make up for it.
    """
    knots = np.linspace(0, m - 1, max(3, m // per_piece))
    place = np.arange(m)
    pieces = np.stack([np.interp(place, knots, one) for one in np.eye(len(knots))], axis=1)
    shapes: FloatArray = (pieces - pieces.mean(axis=0))[:, 1:]
    return shapes


def _suspicion(
    model: NetworkModel,
    nominal: Elements,
    detection: Detection,
    seen: Equilibria,
    half_waves: FloatArray,
    fit: NetworkFit,
    faults: list[Suspicion],
) -> Suspicion | None:
    """Return what to try next: a heater that was fitted without effect, or a suspect."""
    tried = {row for one in faults for row in one.rows}
    idle = [row for row in _idle(model, fit, nominal) if row not in tried]
    if idle and fit.chi_square < _NOT_ALONE:
        # The fit kept it a little alive, and its heat: without it the others fit better.
        return Suspicion((idle[0],), 0.0)
    if fit.chi_square > _BROKEN:
        return _likeliest(model, nominal, detection, seen, half_waves <= 1.0)
    return None


def _likeliest(
    model: NetworkModel,
    nominal: Elements,
    detection: Detection,
    seen: Equilibria,
    low: _BoolArray,
) -> Suspicion | None:
    """Return the suspicion under which a quick fit at low powers is by far the best one."""
    part = seen.pick(low)
    phases, _ = detection.phases(part.voltage_V)

    def quick(power_W: FloatArray) -> float:
        trial = replace(part, power_W=power_W)
        try:
            fit, _ = fit_from_nothing(model, nominal, detection, trial)
        except (FitError, np.linalg.LinAlgError):
            return np.inf
        return fit.chi_square

    now = quick(part.power_W)
    tried = [
        (quick(one.apply(part.power_W)), k, one)
        for k, one in enumerate(suspects(model, nominal, part.power_W, phases))
    ]
    if not tried:
        return None
    best, _, suspicion = min(tried, key=lambda one: one[:2])
    return suspicion if best < _FALL * now else None


def _one_sided(
    model: NetworkModel,
    solution: NetworkSolution,
    seen: Equilibria,
    inner: _BoolArray,
    sharp: Prior,
) -> tuple[NetworkSolution, tuple[int, ...], tuple[int, ...]]:
    """Fit J_ij/J_ji of the fewest bonds that explain the residuals, of all where few do not."""
    ratios, fit = np.zeros(model.n_edges, dtype=bool), solution.fit
    chosen: list[int] = []
    rivals: tuple[int, ...] = ()
    while fit.chi_square > _GOOD_FIT and len(chosen) < min(_MOST_BONDS, int(inner.sum())):
        asked = Free(solution.slopes, inner & ~ratios)
        gain = gain_of_ratios(model, fit, seen, asked, sharp)
        best = int(np.argmax(gain))
        if not chosen:
            best, rivals = _of_loop(model, solution, seen, gain, sharp)
        ratios[best] = True
        chosen.append(best)
        fit = fit_network(
            model, fit.elements, fit.detection, seen, Free(solution.slopes, ratios), prior=sharp
        )
    if fit.chi_square > _GOOD_FIT:
        every = fit_network(
            model, fit.elements, fit.detection, seen, Free(solution.slopes, inner), prior=sharp
        )
        if every.chi_square < _FALL * fit.chi_square:
            fit, ratios, rivals = every, inner, ()
    if fit.chi_square > _FALL * solution.fit.chi_square:
        return solution, (), ()
    bonds = tuple(int(edge) for edge in np.flatnonzero(ratios))
    return replace(solution, fit=fit), bonds, rivals


def _of_loop(
    model: NetworkModel,
    solution: NetworkSolution,
    seen: Equilibria,
    gain: FloatArray,
    sharp: Prior,
) -> tuple[int, tuple[int, ...]]:
    """Return the likeliest of the bonds that explain the residuals alike, and those not far off.

    They differ by how unequal the maxima around them must then be.
    """
    alike = np.argsort(-gain)[: int((gain > 0.9 * gain.max()).sum())][:_MOST_RIVALS]
    costs = []
    for edge in alike:
        ratios = np.arange(model.n_edges) == edge
        free = Free(solution.slopes, ratios)
        last = solution.fit
        fit = fit_network(model, last.elements, last.detection, seen, free, prior=sharp)
        costs.append(fit.history[-1])
    best = int(np.argmin(costs))
    near = [k for k in range(len(alike)) if k != best and costs[k] < costs[best] + _DOUBT]
    return int(alike[best]), tuple(int(alike[k]) for k in near)


def _idle(model: NetworkModel, fit: NetworkFit, nominal: Elements) -> list[int]:
    """Return heaters whose fitted phase hardly follows their power, or that make nothing."""
    share = np.diag(fit.elements.slope) / np.diag(nominal.slope)
    idle = model.seen & ~((share > 0.3) & (share < 3.0))
    weak = fit.elements.maximum < 0.05 * nominal.maximum
    idle[model.terms.strength[weak[model.terms.maximum]]] = True
    return [int(row) for row in np.flatnonzero(idle)]
