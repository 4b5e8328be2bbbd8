"""Which channel is dead or swapped, where the equilibria do not fit the wiring.

The homogeneous linear balance of one node (`network_start`) needs no first guess, so it can be
asked under other hypotheses: that a heater does nothing, or that two channels are exchanged. The
smallest singular value, over columns of unit length, is the rms misfit of the node; the
hypothesis that lowers the misfits most is the likeliest. A full fit under it must confirm it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray

from .network_model import Elements, NetworkModel
from .network_start import node_columns

__all__ = ["Suspicion", "suspects"]


@final
@dataclass(frozen=True)
class Suspicion:
    """A hypothesis about the wiring.

    Attributes
    ----------
    rows
        One heater row that has no effect, or two that are exchanged.
    gain
        By how much it lowers the sum of log misfits of all nodes.
    """

    rows: tuple[int, ...]
    gain: float

    def apply(self, power_W: FloatArray) -> FloatArray:
        """Return the powers as the optics see them if the hypothesis holds."""
        seen = power_W.copy()
        if len(self.rows) == 1:
            seen[:, self.rows[0]] = 0.0
        else:
            seen[:, list(self.rows)] = power_W[:, list(self.rows[::-1])]
        return seen


def suspects(
    model: NetworkModel,
    nominal: Elements,
    power_W: FloatArray,
    phases: FloatArray,
    most: int = 5,
) -> list[Suspicion]:
    """Return the likeliest hypotheses: the best ones, and the best ones of a single heater.

    Parameters
    ----------
    model, nominal
        Structure, and slopes to within some 20 %.
    power_W, phases
        (m, n_heaters), (m, n_free) equilibria of low power, as for `start_elements`.
    most
        How many of either kind.
    """
    own = np.diag(nominal.slope)
    nodes = [np.unique(_nodes_of(model, row)) for row in range(model.n_heaters)]

    def misfit(node: int, power: FloatArray) -> float:
        field = node_columns(model, node, power * own, phases).imag
        length = np.linalg.norm(field, axis=0)
        # A heater without effect leaves columns of zeros: its products are not told apart.
        matrix = field[:, length > 0] / length[length > 0]
        least = np.linalg.eigvalsh(matrix.T @ matrix)[0]
        return 0.5 * float(np.log(max(least, 1e-30)))

    before = np.array([misfit(node, power_W) for node in range(model.n_free)])
    found = []
    hypotheses = [(row,) for row in range(model.n_heaters)]
    for rows in [*hypotheses, *combinations(range(model.n_heaters), 2)]:
        concerned = np.unique(np.concatenate([nodes[row] for row in rows]))
        if not len(concerned):
            continue
        one = Suspicion(tuple(rows), 0.0)
        power = one.apply(power_W)
        after = sum(misfit(int(node), power) for node in concerned)
        found.append(Suspicion(tuple(rows), float(before[concerned].sum() - after)))
    found.sort(key=lambda one: -one.gain)
    single = [one for one in found if len(one.rows) == 1]
    return [*found[:most], *(one for one in single[:most] if one not in found[:most])]


def _nodes_of(model: NetworkModel, row: int) -> FloatArray:
    terms = model.terms
    chosen: FloatArray = terms.node[(terms.strength == row) | (terms.angle == row)]
    return chosen
