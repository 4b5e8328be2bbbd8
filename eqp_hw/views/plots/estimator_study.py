"""Pictures of an estimator study: bias, error under noise, and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.study.result import Study, StudyRow

from .canvas import INK, PALETTE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bias_figure", "cost_figure", "noise_figure"]

_MARKERS = "osD^vPX*<>hp"
_LINES = ("-", "--", ":")


def bias_figure(study: Study) -> Figure:
    """Draw relative error against displacement with exact reads: the bias alone.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    with styled():
        figure = new_figure(7.2, 4.6)
        axes = figure.add_subplot()
        _curves(axes, study.at(0.0), _styles(study))
        axes.set_title("Bias")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def noise_figure(study: Study) -> Figure:
    """Draw relative error against displacement, one panel a read-out noise.

    The automatic choice is a cross.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    noises = [noise for noise in sorted({row.noise for row in study.rows}) if noise > 0]
    with styled():
        figure = new_figure(max(3.4 * len(noises), 4.0) + 1.6, 4.4)
        panels = figure.subplots(1, max(len(noises), 1), sharey=True, squeeze=False)[0]
        styles = _styles(study)
        for axes, noise in zip(panels, noises, strict=False):
            _curves(axes, study.at(noise), styles)
            axes.set_title(f"σ = {noise:g} rad, {study.reads} reads")
            for choice in study.choices:
                if choice.noise == noise:
                    axes.plot(
                        [choice.displacement],
                        [choice.error],
                        marker="+",
                        markersize=17,
                        markeredgewidth=2.4,
                        color=INK,
                        linestyle="none",
                        label="automatic choice",
                        zorder=5,
                    )
        for axes in panels[1:]:
            axes.set_ylabel("")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def cost_figure(study: Study) -> Figure:
    """Draw the states and the time that one estimate of each kind takes.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    rows = {row.estimator: row for row in study.rows if row.noise == study.rows[0].noise}
    names = list(rows)[::-1]
    with styled():
        figure = new_figure(8.6, 0.34 * len(names) + 1.3)
        left, right = figure.subplots(1, 2, sharey=True)
        left.barh(names, [rows[name].states for name in names], color=PALETTE["sky"])
        left.set_xlabel("states read")
        # The quickest of all measurements: what else the computer did is no cost of theirs.
        fastest = {
            name: min(row.seconds for row in study.rows if row.estimator == name) for name in names
        }
        milliseconds = [1e3 * fastest[name] / study.samples for name in names]
        right.barh(names, milliseconds, color=PALETTE["orange"])
        right.set_xscale("log")
        right.set_xlabel("time a sample on the emulator, ms")
        for axes in (left, right):
            axes.grid(visible=True, axis="x")
    return figure


def _styles(study: Study) -> dict[str, dict[str, object]]:
    names = list(dict.fromkeys(row.estimator for row in study.rows))
    colours = [*PALETTE.values(), INK]
    return {
        name: {
            "color": colours[k % len(colours)],
            "marker": _MARKERS[k % len(_MARKERS)],
            "linestyle": _LINES[k // len(colours) % len(_LINES)],
        }
        for k, name in enumerate(names)
    }


def _curves(axes: Axes, rows: list[StudyRow], styles: dict[str, dict[str, object]]) -> None:
    for name, style in styles.items():
        own = [row for row in rows if row.estimator == name]
        if own:
            shift = [row.displacement for row in own]
            error = np.maximum([row.error for row in own], 1e-16)
            axes.plot(shift, error, label=name, markersize=4.5, **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_yscale("log")
    shifts = sorted({row.displacement for row in rows})
    axes.set_xticks(shifts, [f"{shift:g}" for shift in shifts])
    axes.minorticks_off()
    axes.set_xlabel("largest phase shift |Δφ|, rad")
    axes.set_ylabel("relative error of the gradient, median")
    axes.grid(visible=True)
