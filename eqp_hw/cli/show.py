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
    from eqp_hw.views.summary import render_summary, summary

    from .report import check_report, save_report

    terminal = terminal_of(context)
    if report is not None:
        check_report(report)
    data = read_run(run_file)
    if report is not None:
        save_report(run_file, report)
    if as_json:
        values = summary(data)
        del values["result"]
        # The names that `run --json` prints go before those of the view.
        values |= read_outcome(data).to_json()
        if report is not None:
            values["report"] = str(report)
        print_json(values)
        return
    terminal.out.print(render_summary(data))
    if not data.finished:
        next_step = f"to go on: eqp-hw resume {run_file}"
    elif report is None:
        next_step = f"pictures: eqp-hw show {run_file} --report report.html"
    else:
        next_step = f"report: {report}"
    terminal.err.print(next_step, markup=False, soft_wrap=True)
