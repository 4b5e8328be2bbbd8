"""``eqp-hw compare``."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqp_hw.errors import ConfigurationError

from .terminal import print_json, terminal_of

if TYPE_CHECKING:
    from rich.console import Console

    from eqp_hw.study.result import Study

__all__ = ["compare"]


def compare(
    context: typer.Context,
    experiment: Annotated[Path, typer.Argument(help="Experiment file (TOML).")],
    estimators: Annotated[
        str | None,
        typer.Option("--estimators", help="Names, separated by commas; all that fit if left out."),
    ] = None,
    displacements: Annotated[
        str,
        typer.Option("--displacements", help="Largest phase shifts |Δφ| of a nudge, rad."),
    ] = "0.025,0.05,0.1,0.2,0.4",
    noise: Annotated[
        str, typer.Option("--noise", help="Read-out noise of a single read, rad; 0: the bias.")
    ] = "0,1e-4,1e-3,1e-2",
    reads: Annotated[int, typer.Option("--reads", help="Reads of a sample in all.")] = 16,
    samples: Annotated[int, typer.Option("--samples", help="Training samples looked at.")] = 12,
    draws: Annotated[int, typer.Option("--draws", help="Noise draws of each estimate.")] = 12,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the experiment."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with pictures (HTML).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Compare gradient estimators with the exact gradient: bias, noise and cost.

    Looks at the experiment's network at its initial parameters, on the exact emulator with the
    imperfections that the file names; read-out noise is added as asked.
    """
    from eqp_hw.experiment.assemble import Experiment
    from eqp_hw.study.estimators import study_estimators
    from eqp_hw.study.options import StudyOptions

    from .report import check_report

    terminal = terminal_of(context)
    if report is not None:
        check_report(report)
    options = StudyOptions(
        estimators=tuple(_parts(estimators or "")),
        displacements=_numbers("--displacements", displacements),
        noises=_numbers("--noise", noise),
        reads=reads,
        samples=samples,
        draws=draws,
    )
    planned = Experiment.load(experiment, override or ())
    with nullcontext() if as_json else terminal.err.status("measuring ..."):
        study = study_estimators(planned, options)
    if report is not None:
        from eqp_hw.views.study_page import write_study_page

        write_study_page(study, report)
    if as_json:
        print_json(_without_nan(study.to_json()))
    else:
        _show(terminal.out, study)
        if report is not None:
            terminal.out.print(f"\npage with pictures: {report}")


def _show(out: Console, study: Study) -> None:
    from rich.table import Table

    for measured in sorted({row.noise for row in study.rows}):
        rows = study.at(measured)
        shifts = sorted({row.displacement for row in rows})
        what = "exact reads: bias" if measured == 0 else f"noise {measured:g} rad a read"
        out.print(f"[bold]relative error of the gradient[/], {what}")
        table = Table()
        table.add_column("estimator", no_wrap=True)
        table.add_column("states", justify="right")
        for shift in shifts:
            table.add_column(f"|Δφ| {shift:g}", justify="right")
        for name in dict.fromkeys(row.estimator for row in rows):
            own = {row.displacement: row for row in rows if row.estimator == name}
            states = str(next(iter(own.values())).states)
            cells = [f"{own[shift].error:.1e}" if shift in own else "–" for shift in shifts]
            table.add_row(name, states, *cells)
        out.print(table)
        for choice in study.choices:
            if choice.noise == measured:
                out.print(
                    f"automatic: [bold]{choice.estimator}[/], error {choice.error:.1e} (best "
                    f"real nudges on the grid {choice.best:.1e}, {choice.best_estimator}): "
                    f"{choice.reason}\n"
                )
    if any(row.estimator == "coupled" for row in study.rows):
        out.print("coupled: descends a cost of its own, so that its error does not vanish")
    for name, reason in study.refused.items():
        out.print(f"{name}: left out, {reason}")


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str) -> tuple[float, ...]:
    numbers = []
    for part in _parts(text):
        try:
            numbers.append(float(part))
        except ValueError:
            raise ConfigurationError(
                "not a number", field=option, value=part, allowed="numbers separated by commas"
            ) from None
    return tuple(numbers)


def _without_nan(value: object) -> dict[str, object]:
    """Return plain data with None for what is not a finite number: JSON has no NaN."""

    def cleaned(item: object) -> object:
        if isinstance(item, dict):
            return {key: cleaned(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [cleaned(inner) for inner in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    result = cleaned(value)
    assert isinstance(result, dict)
    return result
