"""Pictures that any step gets: its figures with uncertainties, and what the fits leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.views.plots.canvas import INK, PALETTE, SIGNED_MAP, new_figure, styled, whole_ticks

from .layout import StoredStep
from .step import AnyArray, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figures_picture", "plain_figures", "plot_picture", "residuals_picture"]

COLUMNS = 3
DRAWN_BY_STEPS = {
    "resistance": ("resistance_ohm", "resistance_slope_per_W"),
    "readout": ("noise_averaged", "noise_scaling_V", "half_wave_power_W", "step_power_W"),
    "network": ("half_wave_power_W", "crosstalk", "resistance_ohm"),
    "sweeps": ("sweep_half_wave_power_W", "sweep_crosstalk", "sweep_phase"),
    "tomography": (
        "coupling_commanded",
        "coupling_forward",
        "coupling_reverse",
        "probed_index_each",
    ),
}
"""What steps show in pictures of their own, or an earlier step has shown."""
LARGEST_LIST = 400
"""Beyond that many elements single error bars are no longer seen."""


def plain_figures(step: StoredStep, *, own: bool = False) -> dict[str, AnyArray]:
    """Return the figures that say something as points or maps.

    Not single numbers, flags and row numbers, what is the same for all elements, and what has a
    picture of its own: they stand among the figures in numbers.

    Parameters
    ----------
    own
        Whether the step has drawn pictures of its own.
    """
    drawn = DRAWN_BY_STEPS.get(step.name, ()) if own else ()
    return {
        name: a
        for name, a in step.fit.figures.items()
        if _drawable(a) and name not in drawn and _differs(a)
    }


def figures_picture(
    step: StoredStep, nominal: RigCalibration | None = None, *, own: bool = False
) -> Figure:
    """Draw each figure of a step over its elements, with error bars of one standard error.

    Parameters
    ----------
    nominal
        Figures of the rig file: a thin line where all elements have the same.
    own
        As of `plain_figures`.
    """

    def draw(axes: Axes, name: str, values: AnyArray) -> None:
        error, label = step.fit.uncertainties.get(name), _label(name, step.fit.units)
        _figure_panel(axes, values, error, label)
        stated = np.unique(np.asarray(getattr(nominal, name, np.empty(0)), dtype=float))
        if stated.size == 1 and (values.ndim < 2 or min(values.shape) <= 2):
            axes.axhline(float(stated[0]), lw=0.7, color=INK, zorder=0)

    return _panels(plain_figures(step, own=own), draw)


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
        axes.set_xlabel("element")
        axes.set_ylabel("measurement")
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
    whole_ticks(axes.xaxis)
    whole_ticks(axes.yaxis)
    axes.figure.colorbar(image, ax=axes, fraction=0.05)
