"""``eqp-hw resume``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .terminal import print_json, terminal_of

__all__ = ["resume"]


def resume(
    context: typer.Context,
    run_file: Annotated[Path, typer.Argument(help="Run file of an interrupted run.")],
    accept_changed_rig: Annotated[
        bool,
        typer.Option(
            "--accept-changed-rig", help="Go on although the rig file has changed, and note it."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one line of JSON.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars, no summary.")
    ] = False,
) -> None:
    """Continue an interrupted run from its checkpoint, as if it had never stopped.

    A finished run is left alone; its result is shown again.
    """
    from eqp_hw.experiment.listener import StopSignals
    from eqp_hw.experiment.run import resume_run

    from .progress import ProgressBar
    from .summary import print_summary

    terminal = terminal_of(context)
    visible = terminal.err.is_terminal and not (quiet or as_json)
    bar = ProgressBar(terminal.err) if visible else nullcontext()
    with StopSignals() as stop, bar as listener:
        outcome = resume_run(
            run_file, accept_changed_rig=accept_changed_rig, listener=listener, stop=stop
        )
    if as_json:
        print_json(outcome.to_json())
    elif not quiet:
        if outcome.already_finished:
            terminal.err.print("this run is already finished; its result:")
        print_summary(
            terminal.out,
            outcome,
            next_step=f"eqp-hw show {outcome.run_file} --report report.html",
        )
