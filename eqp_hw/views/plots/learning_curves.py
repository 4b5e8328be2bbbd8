"""Learning curves: cost, distance and accuracy over the epochs, and how clean the physics was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.views.columns import (
    COUNTS,
    Columns,
    floats,
    largest_per_epoch,
    sum_per_epoch,
)

from .canvas import FAINT, INK, PALETTE, add_note, new_figure, styled, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_curves"]

_PARTS = {"train": ("blue", "o", "-"), "validation": ("vermillion", "s", "--")}
_COUNT_STYLE = {
    "hops": ("orange", "o"),
    "halvings": ("sky", "v"),
    "restarts": ("purple", "^"),
    "excluded": ("vermillion", "X"),
    "unsettled": ("green", "D"),
}
_MARKED = 40  # points up to which each gets a marker


def learning_curves(
    epochs: Columns,
    steps: Columns,
    *,
    test_accuracy: float | None = None,
    selected_epoch: int | None = None,
) -> Figure:
    """Draw cost, distance C_sim and accuracy, and below them the health of the measurement.

    Parameters
    ----------
    epochs, steps
        Columns of `EpochRow` and `StepRow`. Before the first epoch is done, the steps are
        drawn instead.
    test_accuracy
        Drawn as a horizontal line.
    selected_epoch
        Epoch whose parameters were kept, drawn as a vertical line.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    by_epoch = len(epochs.get("epoch", ())) > 0
    with styled():
        figure = new_figure(10.5, 5.2)
        grid = figure.add_gridspec(2, 3, height_ratios=(1.75, 1.0))
        top = [figure.add_subplot(grid[0, k]) for k in range(3)]
        bottom = [figure.add_subplot(grid[1, k]) for k in range(3)]
        titles = ("Cost", "Distance to the targets", "Accuracy")
        labels = ("mean cost C", "C_sim = ½ Σ (1 − cos Δφ)", "share read out correctly")
        for axes, name, title, label in zip(
            top, ("cost", "distance", "accuracy"), titles, labels, strict=True
        ):
            _curves(axes, epochs if by_epoch else steps, name, by_epoch=by_epoch)
            axes.set(title=title, ylabel=label)
        _log_if_positive(top[1])
        _accuracy_axis(top[2], test_accuracy)
        for axes in top if by_epoch else ():
            if selected_epoch is not None:
                axes.axvline(selected_epoch, color=FAINT, lw=1.0, ls=(0, (1, 2)), zorder=0)
        if selected_epoch is not None and by_epoch:
            top[0].plot([], [], color=FAINT, lw=1.0, ls=(0, (1, 2)), label="parameters kept")
        _legend(top[0])
        for axes in top + bottom:
            axes.grid(visible=True)
            axes.set_xlabel("epoch" if by_epoch or axes in bottom else "step")
            whole_ticks(axes.xaxis)
            axes.margins(x=0.02)
        _counts(bottom[0], steps)
        _extremes(bottom[1], steps, "residual_max", "Largest residual", "max |∂F/∂φ|", log=True)
        _extremes(
            bottom[2],
            steps,
            "displacement_max",
            "Largest nudged shift",
            "max |Δφ| (rad)",
            log=False,
        )
    return figure


def _curves(axes: Axes, columns: Columns, name: str, *, by_epoch: bool) -> None:
    drawn = False
    for part, (colour, marker, line) in _PARTS.items():
        values = floats(columns, f"{part}_{name}" if by_epoch else name)
        where = np.isfinite(values)
        if (not by_epoch and part != "train") or not where.any():
            continue
        x = floats(columns, "epoch" if by_epoch else "step")
        few = where.sum() <= _MARKED
        axes.plot(
            x[where],
            values[where],
            color=PALETTE[colour],
            ls=line,
            marker=marker if few else None,
            ms=3.5,
            label="training" if part == "train" else part,
        )
        drawn = True
    if not drawn:
        add_note(axes, "nothing recorded yet")


def _log_if_positive(axes: Axes) -> None:
    """Decay over decades is a straight line on a logarithmic axis; zero has no place there."""
    values = _drawn(axes)
    if not len(values) or values.min() <= 0:
        return
    axes.set_yscale("log")
    ratio = values.max() / values.min()
    if ratio >= 100:
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: PLC0415

    # Less than two decades: numbers at 1, 2 and 5, else hardly any tick would carry one.
    room = 2.0 if ratio < 3 else 1.2
    axes.set_ylim(values.min() / room, values.max() * room)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _accuracy_axis(axes: Axes, test_accuracy: float | None) -> None:
    if test_accuracy is not None and np.isfinite(test_accuracy):
        axes.axhline(test_accuracy, color=PALETTE["green"], lw=1.2, ls="-.", zorder=1)
        axes.plot(
            [], [], color=PALETTE["green"], lw=1.2, ls="-.", label=f"test {test_accuracy:.3f}"
        )
        axes.legend(loc="lower right", handlelength=2.6)
    values = _drawn(axes)
    low = values.min() if len(values) else 0.0
    axes.set_ylim(-0.03 if low < 0.5 else 0.47, 1.03)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best", handlelength=2.6)


def _counts(axes: Axes, steps: Columns) -> None:
    axes.set(title="Trouble per epoch", ylabel="count")
    highest = 0.0
    for k, name in enumerate(COUNTS):
        epochs, sums = sum_per_epoch(steps, name)
        if not sums.any():
            continue
        colour, marker = _COUNT_STYLE[name]
        few = len(epochs) <= _MARKED
        axes.plot(
            epochs,
            sums,
            color=PALETTE[colour],
            lw=3.2 - 0.5 * k,  # equal counts stay visible below one another
            marker=marker if few else None,
            ms=6 - 0.7 * k,
            label=name,
        )
        highest = max(highest, float(sums.max()))
    if highest == 0:
        add_note(
            axes, "none: no hop, restart\nor unsettled sample" if len(steps) else "no step yet"
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_ylim(0, highest * 1.5)  # room for the legend
    whole_ticks(axes.yaxis)
    axes.legend(loc="upper left", ncols=3, handlelength=1.4, columnspacing=0.9)


def _extremes(axes: Axes, steps: Columns, name: str, title: str, label: str, *, log: bool) -> None:
    axes.set(title=title, ylabel=label)
    epochs, largest = largest_per_epoch(steps, name)
    where = np.isfinite(largest)
    if not where.any():
        add_note(axes, "not known" if len(epochs) else "no step yet")
        return
    few = where.sum() <= _MARKED
    axes.plot(epochs[where], largest[where], color=INK, lw=1.2, marker="o" if few else None, ms=3)
    if log:
        _log_if_positive(axes)
    else:
        axes.set_ylim(0, max(float(largest[where].max()) * 1.1, 1e-12))


def _drawn(axes: Axes) -> FloatArray:
    lines = [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.get_lines()]
    values = np.concatenate(lines) if lines else np.zeros(0)
    return values[np.isfinite(values)]
