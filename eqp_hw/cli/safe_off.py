"""``eqp-hw safe-off``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .rig_options import opened_rig, rig_tool
from .steps import show_steps
from .terminal import terminal_of

__all__ = ["safe_off"]


def safe_off(
    context: typer.Context,
    rig: Annotated[Path, typer.Argument(help="Rig file (TOML).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Drive all outputs of a rig to zero, whatever state it is in.

    An instrument that does not answer does not keep the others from being made safe; the exit
    code is then 1 and the message says what is left to do by hand.
    """
    terminal = terminal_of(context)
    with opened_rig(rig, False, None) as opened:
        all_safe = show_steps(terminal.out, rig_tool("safe-off")(opened), as_json=as_json)
    if not all_safe:
        raise typer.Exit(1)
