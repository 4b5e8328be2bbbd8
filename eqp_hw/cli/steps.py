"""Named steps on the terminal, each shown as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .terminal import print_json

if TYPE_CHECKING:  # numpy comes with it: `eqp-hw --help` must not wait for that
    from eqp_hw.substrate import SelfTestStep

__all__ = ["show_steps"]


def show_steps(console: Console, steps: Iterable[SelfTestStep], *, as_json: bool) -> bool:
    """Show steps as they come, then what failed; return whether all passed."""
    done: list[SelfTestStep] = []
    for step in steps:
        done.append(step)
        if not as_json:
            console.print(_line(step))
    failed = [step for step in done if not step.passed]
    if as_json:
        print_json({"passed": not failed, "steps": [asdict(step) for step in done]})
    elif failed:
        console.print(f"\n[bold red]{len(failed)} of {len(done)} steps failed[/]; the first:")
        console.print(f"  {escape(failed[0].name)}: {escape(failed[0].detail)}")
    else:
        console.print(f"\n[bold green]all {len(done)} steps passed[/]")
    return not failed


def _line(step: SelfTestStep) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=4)
    line.add_column(width=26, overflow="fold")
    line.add_column(overflow="fold")
    mark = "[green]ok[/]" if step.passed else "[bold red]FAIL[/]"
    line.add_row(mark, escape(step.name), escape(step.detail))
    return line
