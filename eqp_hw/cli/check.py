"""``eqp-hw check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .rig_options import calibration_choice, opened_rig, rig_tool, terminable
from .steps import show_steps
from .terminal import terminal_of

__all__ = ["check"]


def check(
    context: typer.Context,
    rig: Annotated[Path, typer.Argument(help="Rig file (TOML).")],
    virtual_lab: Annotated[
        bool, typer.Option("--virtual-lab", help="Check the rig's simulated twin.")
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
            help="This calibration, in place of the rig file's.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Check a rig step by step: wires, identities, limits, channels, read-out, settling.

    Outputs move within the limits of the rig file and are at zero at the end. The exit code is
    1 where a step failed.
    """
    terminal = terminal_of(context)
    with terminable(), opened_rig(rig, virtual_lab, truth_seed) as opened:
        chosen = opened
        if calibration is not None:
            chosen = opened.with_calibration(calibration_choice(calibration))
        steps = rig_tool("check")(chosen)
        all_passed = show_steps(terminal.out, steps, as_json=as_json)
    if not all_passed:
        raise typer.Exit(1)
