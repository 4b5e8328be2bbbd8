"""``eqp-hw safe-off``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from .rig_options import rig_tool
from .steps import show_steps
from .terminal import terminal_of

if TYPE_CHECKING:
    from eqp_hw.substrate import SelfTestStep

__all__ = ["safe_off"]


def safe_off(
    context: typer.Context,
    rig: Annotated[Path, typer.Argument(help="Rig file (TOML).")],
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="End the program that holds a port, such as a hung run."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Drive all outputs of a rig to zero, whatever state it is in.

    Of a rig file that is wrong elsewhere the instruments' tables are used all the same. An
    instrument that does not answer does not keep the others from being made safe; the exit
    code is then 1 and the message says what is left to do by hand.
    """
    from eqp_hw.rig.salvage import salvage_instruments

    terminal = terminal_of(context)
    found = salvage_instruments(rig)
    for problem in found.problems:
        terminal.err.print(
            f"[bold yellow]warning:[/] {escape(problem)}; making safe all the same",
            soft_wrap=True,
        )

    def steps() -> Iterator[SelfTestStep]:
        yield from rig_tool("safe-off")(found.instruments, take_over=take_over)
        yield from _unusable(found.unusable)

    if not show_steps(terminal.out, steps(), as_json=as_json):
        raise typer.Exit(1)


def _unusable(reasons: Mapping[str, str]) -> Iterator[SelfTestStep]:
    from eqp_hw.substrate import SelfTestStep

    for name, reason in reasons.items():
        yield SelfTestStep(name, False, f"{reason}; make it safe by hand")
