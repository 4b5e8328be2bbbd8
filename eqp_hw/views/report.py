"""One self-contained HTML page about a run: no link, no script, light and dark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqp_hw import __version__
from eqp_hw.records.reader import RunData, read_run

from .columns import COUNTS, floats
from .figures import run_figures
from .page import cell, embedded, page_style, page_template, refuse_other_file, write_page
from .summary import summary

__all__ = ["render_report", "write_report"]

_HEAD_ROWS, _TAIL_ROWS = 3, 12

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
    refuse_other_file(target)
    data = run if isinstance(run, RunData) else read_run(run)
    return write_page(target, render_report(data))


def render_report(run: RunData) -> str:
    """Return the report as HTML; errors as in `write_report`."""
    template = page_template("report.html.j2")
    facts = summary(run)
    return template.render(
        version=__version__,
        style=page_style(),
        facts=facts,
        subtitle=_subtitle(run, facts),
        tiles=_tiles(facts),
        figures=[embedded(figure) for figure in run_figures(run)],
        epochs=_epoch_table(run),
        work=_work(facts) if facts["steps"] else [],
        counts=[
            {"name": name, "count": facts["counts"][name], "meaning": meaning}
            for name, meaning in COUNTS.items()
        ],
        plans=[(entry.epoch + 1, entry.plan.get("reason", "")) for entry in run.plans],
        result=[] if run.result is None else _rows(run.result.summary),
        provenance=_provenance(run, facts),
        experiment=run.experiment,
        resolved=json.dumps(run.resolved, indent=2, ensure_ascii=False, default=str),
    )


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
        ("test accuracy", cell(facts["test_accuracy"], ".3f")),
        (best_label, cell(best, ".3f")),
        ("training accuracy", cell(facts["train_accuracy"], ".3f")),
        ("training distance C_sim", cell(facts["train_distance"], ".3g")),
        ("training cost", cell(facts["train_cost"], ".3g")),
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


def _epoch_table(run: RunData) -> dict[str, Any]:
    n = len(run.epochs.get("epoch", ()))
    shown = list(range(n))
    if n > _HEAD_ROWS + _TAIL_ROWS + 1:
        shown = [*range(_HEAD_ROWS), *range(n - _TAIL_ROWS, n)]
    kept = None if run.result is None else run.result.summary.get("selected_epoch")
    names = [name for name in _EPOCH_COLUMNS if name in run.epochs]
    rows = [
        {
            "cells": [cell(run.epochs[name][k].item(), _EPOCH_COLUMNS[name][1]) for name in names],
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
        rows.append(("largest residual |∂F/∂φ|", cell(facts["residual_max"], ".2e")))
        rows.append(("largest nudged shift", cell(facts["displacement_max"], ".3g") + " rad"))
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
