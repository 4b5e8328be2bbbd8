"""The figures of a run as a small table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eqp_hw.experiment.outcome import RunOutcome

__all__ = ["print_summary"]


def print_summary(console: Console, outcome: RunOutcome, *, next_step: str | None = None) -> None:
    """Print what a run came to, and what may be done next."""
    figures = outcome.summary
    table = Table(
        title=escape(str(figures.get("title") or outcome.run_file)),
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(style="dim")
    table.add_column()
    for name, value in _lines(figures):
        table.add_row(name, escape(value))
    table.add_row("run file", escape(str(outcome.run_file)))
    console.print(table)
    if next_step is not None:
        console.print(f"[dim]next[/]  {escape(next_step)}", soft_wrap=True)


def _lines(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    finished = figures.get("finished", True)
    epochs, steps, seconds = (figures.get(name) for name in ("epochs", "steps", "seconds"))
    if finished:
        came_to = f"{figures.get('stopped_because')}; parameters of epoch "
        came_to += str(figures.get("selected_epoch"))
    else:
        came_to = "not finished"
    lines = [
        ("test accuracy", _number(figures.get("test_accuracy"))),
        ("validation accuracy", _number(figures.get("validation_accuracy"))),
        ("training accuracy", _number(figures.get("train_accuracy"))),
        ("C_sim, training", _number(figures.get("final_cost", figures.get("last_distance")))),
        ("came to", came_to),
        ("epochs, steps", f"{epochs}, {steps}"),
        ("time", f"{seconds:.1f} s on {figures.get('engine')}"),
        ("β-hops, left out", f"{figures.get('hops')}, {figures.get('excluded')}"),
    ]
    if not finished:
        lines[3] = ("C_sim, last epoch", _number(figures.get("last_distance")))
        del lines[0]
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
