"""The program ``eqp-hw``."""

from __future__ import annotations

from typing import Annotated

import typer

from eqp_hw import __version__

from .calibrate import calibrate
from .check import check
from .compare import compare
from .list_kinds import list_kinds
from .resume import resume
from .run import run
from .safe_off import safe_off
from .show import show
from .terminal import CommandGroup, make_terminal
from .virtual_lab import virtual_lab

__all__ = ["app", "main"]

app = typer.Typer(
    name="eqp-hw",
    cls=CommandGroup,
    help="Train analog hardware, a network of coupled phases, by equilibrium propagation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eqp-hw {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log in detail, to standard error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    del version
    context.obj = make_terminal(verbose=verbose)


app.command()(run)
app.command()(resume)
app.command()(show)
app.command("list")(list_kinds)
app.command("virtual-lab")(virtual_lab)
app.command()(compare)
app.command()(check)
app.add_typer(calibrate, name="calibrate")
app.command("safe-off")(safe_off)


def main() -> None:
    """Run the program (entry point)."""
    app()
