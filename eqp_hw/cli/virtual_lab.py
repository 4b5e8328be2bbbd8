"""``eqp-hw virtual-lab``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqp_hw.errors import SubstrateError

from .terminal import print_json, terminal_of

if TYPE_CHECKING:  # loaded by the command itself, for a fast start of all others
    from eqp_hw.rig.load import Rig
    from eqp_hw.rig.virtual_lab import VirtualLab

__all__ = ["virtual_lab"]


class Clock(StrEnum):
    """How the time of the plant goes."""

    REAL = "real"
    TRANSACTION = "transaction"


def virtual_lab(
    context: typer.Context,
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml", help="Rig file to simulate.")],
    truth_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the hidden truths and of all noise.")
    ] = 0,
    clock: Annotated[
        Clock | None,
        typer.Option(help="Plant time: real, or moved on by transactions (default: rig file)."),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=1e-3, help="Multiple of real time, for --clock real.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as one line of JSON.")
    ] = False,
) -> None:
    """Simulate the instruments of a rig on real ports until Ctrl-C.

    Any program may then talk to them: the addresses are pseudo-terminals and TCP ports.
    """
    from eqp_hw.rig.load import load_rig
    from eqp_hw.rig.virtual_lab import make_virtual_lab

    rig = load_rig(rig_file)
    terminal = terminal_of(context)
    try:
        with make_virtual_lab(rig, truth_seed=truth_seed, clock=clock, speed=speed) as lab:
            if as_json:
                print_json(lab.announced)
                terminal.out.file.flush()
            else:
                _print_table(context, rig, lab)
            code = lab.wait()
    except KeyboardInterrupt:
        return  # the usual end
    raise SubstrateError(f"the virtual lab ended by itself, with exit code {code}")


def _print_table(context: typer.Context, rig: Rig, lab: VirtualLab) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = terminal_of(context).out
    table = Table(title=f"virtual lab of {escape(rig.settings.rig.name)}", title_justify="left")
    for heading in ("instrument", "kind", "address, VISA resource"):
        table.add_column(heading, overflow="fold")
    for name, address in lab.addresses.items():
        # One below the other: side by side they would not fit, and be broken for copying.
        both = f"{address}\n{lab.visa[name]}"
        table.add_row(*(escape(text) for text in (name, rig.settings.instruments[name].kind, both)))
    console.print(table)
    console.print(f"truths: {lab.truth_address} (JSON lines)   process: {lab.pid}")
    console.print("Ctrl-C ends it.")
