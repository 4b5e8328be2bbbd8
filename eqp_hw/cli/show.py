"""``eqp-hw show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import print_json, terminal_of

__all__ = ["show"]


def show(
    context: typer.Context,
    run_file: Annotated[Path, typer.Argument(help="Run file, finished or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a report page (HTML) with pictures.")
    ] = None,
) -> None:
    """Show what a run came to; with --report as a page of curves, maps and tables."""
    from eqp_hw.experiment.outcome import read_outcome
    from eqp_hw.records.reader import read_run

    from .report import check_report, save_report
    from .summary import print_summary

    terminal = terminal_of(context)
    if report is not None:
        check_report(report)
    outcome = read_outcome(read_run(run_file))
    if report is not None:
        save_report(run_file, report)
    if as_json:
        extra = {} if report is None else {"report": str(report)}
        print_json({**outcome.to_json(), **extra})
        return
    next_step = None
    if not outcome.summary.get("finished"):
        next_step = f"eqp-hw resume {run_file}"
    elif report is None:
        next_step = f"eqp-hw show {run_file} --report report.html"
    print_summary(terminal.out, outcome, next_step=next_step)
    if report is not None:
        terminal.err.print(f"report: {report}", markup=False, soft_wrap=True)
