"""Self-contained HTML pages: template, embedded figures, and writing them safely."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from eqp_hw.errors import RecordError, UnavailableError

from .plots.canvas import encode

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

__all__ = [
    "PageFigure",
    "cell",
    "embedded",
    "page_style",
    "page_template",
    "refuse_other_file",
    "write_page",
]

_LARGEST_SVG = 500_000  # bytes; beyond, a picture of pixels is smaller and quicker to show
_DPI = 150.0
_MARK = b'<meta name="generator" content="eqp_hw '


@final
@dataclass(frozen=True)
class PageFigure:
    """A figure of a page.

    Attributes
    ----------
    name
        Short name, usable as a file name.
    title
        What is shown.
    caption
        How to read it.
    draw
        Makes the figure.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def page_template(name: str) -> Template:
    """Return a template that lies beside this file.

    Raises
    ------
    UnavailableError
        jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415 (an extra)
    except ImportError:
        raise UnavailableError("the report needs jinja2: pip install 'eqp_hw[plots]'") from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.from_string(_resource(name))


def page_style() -> str:
    """Return the style sheet of all pages."""
    return _resource("report.css")


def embedded(figure: PageFigure) -> dict[str, Any]:
    """Draw a figure and return what a template needs to embed it: SVG, or PNG where smaller."""
    drawn = figure.draw()
    width, height = (float(side) for side in drawn.get_size_inches())
    data, media = encode(drawn, "svg", _DPI), "image/svg+xml"
    if len(data) > _LARGEST_SVG:
        data, media = encode(drawn, "png", _DPI), "image/png"
        # Constrained layout may round; the page should know the true size.
        pixels = struct.unpack(">II", data[16:24])
        width, height = (side / _DPI for side in pixels)
    return {
        "title": figure.title,
        "caption": figure.caption,
        "media": media,
        "data": base64.b64encode(data).decode("ascii"),
        "width": round(96 * width),
        "height": round(96 * height),
        "wide": width > 8,
    }


def write_page(path: Path, page: str) -> Path:
    """Write a page; it appears complete or not at all.

    Raises
    ------
    RecordError
        It cannot be written.
    """
    try:
        _replace(path, page.encode())
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"{path}: the report cannot be written: {reason}") from error
    return path


def cell(value: Any, form: str) -> str:
    """Return a number for a table, a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return "–"
    return f"{int(value):d}" if form == "d" else f"{value:{form}}"


def refuse_other_file(path: Path) -> None:
    """Keep what a slip of the keyboard would cost: a run file, a thesis chapter.

    Raises
    ------
    RecordError
        There is a file that is no page of ours.
    """
    if path.is_dir():
        raise RecordError(f"{path}: a folder; the name of an HTML file is needed")
    try:
        if not path.exists() or path.stat().st_size == 0:
            return
        with path.open("rb") as file:
            ours = _MARK in file.read(2000)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not ours:
        raise RecordError(
            f"{path}: a file of this name exists, is not a report of eqp_hw, and is not replaced"
        )


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _resource(name: str) -> str:
    return resources.files(__package__ or __name__).joinpath(name).read_text(encoding="utf-8")
