"""Pictures that any step gets: its figures with uncertainties, and what the fits leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from eqp_hw.views.plots.canvas import INK, PALETTE, SIGNED_MAP, new_figure, styled, whole_ticks

from .layout import StoredStep
from .step import AnyArray, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figures_picture", "plain_figures", "plot_picture", "residuals_picture"]

COLUMNS = 3
DRAWN_BY_STEPS = ("noise_averaged", "noise_scaling_V", "coupling_commanded", "sweep_phase")
LARGEST_LIST = 400
"""Beyond that many elements single error bars are no longer seen."""


def plain_figures(step: StoredStep) -> dict[str, AnyArray]:
    """Return the figures that say something as points or maps.

    Not single numbers, flags and row numbers, what is the same for all elements, and what has a
    picture of its own: they stand among the figures in numbers.
    """
    return {
        name: a
        for name, a in step.fit.figures.items()
        if _drawable(a) and name not in DRAWN_BY_STEPS and _differs(a)
    }


def figures_picture(step: StoredStep) -> Figure:
    """Draw each figure of a step over its elements, with error bars of one standard error."""
    return _panels(
        plain_figures(step),
        lambda axes, name, values: _figure_panel(
            axes, values, step.fit.uncertainties.get(name), _label(name, step.fit.units)
        ),
    )


def residuals_picture(step: StoredStep) -> Figure:
    """Draw each residual of a step: over its elements, or as a map where it has two indices."""
    chosen = {name: a for name, a in step.fit.residuals.items() if _drawable(a)}
    return _panels(
        chosen,
        lambda axes, name, values: _residual_panel(axes, values, _label(name, step.fit.units)),
    )


def plot_picture(plot: Plot) -> Figure:
    """Draw a step's own picture."""
    with styled():
        figure = new_figure(7.2, 4.2)
        plot.draw(figure.add_subplot())
    return figure


def _differs(values: AnyArray) -> bool:
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return False
    known = array[np.isfinite(array)]
    return known.size > 0 and bool((known != known[0]).any() or array.size == 1)


def _drawable(values: AnyArray) -> bool:
    array = np.asarray(values)
    return array.ndim >= 1 and array.size > 0 and array.dtype.kind in "biuf"


def _label(name: str, units: Mapping[str, str]) -> str:
    unit = units.get(name, "")
    if name.endswith(f"_{unit}"):
        return name
    return f"{name} [{unit}]" if unit else name


def _panels(arrays: Mapping[str, AnyArray], draw: Callable[[Axes, str, AnyArray], None]) -> Figure:
    n = len(arrays)
    columns = min(COLUMNS, n)
    rows = -(-n // columns)
    with styled():
        figure = new_figure(3.6 * columns + 0.4, 2.7 * rows)
        grid: list[Any] = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for axes, (name, values) in zip(grid, arrays.items(), strict=False):
            draw(axes, name, np.asarray(values, dtype=float))
        for axes in grid[n:]:
            axes.set_axis_off()
    return figure


def _figure_panel(axes: Axes, values: AnyArray, uncertainty: AnyArray | None, label: str) -> None:
    axes.set_title(label)
    if values.ndim >= 2 and min(values.shape) > 2:
        off = values.reshape(values.shape[0], -1).copy()
        if off.shape[0] == off.shape[1]:
            np.fill_diagonal(off, np.nan)  # a unit diagonal would hide all the rest
        _map(axes, off)
        return
    rows = values.reshape(1, -1) if values.ndim == 1 else values.reshape(len(values), -1)
    errors = None if uncertainty is None else np.asarray(uncertainty, float).reshape(rows.shape)
    for row, colour in zip(range(len(rows)), PALETTE.values(), strict=False):
        at = np.arange(rows.shape[1])
        if errors is not None and rows.shape[1] <= LARGEST_LIST:
            axes.errorbar(at, rows[row], yerr=errors[row], fmt=".", ms=3, lw=0.8, color=colour)
        else:
            axes.plot(at, rows[row], ".", ms=3, color=colour)
    if len(rows) > 1:
        quadratures = len(rows) == 2 and label.startswith("readout_")
        words = (
            ["in-phase", "quadrature"] if quadratures else [f"row {k}" for k in range(len(rows))]
        )
        axes.legend(words[: len(PALETTE)])
    axes.set_xlabel("element")
    whole_ticks(axes.xaxis)


def _residual_panel(axes: Axes, values: AnyArray, label: str) -> None:
    known = values[np.isfinite(values)]
    rms = float(np.sqrt((known**2).mean())) if known.size else float("nan")
    axes.set_title(f"{label}, rms {rms:.2g}")
    if values.ndim >= 2 and min(values.shape) > 2:
        _map(axes, values.reshape(values.shape[0], -1))
        return
    flat = values.ravel()
    axes.plot(np.arange(flat.size), flat, ".", ms=2, color=PALETTE["blue"])
    axes.axhline(0.0, lw=0.7, color=INK)
    axes.set_xlabel("element")
    whole_ticks(axes.xaxis)


def _map(axes: Axes, values: AnyArray) -> None:
    known = np.abs(values[np.isfinite(values)])
    most = float(known.max(initial=0.0)) or 1.0
    image = axes.imshow(
        values, cmap=SIGNED_MAP, vmin=-most, vmax=most, aspect="auto", interpolation="nearest"
    )
    axes.figure.colorbar(image, ax=axes, fraction=0.05)
