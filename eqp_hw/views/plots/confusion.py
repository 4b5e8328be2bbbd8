"""The confusion matrix: counts, coloured by the share of each true class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .canvas import INK, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]

_MOST_LABELS = 30  # classes up to which each cell carries its count


def confusion_matrix(counts: npt.NDArray[Any], class_names: Sequence[str] | None = None) -> Figure:
    """Draw a confusion matrix.

    Parameters
    ----------
    counts
        (K, K) counts; rows: true class, columns: class read out.
    class_names
        K names; numbers by default.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    table = np.asarray(counts)
    k = len(table)
    names = [str(i) for i in range(k)] if class_names is None else [str(n) for n in class_names]
    names = [name if len(name) <= 18 else name[:17] + "…" for name in names]
    totals = table.sum(axis=1, keepdims=True)
    share = np.divide(table, totals, out=np.zeros(table.shape), where=totals > 0)
    with styled():
        side = float(np.clip(2.6 + 0.42 * k, 3.4, 8.0))
        figure = new_figure(side + 1.1, side)
        axes = figure.add_subplot()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if k <= _MOST_LABELS:
            size = float(np.clip(12 - 0.28 * k, 5, 11))
            for row in range(k):
                for column in range(k):
                    if table[row, column]:
                        axes.text(
                            column,
                            row,
                            f"{table[row, column]:d}",
                            ha="center",
                            va="center",
                            fontsize=size,
                            color="white" if share[row, column] > 0.55 else INK,
                            parse_math=False,
                        )
            slanted = max(map(len, names)) > 3
            axes.set_xticks(
                range(k),
                names,
                rotation=40 if slanted else 0,
                ha="right" if slanted else "center",
                rotation_mode="anchor" if slanted else "default",
                parse_math=False,
            )
            axes.set_yticks(range(k), names, parse_math=False)
        right = int(np.trace(table))
        axes.set(xlabel="class read out", ylabel="true class")
        axes.set_title(f"Confusion: {right} of {int(table.sum())} correct")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.grid(visible=True, which="minor", color="white", lw=1.5 if k <= _MOST_LABELS else 0.3)
        axes.tick_params(which="minor", length=0)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03)
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
    return figure
