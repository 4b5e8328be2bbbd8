"""From random drives to all elements of a network, without a first guess: the stages of the fit.

1. Drives of up to about one half-wave power: offsets and maxima by linear algebra
   (`start_elements`), at the slopes of the data sheet.
2. The same drives, local-field angles, own slopes fitted along.
3. Drives of up to twice that, then all of them: what a slope's error turns a phase by grows with
   the power, so each stage keeps the next one within reach. Crosstalk is fitted along.
4. All drives, predicted phases, detectors fitted along: the figures and their covariance.
5. Crosstalk that is not thought of shows in the residuals: significant entries are added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray

from .crosstalk import missing_crosstalk
from .ellipse import Detection
from .network_equations import Equilibria, Free, Prior
from .network_fit import NetworkFit, fit_network
from .network_model import Elements, NetworkModel
from .network_start import start_elements

__all__ = ["NetworkSolution", "fit_from_nothing", "solve_network"]

_BoolArray = npt.NDArray[np.bool_]
_ROUNDS = 8
_ROUNDS_OF_START = 5
_WORTH_MORE = 0.7
_POOR = 2.0
_WORTH_KEEPING = 0.5


@final
@dataclass(frozen=True, eq=False)
class NetworkSolution:
    """A fitted network and how it was found.

    Attributes
    ----------
    fit
        The last stage.
    slopes
        (n_heaters, n_heaters) bool: slopes that were fitted.
    quality
        (n_free,) of the linear start.
    found_crosstalk
        Pairs (heater, source) added in the fifth stage.
    """

    fit: NetworkFit
    slopes: _BoolArray
    quality: FloatArray
    found_crosstalk: tuple[tuple[int, int], ...]


def fit_from_nothing(
    model: NetworkModel,
    nominal: Elements,
    detection: Detection,
    low: Equilibria,
    *,
    ratios: _BoolArray | None = None,
    prior: Prior | None = None,
) -> tuple[NetworkFit, FloatArray]:
    """Return a first fit to equilibria of low power, and the quality of its linear start.

    The better the slopes, the better the linear start: both are repeated in turn as long as
    that helps.

    Raises
    ------
    FitError
        The equilibria do not determine the elements.
    """
    own = Free(
        np.eye(model.n_heaters, dtype=bool),
        np.zeros(model.n_edges, dtype=bool) if ratios is None else ratios,
        detection=False,
    )
    phases, _ = detection.phases(low.voltage_V)
    rough, best, quality = nominal, None, np.ones(model.n_free)
    for _ in range(_ROUNDS_OF_START):
        start, quality = start_elements(model, rough, low.power_W, phases)
        fit = fit_network(model, start, detection, low, own, prior=prior, local=True, steps=15)
        if best is not None and fit.chi_square > _WORTH_MORE * best.chi_square:
            if fit.chi_square < best.chi_square:
                best = fit
            break
        best = fit
        # Offsets stay those of the data sheet: they only choose among equivalent ones.
        rough = replace(fit.elements, offset=nominal.offset)
    assert best is not None
    return best, quality


def solve_network(
    model: NetworkModel,
    nominal: Elements,
    detection: Detection,
    seen: Equilibria,
    half_waves: FloatArray,
    crosstalk: _BoolArray,
    *,
    ratios: _BoolArray | None = None,
    prior: Prior | None = None,
) -> NetworkSolution:
    """Fit all elements.

    Parameters
    ----------
    model
        Structure.
    nominal
        Slopes to within some 20 %, maxima that fix the scale; offsets only choose among
        equivalent ones.
    detection
        From the ellipses.
    seen
        Equilibria.
    half_waves
        (m,) how far each drive went, in nominal half-wave powers.
    crosstalk
        (n_heaters, n_heaters) entries to be fitted from the beginning.
    ratios
        (n_edges,) ln(J_ij/J_ji) to be fitted, none where left out.

    Raises
    ------
    FitError
        The equilibria do not determine the elements.
    """
    none = np.zeros(model.n_edges, dtype=bool)
    ratios = none if ratios is None else ratios
    own = np.eye(model.n_heaters, dtype=bool)
    low, middle = half_waves <= 1.0, half_waves <= 2.0
    first, quality = fit_from_nothing(
        model, nominal, detection, seen.pick(low), ratios=ratios, prior=prior
    )
    elements = first.elements

    def stage(chosen: _BoolArray, slopes: _BoolArray, steps: int) -> Elements:
        free = Free(slopes, ratios, detection=False)
        part = seen.pick(chosen)
        return fit_network(
            model, elements, detection, part, free, prior=prior, local=True, steps=steps
        ).elements

    elements = stage(middle, own, 12)
    elements = stage(np.ones(len(seen), dtype=bool), own | crosstalk, 20)
    slopes = own | crosstalk
    added: list[tuple[int, int]] = []
    fit = fit_network(model, elements, detection, seen, Free(slopes, ratios), prior=prior)
    for _ in range(_ROUNDS):
        more = missing_crosstalk(model, fit, seen, slopes)
        if not more:
            break
        wider = slopes.copy()
        wider[tuple(np.array(more).T)] = True
        found = fit_network(
            model, fit.elements, fit.detection, seen, Free(wider, ratios), prior=prior
        )
        if fit.chi_square > _POOR and found.chi_square > _WORTH_KEEPING * fit.chi_square:
            break  # something else does not fit: crosstalk is not to blame
        fit, slopes, added = found, wider, added + more
    idle = _insignificant(fit, added)
    if idle:
        for pair in idle:
            slopes[pair] = False
            fit.elements.slope[pair] = 0.0
        added = [pair for pair in added if pair not in idle]
        fit = fit_network(
            model, fit.elements, fit.detection, seen, Free(slopes, ratios), prior=prior
        )
    return NetworkSolution(fit, slopes, quality, tuple(added))


def _insignificant(fit: NetworkFit, added: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those added entries that the others have made superfluous."""
    deviation = np.sqrt(np.diag(fit.covariance))[fit.layout["slope"]]
    place = {(int(h), int(j)): k for k, (h, j) in enumerate(fit.rows["slope"])}
    return [pair for pair in added if abs(fit.elements.slope[pair]) < 4 * deviation[place[pair]]]
