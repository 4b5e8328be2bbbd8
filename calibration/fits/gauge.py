"""What no equilibrium can tell apart: equivalent sets of elements.

All of them drive the free phases alike, whatever is commanded. A comparison of two sets, as of a
fit with a truth or with last week's fit, is one of their representatives in the same gauge.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .network_model import Elements, NetworkModel

__all__ = ["in_gauge"]


def in_gauge(elements: Elements, other: Elements, model: NetworkModel) -> Elements:
    """Return the equivalent of ``elements`` that is nearest to ``other``.

    Equivalent are: all maxima times one factor; an input turned by π with all couplers of its
    bonds; an injection's phase turned by π with its amplitude by 2π; any phase by its period.
    """
    terms, offset = model.terms, elements.offset.copy()
    rows = model.rows
    for row in range(rows["inputs"].start, rows["inputs"].stop):
        if np.cos(offset[row] - other.offset[row]) < 0:
            offset[row] += np.pi
            couplers = np.unique(terms.strength[(terms.angle == row) & ~terms.injected])
            offset[couplers] += np.pi
    amplitude = np.zeros(model.n_heaters, dtype=bool)
    for kind in ("bias", "nudge"):
        strengths, angles = rows[f"{kind}_amplitude"], rows[f"{kind}_phase"]
        amplitude[strengths] = True
        turned = np.cos(offset[angles] - other.offset[angles]) < 0
        offset[angles] += np.pi * turned
        offset[strengths] += 2 * np.pi * turned
    period = np.where(amplitude, 4 * np.pi, 2 * np.pi)
    offset -= period * np.round((offset - other.offset) / period)
    known = model.seen_maxima
    scale = np.exp(np.mean(np.log(other.maximum[known] / elements.maximum[known])))
    return replace(elements, offset=offset, maximum=scale * elements.maximum)
