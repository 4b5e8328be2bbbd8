"""A run in a few numbers: for ``show --json`` and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from eqp_hw.network.graph import FloatArray
from eqp_hw.records.reader import RunData

from .columns import COUNTS, PHASES_OF_WORK, floats
from .findings import findings

__all__ = ["class_names", "image_shape", "render_summary", "run_name", "sparkline", "summary"]

_BARS = "▁▂▃▄▅▆▇█"


def summary(run: RunData) -> dict[str, Any]:
    """Return the run in plain numbers and texts, fit for JSON.

    What is not known (no result yet, no validation set) is None. ``final_cost`` is C_sim of
    the training set with the parameters kept; before that is known, ``train_distance`` holds
    C_sim of the last epoch. The result's own numbers come last, in ``result``.
    """
    epochs, steps = run.epochs, run.steps
    result = {} if run.result is None else run.result.summary
    accuracy = floats(epochs, "validation_accuracy")
    best = _best_epoch(accuracy, floats(epochs, "validation_distance"))
    values = {
        "run_file": str(run.path),
        "run_id": run.run_id,
        "name": run_name(run),
        "finished": run.finished,
        "network": run.network.name,
        "nodes": run.network.n_nodes,
        "bonds": run.network.n_edges,
        "couplings": run.network.n_couplings,
        "epochs": int(epochs["epoch"][-1]) if len(epochs.get("epoch", ())) else 0,
        "steps": int(steps["step"][-1]) if len(steps.get("step", ())) else 0,
        "test_accuracy": result.get("test_accuracy"),
        "final_cost": result.get("final_cost"),
        "train_cost": result.get("train_cost", _last(run, "cost")),
        "train_distance": result.get("final_cost", _last(run, "distance")),
        "train_accuracy": result.get("train_accuracy", _last(run, "accuracy")),
        "best_validation_accuracy": None if best is None else accuracy[best],
        "best_validation_epoch": None if best is None else int(epochs["epoch"][best]),
        "seconds": result.get("seconds", _seconds(run)),
        "seconds_by_phase": _seconds_by_phase(run),
        "counts": {name: int(floats(steps, name).sum()) for name in COUNTS},
        "residual_max": _largest(floats(steps, "residual_max")),
        "displacement_max": _largest(floats(steps, "displacement_max")),
        "signal_to_noise": _last_median(run, "signal_to_noise"),
        "plans": [{"epoch": entry.epoch, **entry.plan} for entry in run.plans],
        "findings": [finding._asdict() for finding in findings(run)],
        "resumed": len(run.resumes),
        "started": run.provenance.get("started"),
        "result": result,
    }
    plain: dict[str, Any] = _plain(values)
    return plain


def run_name(run: RunData) -> str:
    """Return what the run is called: its name, else task and network, else its file."""
    derived = run.resolved.get("derived")
    title = derived.get("title") if isinstance(derived, Mapping) else None
    for name in (run.resolved.get("name"), title):
        if isinstance(name, str) and name.strip():
            return name
    return run.path.stem


def class_names(run: RunData, count: int) -> list[str]:
    """Return ``count`` class names as the result or experiment says, else numbers."""
    for table in _result_and_tables(run):
        names = table.get("class_names")
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names) == count:
            return [str(name) for name in names]
    return [str(k) for k in range(count)]


def image_shape(run: RunData) -> tuple[int, int] | None:
    """Return (rows, columns) of the image that the inputs are, if the run says so."""
    for table in _result_and_tables(run):
        shape = table.get("image_shape")
        sides = (
            [side for side in shape if isinstance(side, int) and side > 0]
            if isinstance(shape, list | tuple)
            else []
        )
        if len(sides) == 2:
            return sides[0], sides[1]
    return None


def _tables(run: RunData) -> list[Mapping[str, Any]]:
    """Return the resolved experiment and its tables."""
    return [run.resolved, *(v for v in run.resolved.values() if isinstance(v, Mapping))]


def _result_and_tables(run: RunData) -> list[Mapping[str, Any]]:
    return [*([] if run.result is None else [run.result.summary]), *_tables(run)]


def _best_epoch(accuracy: FloatArray, distance: FloatArray) -> int | None:
    """Return the row with the highest accuracy, of equal ones that with the lowest distance."""
    if not np.isfinite(accuracy).any():
        return None
    equal = np.flatnonzero(accuracy == np.nanmax(accuracy))
    if len(distance) != len(accuracy):
        return int(equal[0])
    return int(equal[np.argmin(np.nan_to_num(distance[equal], nan=np.inf))])


def _last(run: RunData, name: str) -> float | None:
    for columns, column in ((run.epochs, f"train_{name}"), (run.steps, name)):
        values = floats(columns, column)
        if len(values):
            return float(values[-1])
    return None


def _seconds(run: RunData) -> float:
    """Epochs with their evaluation, and the steps of the epoch that is not done."""
    done = floats(run.epochs, "epoch")
    last = done[-1] if len(done) else 0
    steps = floats(run.steps, "duration_total_s")
    rest = steps[floats(run.steps, "epoch") > last] if len(steps) else steps
    return float(floats(run.epochs, "duration_s").sum() + rest.sum())


def _seconds_by_phase(run: RunData) -> dict[str, float]:
    parts = {
        name: float(np.nansum(floats(run.steps, column))) for name, column in PHASES_OF_WORK.items()
    }
    other = _seconds(run) - sum(parts.values())
    return {**parts, "evaluation": max(other, 0.0)}


def _last_median(run: RunData, name: str) -> float | None:
    """Return the median of a column over the steps of the last epoch that has any."""
    values, epochs = floats(run.steps, name), floats(run.steps, "epoch")
    values = values[epochs == epochs[-1]] if len(values) else values
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _largest(values: FloatArray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else None


def _plain(value: Any) -> Any:
    """Replace what JSON cannot say: NumPy numbers, NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sparkline(values: FloatArray, width: int = 48, *, log: bool = False) -> str:
    """Return a line of block characters; a gap where nothing is known.

    Parameters
    ----------
    values
        Any number of values; drawn are means over ``width`` equal stretches.
    width
        Longest line.
    log
        Logarithmic height, if all values are positive.
    """
    line = np.asarray(values, dtype=np.float64)
    known = np.isfinite(line)
    if not known.any():
        return ""
    if log and (line[known] > 0).all():
        line = np.log(line, where=known, out=np.full(len(line), np.nan))
    if len(line) > width:
        parts = [part[np.isfinite(part)] for part in np.array_split(line, width)]
        line = np.array([part.mean() if len(part) else np.nan for part in parts])
    low, high = np.nanmin(line), np.nanmax(line)
    level = (line - low) / (high - low) if high > low else np.full(len(line), 0.5)
    return "".join(
        " " if np.isnan(v) else _BARS[min(int(v * len(_BARS)), len(_BARS) - 1)] for v in level
    )


def render_summary(run: RunData) -> RenderableType:
    """Return the run as a page for the terminal."""
    facts = summary(run)
    parts: list[RenderableType] = [_head(facts)]
    curves = _curves(run)
    if curves is not None:
        parts += [Text(), curves]
    if facts["steps"]:
        parts += [Text(), _work(facts)]
    remarks = facts["findings"]
    if remarks:
        parts.append(Text())
    for remark in remarks:
        warning = remark["level"] == "warning"
        mark = Text("! " if warning else "· ", style="bold yellow" if warning else "dim")
        parts.append(mark.append(remark["text"], style="yellow" if warning else "none"))
    title = Text(facts["name"], style="bold")
    state = "finished" if facts["finished"] else "unfinished"
    return Panel(
        Group(*parts), title=title, subtitle=Text(f"{state}, {facts['run_file']}", style="dim")
    )


def _head(facts: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    best, best_epoch = facts["best_validation_accuracy"], facts["best_validation_epoch"]
    rows = [
        ("test accuracy", _number(facts["test_accuracy"], ".4f"), "bold"),
        ("training accuracy", _number(facts["train_accuracy"], ".4f"), ""),
        (
            "best validation",
            "–" if best is None else f"{best:.4f} in epoch {best_epoch}",
            "",
        ),
        ("training distance", _number(facts["train_distance"], ".4g"), ""),
        ("training cost", _number(facts["train_cost"], ".4g"), ""),
        ("epochs", f"{facts['epochs']}, {facts['steps']} steps", ""),
        ("time", _number(facts["seconds"], ".1f", " s"), ""),
        (
            "network",
            f"{facts['network']}: {facts['nodes']} nodes, {facts['bonds']} bonds, "
            f"{facts['couplings']} couplings",
            "",
        ),
    ]
    for label, value, style in rows:
        table.add_row(label, Text(value, style=style))  # Text: names may hold markup
    return table


def _number(value: Any, form: str, unit: str = "") -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:{form}}{unit}" if is_number else "–"


def _curves(run: RunData) -> Table | None:
    by_epoch = len(run.epochs.get("epoch", ())) > 0
    columns = run.epochs if by_epoch else run.steps
    names = (
        (
            ("training distance", "train_distance", True),
            ("training accuracy", "train_accuracy", False),
            ("validation accuracy", "validation_accuracy", False),
        )
        if by_epoch
        else (("distance, by step", "distance", True), ("accuracy, by step", "accuracy", False))
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    drawn = False
    for label, column, log in names:
        values = floats(columns, column)
        known = values[np.isfinite(values)]
        if len(known):
            # Validation may be seldom: a line of its own values has no gaps.
            line = sparkline(known, log=log)
            table.add_row(label, Text(line, style="cyan"), f"{known[0]:.3g} → {known[-1]:.3g}")
            drawn = True
    return table if drawn else None


def _work(facts: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    phases = facts["seconds_by_phase"]
    total = sum(phases.values()) or 1.0
    table.add_row(
        "time went to",
        ", ".join(f"{name} {value / total:.0%}" for name, value in phases.items()),
    )
    troubles = [f"{count} {name}" for name, count in facts["counts"].items() if count]
    table.add_row("trouble", ", ".join(troubles) or "none")
    table.add_row(
        "largest",
        f"residual {_number(facts['residual_max'], '.1e')}, "
        f"nudged shift {_number(facts['displacement_max'], '.2g', ' rad')}",
    )
    if facts["signal_to_noise"] is not None:
        ratio = f"{facts['signal_to_noise']:.2g}, median of couplings in the last epoch"
        table.add_row("signal to noise", ratio)
    if facts["plans"]:
        last = facts["plans"][-1]
        table.add_row("measured by", Text(f"{last['reason']} (since epoch {last['epoch'] + 1})"))
    return table
