"""Pictures of gradient fidelity: EP against its references, and cosines by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.study.fidelity_result import DIFFERENCES, EMULATOR, Fidelity, FidelityPoint

from .canvas import INK, PALETTE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["agreement_figure", "cosine_figure"]

_MARKERS = "os^Dv"


def agreement_figure(found: Fidelity) -> Figure:
    """Draw every component of the EP gradient against finite differences and the emulator.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    with styled():
        figure = new_figure(9.0, 4.4)
        left, right = figure.subplots(1, 2)
        _scatter(left, found, DIFFERENCES)
        _scatter(right, found, EMULATOR)
        left.legend(loc="upper left")
    return figure


def cosine_figure(found: Fidelity) -> Figure:
    """Draw cosine and norm ratio of each group, with their errors.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    groups = list(dict.fromkeys(row.group for row in found.rows))[::-1]
    with styled():
        figure = new_figure(8.6, 0.55 * len(groups) + 1.4)
        left, right = figure.subplots(1, 2, sharey=True)
        for offset, colour, reference in (
            (0.15, PALETTE["sky"], DIFFERENCES),
            (-0.15, PALETTE["orange"], EMULATOR),
        ):
            rows = [row for row in found.rows if row.reference == reference]
            if not rows:
                continue
            y = np.array([groups.index(row.group) + offset for row in rows])
            style = {"fmt": "o", "color": colour, "label": reference, "capsize": 2.0}
            for axes, name in ((left, "cosine"), (right, "ratio")):
                axes.errorbar(
                    [getattr(row, name) for row in rows],
                    y,
                    xerr=[getattr(row, f"{name}_error") for row in rows],
                    **style,
                )
            left.plot([row.ceiling for row in rows], y, "|", color=INK, markersize=11)
        left.set_yticks(range(len(groups)), groups)
        left.set_xlabel("cosine")
        right.set_xlabel("norm ratio |EP|/|reference|")
        right.axvline(1.0, color=INK, linewidth=0.8, zorder=0)
        right.legend(loc="best")
        for axes in (left, right):
            axes.grid(visible=True, axis="x")
    return figure


def _scatter(axes: Axes, found: Fidelity, reference: str) -> None:
    own = reference == DIFFERENCES

    def value(one: FidelityPoint) -> float:
        return one.differences if own else one.emulator

    points = [one for one in found.points if np.isfinite(value(one))]
    groups = list(dict.fromkeys(one.group for one in found.points))
    largest = max((abs(v) for one in points for v in (one.ep, value(one))), default=1.0)
    axes.plot([-largest, largest], [-largest, largest], color=INK, linewidth=0.8, zorder=0)
    for k, group in enumerate(groups):
        here = [one for one in points if one.group == group]
        if not here:
            continue
        axes.errorbar(
            [value(one) for one in here],
            [one.ep for one in here],
            xerr=[np.nan_to_num(one.differences_error) if own else 0.0 for one in here],
            yerr=[np.nan_to_num(one.ep_error) for one in here],
            fmt=_MARKERS[k % len(_MARKERS)],
            markersize=4.0,
            elinewidth=0.7,
            color=list(PALETTE.values())[k % len(PALETTE)],
            label=group,
        )
    axes.set_xlabel(f"dC/dθ, {reference}")
    axes.set_ylabel("dC/dθ, EP")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(visible=True)
