"""``eqp-hw run``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .terminal import print_json, terminal_of

__all__ = ["run"]


def run(
    context: typer.Context,
    experiment: Annotated[Path, typer.Argument(help="Experiment file (TOML).")],
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a value, e.g. --set run.epochs=5."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run file; default runs/EXPERIMENT-TIME.h5."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing run file.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a report page (HTML) at the end.")
    ] = None,
    rig: Annotated[
        Path | None,
        typer.Option("--rig", help="Run on the instruments of this rig file (TOML)."),
    ] = None,
    virtual_lab: Annotated[
        bool,
        typer.Option("--virtual-lab", help="With --rig: start the rig's simulated twin."),
    ] = False,
    truth_seed: Annotated[
        int | None,
        typer.Option("--truth-seed", min=0, help="With --virtual-lab: seed of hidden truths."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            metavar="FILE|latest|nominal",
            help="With --rig: this calibration, in place of the rig file's.",
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="With --rig: on its twin, as calibrated, on the emulator."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one line of JSON.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars, no summary.")
    ] = False,
) -> None:
    """Train a network as an experiment file says, and record it in a run file."""
    from eqp_hw.experiment.assemble import Experiment
    from eqp_hw.experiment.listener import StopSignals
    from eqp_hw.experiment.run import run_experiment

    from .progress import ProgressBar
    from .report import check_report, save_report
    from .rig_options import rig_override
    from .summary import print_summary

    terminal = terminal_of(context)
    if report is not None:
        check_report(report)
    substrate = rig_override(rig, virtual_lab, truth_seed, calibration, rehearse=rehearse)
    overrides = [*substrate, *(override or ())]
    planned = Experiment.load(experiment, overrides)
    visible = terminal.err.is_terminal and not (quiet or as_json)
    bar = ProgressBar(terminal.err) if visible else nullcontext()
    with StopSignals() as stop, bar as listener:
        outcome = run_experiment(planned, output, force=force, listener=listener, stop=stop)
    if report is not None:
        save_report(outcome.run_file, report)
    if as_json:
        print_json(outcome.to_json())
    elif not quiet:
        print_summary(
            terminal.out,
            outcome,
            next_step=f"eqp-hw show {outcome.run_file} --report report.html",
        )
