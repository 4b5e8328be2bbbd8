"""What all commands share: consoles, logging, and how errors end a command."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup
from typing_extensions import override

from eqp_hw.errors import EqpError

__all__ = ["INTERRUPTED", "REFUSED", "CommandGroup", "Terminal", "print_json", "terminal_of"]

REFUSED = 2
"""Exit code where something given cannot be used."""
INTERRUPTED = 130
"""Exit code after SIGINT or SIGTERM."""


@final
@dataclass(frozen=True)
class Terminal:
    """Where a command writes: results to ``out``, everything else to ``err``."""

    out: Console
    err: Console


def make_terminal(*, verbose: bool) -> Terminal:
    """Return consoles on the present streams, and send the log to the one for messages."""
    from rich.logging import RichHandler

    terminal = Terminal(Console(highlight=False), Console(stderr=True, highlight=False))
    handler = RichHandler(
        console=terminal.err, show_path=verbose, show_time=verbose, rich_tracebacks=False
    )
    logger = logging.getLogger("eqp_hw")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logger.propagate = False
    return terminal


def terminal_of(context: typer.Context) -> Terminal:
    """Return the consoles of this call."""
    terminal: Terminal = context.obj
    return terminal


def print_json(values: Mapping[str, Any]) -> None:
    """Print one line of JSON on standard output."""
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")


@final
class CommandGroup(TyperGroup):
    """Commands whose expected errors end with a message and exit code 2, without traceback."""

    @override
    # Any: some versions of typer bring their own click, whose Context is another class.
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EqpError as error:
            _complain(str(error))
            raise typer.Exit(REFUSED) from None
        except KeyboardInterrupt as interruption:
            _complain(str(interruption) or "interrupted", word="stopped")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output (head, less) has left: nothing more to say to it.
            sys.stderr.close()
            raise typer.Exit(1) from None


def _complain(message: str, word: str = "error") -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]{word}:[/] {escape(message)}")
