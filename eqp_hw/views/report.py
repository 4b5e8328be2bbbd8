"""One self-contained HTML page about a run: no link, no script, light and dark."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eqp_hw import __version__
from eqp_hw.errors import RecordError, UnavailableError
from eqp_hw.records.reader import RunData, read_run

from .columns import COUNTS, floats
from .figures import RunFigure, run_figures
from .plots.canvas import encode
from .summary import summary

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render_report", "write_report"]

_LARGEST_SVG = 500_000  # bytes; beyond, a picture of pixels is smaller and quicker to show
_DPI = 150.0
_HEAD_ROWS, _TAIL_ROWS = 3, 12
_MARK = b'<meta name="generator" content="eqp_hw '

_EPOCH_COLUMNS = {
    "epoch": ("epoch", "d"),
    "train_cost": ("cost", ".4g"),
    "train_distance": ("distance", ".4g"),
    "train_accuracy": ("accuracy", ".3f"),
    "validation_distance": ("val. distance", ".4g"),
    "validation_accuracy": ("val. accuracy", ".3f"),
    "hops": ("hops", "d"),
    "excluded": ("excluded", "d"),
    "learning_rate": ("learning rate", ".3g"),
    "duration_s": ("seconds", ".2f"),
}
_PHASE_NAMES = {
    "free": "free phase (settling from random starts)",
    "nudged": "nudged phases",
    "update": "gradient, optimiser and programming",
    "record": "records and checkpoints",
    "evaluation": "validation and the rest",
}


def write_report(run: RunData | str | Path, path: str | Path) -> Path:
    """Write the report of a run as one HTML file.

    Parameters
    ----------
    run
        A run file, or what `read_run` returned; the run may be unfinished, or empty.
    path
        The file. It appears complete or not at all. An older report is replaced, any other
        existing file is not.

    Returns
    -------
    The path.

    Raises
    ------
    UnavailableError
        matplotlib or jinja2 is not installed.
    RecordError
        The run file cannot be read; or the page cannot be written, or would replace a file
        that is not a report.
    """
    target = Path(path)
    _refuse_other_file(target)
    data = run if isinstance(run, RunData) else read_run(run)
    page = render_report(data).encode()
    try:
        _replace(target, page)
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"{target}: the report cannot be written: {reason}") from error
    return target


def render_report(run: RunData) -> str:
    """Return the report as HTML; errors as in `write_report`."""
    template = _template()
    facts = summary(run)
    return template.render(
        version=__version__,
        style=_resource("report.css"),
        facts=facts,
        subtitle=_subtitle(run, facts),
        tiles=_tiles(facts),
        figures=[_embedded(figure) for figure in run_figures(run)],
        epochs=_epoch_table(run),
        work=_work(facts) if facts["steps"] else [],
        counts=[
            {"name": name, "count": facts["counts"][name], "meaning": meaning}
            for name, meaning in COUNTS.items()
        ],
        result=[] if run.result is None else _rows(run.result.summary),
        provenance=_provenance(run, facts),
        experiment=run.experiment,
        resolved=json.dumps(run.resolved, indent=2, ensure_ascii=False, default=str),
    )


def _template() -> Template:
    try:
        import jinja2  # noqa: PLC0415 (an extra)
    except ImportError:
        raise UnavailableError("the report needs jinja2: pip install 'eqp_hw[plots]'") from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.from_string(_resource("report.html.j2"))


def _resource(name: str) -> str:
    return resources.files(__package__ or __name__).joinpath(name).read_text(encoding="utf-8")


def _embedded(figure: RunFigure) -> dict[str, Any]:
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


def _subtitle(run: RunData, facts: Mapping[str, Any]) -> str:
    state = "Finished run" if run.finished else "Unfinished run"
    started = f", started {facts['started']}" if facts["started"] else ""
    return (
        f"{state} on {facts['network']} ({facts['nodes']} nodes, {facts['bonds']} bonds, "
        f"{facts['couplings']} couplings){started}."
    )


def _tiles(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    best = facts["best_validation_accuracy"]
    best_label = "best validation accuracy"
    if best is not None:
        best_label += f", epoch {facts['best_validation_epoch']}"
    values = [
        ("test accuracy", _cell(facts["test_accuracy"], ".3f")),
        (best_label, _cell(best, ".3f")),
        ("training accuracy", _cell(facts["train_accuracy"], ".3f")),
        ("training distance C_sim", _cell(facts["train_distance"], ".3g")),
        ("training cost", _cell(facts["train_cost"], ".3g")),
        (f"epochs, {facts['steps']} steps", str(facts["epochs"])),
        ("time", _duration(facts["seconds"])),
    ]
    return [{"label": label, "value": value} for label, value in values]


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cell(value: Any, form: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return "–"
    return f"{int(value):d}" if form == "d" else f"{value:{form}}"


def _epoch_table(run: RunData) -> dict[str, Any]:
    n = len(run.epochs.get("epoch", ()))
    shown = list(range(n))
    if n > _HEAD_ROWS + _TAIL_ROWS + 1:
        shown = [*range(_HEAD_ROWS), *range(n - _TAIL_ROWS, n)]
    kept = None if run.result is None else run.result.summary.get("selected_epoch")
    names = [name for name in _EPOCH_COLUMNS if name in run.epochs]
    rows = [
        {
            "cells": [_cell(run.epochs[name][k].item(), _EPOCH_COLUMNS[name][1]) for name in names],
            "kept": bool(kept is not None and run.epochs["epoch"][k] == kept),
        }
        for k in shown
    ]
    return {
        "header": [_EPOCH_COLUMNS[name][0] for name in names],
        "rows": rows,
        "omitted": n - len(shown),
        "any_kept": any(row["kept"] for row in rows),
    }


def _work(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    phases = facts["seconds_by_phase"]
    total = sum(phases.values()) or 1.0
    longest = max(phases.values()) or 1.0
    return [
        {
            "name": _PHASE_NAMES[name],
            "seconds": f"{seconds:.2f}",
            "share": f"{seconds / total:.0%}",
            "width": f"{100 * seconds / longest:.1f}",
        }
        for name, seconds in phases.items()
    ]


def _provenance(run: RunData, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("run file", facts["run_file"]), ("run id", run.run_id)]
    rows += _rows(run.provenance)
    steps = floats(run.steps, "residual_max")
    if len(steps):
        rows.append(("largest residual |∂F/∂φ|", _cell(facts["residual_max"], ".2e")))
        rows.append(("largest nudged shift", _cell(facts["displacement_max"], ".3g") + " rad"))
    rows += [
        (f"continued ({k + 1})", _text({key: entry.get(key) for key in ("started", "eqp_hw")}))
        for k, entry in enumerate(run.resumes)
    ]
    return rows


def _rows(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(key).replace("_", " "), _text(value)) for key, value in table.items()]


def _text(value: Any) -> str:
    if value is None or value == {}:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        separator = " " if all(isinstance(item, str) for item in value) else ", "
        text = separator.join(_text(item) for item in value)
        return text if len(text) <= 400 else text[:399] + "…"
    return str(value)


def _refuse_other_file(path: Path) -> None:
    """Keep what a slip of the keyboard would cost: a run file, a thesis chapter."""
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
