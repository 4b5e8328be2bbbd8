"""A calibration on the terminal: its course, its outcome, and the status of a rig."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from typing_extensions import override

from eqp_hw.rig.calibrations import (
    CalibrationOutcome,
    CalibrationStatus,
    FindingLine,
    StepResult,
    Watcher,
)

__all__ = ["CourseView", "print_outcome", "print_status"]

_COLOURS = {"note": "cyan", "warning": "yellow", "fault": "bold red"}
SHOWN = 8
"""Findings of a step that are shown; the page has all."""


@final
class CourseView(Watcher, AbstractContextManager["CourseView"]):
    """A line a step when it is done, a bar while it goes on.

    Attributes
    ----------
    path
        The calibration file, once it is there.

    Parameters
    ----------
    quiet
        Take note of the file only.
    """

    def __init__(self, out: Console, err: Console, *, quiet: bool = False) -> None:
        self.path: Path | None = None
        self._quiet = quiet
        self._out = out
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[doing]}"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            refresh_per_second=4,
            disable=quiet or not err.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    @override
    def on_begin(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        if self._quiet:
            return
        self._out.print(f"calibration file: {escape(str(path))}", soft_wrap=True)

    @override
    def on_step(self, name: str, description: str) -> None:
        self._task = self._bar.add_task(escape(name), total=None, doing=escape(description))

    @override
    def on_progress(self, done: int, total: int, doing: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, doing=escape(doing))

    @override
    def on_result(self, result: StepResult) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if self._quiet:
            return
        self._out.print(_line(result))
        for finding in result.findings[:SHOWN]:
            self._out.print(_finding(finding))
        if len(result.findings) > SHOWN:
            self._out.print(f"     and {len(result.findings) - SHOWN} more")


def print_outcome(out: Console, outcome: CalibrationOutcome, rig: Path) -> None:
    """Show what a calibration came to, and what to do next."""
    failed = [step for step in outcome.steps if not step.passed]
    if failed:
        out.print(f"\n[bold red]{len(failed)} of {len(outcome.steps)} steps gave no figures[/]")
    faults, broken = len(outcome.faults), dict.fromkeys(f.subject for f in outcome.faults)
    if faults:
        out.print(
            f"\n[bold red]{faults} fault{'s' * (faults > 1)} to be mended[/]: "
            f"{escape(_listed(list(broken)))}"
        )
    for name, reason in outcome.skipped.items():
        out.print(f"{escape(name)}: left out, {escape(reason)}")
    path = escape(str(outcome.path))
    if outcome.complete:
        out.print(f"\n[bold green]complete[/]: {path}", soft_wrap=True)
    else:
        missing = escape(", ".join(outcome.missing))
        # Steps that are done are not repeated, also those that have found something broken.
        then = "mend that and calibrate anew" if faults else "--resume goes on"
        out.print(
            f"\n[bold yellow]incomplete[/], not to be used: {missing} missing in {path}; {then}",
            soft_wrap=True,
        )
    out.print(escape(_in_force(outcome, rig)), soft_wrap=True)
    total = sum(outcome.time_s.get(k, 0.0) for k in ("transport", "settling", "computing"))
    if total > 0:
        share = 1 - outcome.time_s["computing"] / total
        out.print(f"time: {total:.1f} s, {share:.0%} of it on the wires and settling")


def _in_force(outcome: CalibrationOutcome, rig: Path) -> str:
    """Return in words what ``latest`` means after a calibration."""
    latest = outcome.latest
    if latest is None:
        return "latest: none so far; the nominal figures of the rig file stay in force"
    if latest.resolve() == outcome.path.resolve():
        return "latest: this one, from now on"
    why = ""
    if outcome.complete:
        why = (
            "; this one has found faults"
            if outcome.faults
            else f"; see eqp-hw calibrate status {rig} --ask"
        )
        why += f", and is used by its path alone: --calibration {outcome.path}"
    return f"latest: stays {latest.name}{why}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def print_status(out: Console, status: CalibrationStatus) -> None:
    """Show which calibration is in force and why others are not."""
    rows = [("asked for", escape(status.asked))]
    if status.in_force is not None:
        rows.append(("in force", escape(str(status.in_force))))
    elif status.refused is None:
        rows.append(("in force", "the figures of the rig file"))
    if status.refused is not None:
        rows.append(("refused", f"[bold red]{escape(status.refused)}[/]"))
    if status.age_h is not None:
        future = "dated in the future: see the clock"
        rows.append(("age", f"{status.age_h:.1f} h" if status.age_h > -0.1 else future))
    if status.worst_residual is not None:
        worst, name, size, unit = status.worst_residual
        rows.append(("worst residual", escape(f"{worst}: {name} {size:.3g} {unit}".rstrip())))
    if not status.identities_known:
        rows.append(("serial numbers", "not compared (--ask does)"))
    for label, text in rows:  # no table: paths and commands stay whole, to be copied
        out.print(f"[bold]{label:<16}[/]{text}", soft_wrap=True)
    for step in status.steps:
        out.print(_line(step, mark="  "))
        for finding in step.findings[:SHOWN]:
            out.print(_finding(finding))
    if status.history:
        out.print("\n[bold]history[/], newest first")
    for line in status.history:
        state = "[green]in force[/]" if line.in_force else "complete" if line.complete else "begun"
        out.print(f"  {escape(line.started)}  {state}  {escape(line.path.name)}", soft_wrap=True)
        if line.refused is not None:
            out.print(f"    {escape(line.refused)}", soft_wrap=True)


def _line(step: StepResult, mark: str | None = None) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=4)
    line.add_column(width=20, overflow="fold")
    line.add_column(overflow="fold")
    if mark is None and not step.passed:
        mark = "[bold red]FAIL[/]"
    if mark is None:
        mark = "[green]kept[/]" if step.before else "[green]ok[/]"
    time = "" if step.before else f"  ({step.seconds:.1f} s)"
    line.add_row(mark, escape(step.name), escape(step.detail) + time)
    return line


def _finding(finding: FindingLine) -> Padding:
    colour = _COLOURS[finding.level]
    text = f"[{colour}]{finding.level}[/] {escape(finding.subject)}: {escape(finding.text)}"
    return Padding(text, (0, 0, 0, 5), expand=False)
