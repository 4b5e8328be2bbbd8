"""One look for all figures, and their encoding; pyplot and its global state are not used."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eqp_hw.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "CHANGE_MAP",
    "FORMATS",
    "INK",
    "PALETTE",
    "PHASE_MAP",
    "RESPONSE_MAP",
    "SIGNED_MAP",
    "add_note",
    "encode",
    "new_figure",
    "styled",
    "whole_ticks",
]

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito's colours, told apart with every common colour blindness.
PALETTE = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
}
INK = "#22252a"
FAINT = "#8a9099"

SIGNED_MAP = "RdBu_r"
CHANGE_MAP = "magma_r"
RESPONSE_MAP = "viridis"
PHASE_MAP = "twilight"

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "grid.color": "#dfe2e6",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "figure.dpi": 100.0,
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
    "svg.hashsalt": "eqp_hw",  # equal data give equal bytes
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
# The user's own settings of these families would change what the figures say or need.
_FAMILIES = (
    *("axes.", "axes3d.", "figure.", "font.", "grid.", "image.", "legend.", "lines."),
    *("mathtext.", "patch.", "path.", "pdf.", "savefig.", "scatter.", "svg.", "text."),
    *("xaxis.", "xtick.", "yaxis.", "ytick."),
)


@contextmanager
def styled() -> Iterator[None]:
    """Apply the look of all figures, whatever the user's matplotlibrc says.

    Raises
    ------
    UnavailableError
        matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 (an extra)
    except ImportError:
        raise UnavailableError("pictures need matplotlib: pip install 'eqp_hw[plots]'") from None
    settings: dict[Any, Any] = {
        key: value
        for key, value in mpl.rcParamsDefault.items()
        if key.startswith(_FAMILIES) and key != "savefig.directory"
    }
    settings.update(_STYLE)
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float, gap: float = 0.02) -> Figure:
    """Return an empty figure whose parts keep clear of each other.

    Parameters
    ----------
    width, height
        Inches.
    gap
        Space between columns of panels, as a share of their width.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=gap))


def whole_ticks(axis: Axis, most: int = 9) -> None:
    """Put ticks of an axis at whole numbers only, ``most`` intervals at most."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True))


def add_note(axes: Axes, text: str) -> None:
    """Write ``text`` in the middle of empty axes."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT, wrap=True
    )


def encode(figure: Figure, file_format: str, dpi: float = 144.0) -> bytes:
    """Return the file content of a figure; figures made alike give the same bytes.

    Raises
    ------
    ConfigurationError
        ``file_format`` is not one of `FORMATS`.
    """
    if file_format not in FORMATS:
        raise ConfigurationError(
            "cannot be written", field="format", value=file_format, allowed=", ".join(FORMATS)
        )
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format)
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=file_format, dpi=dpi, metadata=undated)
    return buffer.getvalue()
