"""Crosstalk: which entries to expect, and which show beside them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import Rig

from .network_equations import Equilibria
from .network_fit import NetworkFit, slope_scores
from .network_model import NetworkModel

__all__ = ["expected_crosstalk", "missing_crosstalk"]

_BoolArray = npt.NDArray[np.bool_]
_SIGNIFICANT = 5.0
_OF_STRONGEST = 0.4
_MOST = 40


def expected_crosstalk(rig: Rig, reach: int | None = None) -> _BoolArray:
    """Return (n_heaters, n_heaters) which neighbours are taken to heat which shifter.

    Parameters
    ----------
    reach
        Distance in channel numbers of one instrument; as far as the rig file's nominal crosstalk
        where left out, at least two. What reaches farther is found by its residuals.
    """
    if reach is None:
        reach = max(2, len(rig.settings.calibration.crosstalk))
    heaters = rig.wiring.heaters
    number = np.array([channel.number for channel in heaters])
    owner = np.array([channel.instrument for channel in heaters], dtype=object)
    apart = np.abs(number[:, None] - number[None, :])
    near: _BoolArray = np.asarray((owner[:, None] == owner[None, :]) & (apart <= reach))
    return near & ~np.eye(len(heaters), dtype=bool)


def missing_crosstalk(
    model: NetworkModel, fit: NetworkFit, seen: Equilibria, fitted: _BoolArray
) -> list[tuple[int, int]]:
    """Return pairs (heater, source) whose crosstalk shows in the residuals of a fit without it.

    A score test: the residuals' projection on what each absent slope would add, in standard
    deviations. At most the strongest few; fit with them, then ask again.
    """
    along, square = slope_scores(model, fit, seen)
    power = seen.power_W - seen.power_W.mean(axis=0)
    score: FloatArray = along.T @ power
    variance = fit.chi_square * (square.T @ power**2)
    z = np.where(variance > 0, np.abs(score) / np.sqrt(np.maximum(variance, 1e-300)), 0.0)
    z[fitted | ~model.seen[:, None]] = 0.0
    strongest = np.argsort(z, axis=None)[::-1][:_MOST]
    pairs = [divmod(int(k), model.n_heaters) for k in strongest]
    # A strong one makes others, which share its nodes, look significant: those wait their turn.
    least = max(_SIGNIFICANT, _OF_STRONGEST * float(z.max(initial=0.0)))
    return [pair for pair in pairs if z[pair] > least]
