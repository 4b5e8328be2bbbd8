"""``eqp-hw compare``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqp_hw.errors import ConfigurationError

from .compare_rig import compare_on_rig, refuse_given, rig_and_experiment, without_nan
from .rig_options import rig_override
from .terminal import Terminal, print_json, terminal_of

if TYPE_CHECKING:
    from rich.console import Console

    from eqp_hw.study.result import Study

__all__ = ["compare"]


_DISPLACEMENTS = "0.025,0.05,0.1,0.2,0.4"
_NOISES = "0,1e-4,1e-3,1e-2"


def compare(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RIG] EXPERIMENT", help="Experiment file (TOML), or a rig's first."
        ),
    ],
    estimators: Annotated[
        str | None,
        typer.Option("--estimators", help="Names, separated by commas; all that fit if left out."),
    ] = None,
    displacements: Annotated[
        str | None,
        typer.Option(
            "--displacements",
            help=f"Largest phase shifts of a nudge, rad ({_DISPLACEMENTS}).",
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option("--noise", help=f"Noise of a read, rad; 0 shows the bias ({_NOISES})."),
    ] = None,
    reads: Annotated[
        int | None,
        typer.Option(
            "--reads", help="Reads of a sample in all (16); on a rig of a state (by its noise)."
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Training samples looked at (12; on a rig 6).")
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", help="Noise draws of each estimate (12).")
    ] = None,
    bonds: Annotated[
        int | None,
        typer.Option("--bonds", help="Rig: couplings of each group, and bias fields, moved (8)."),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option("--step", help="Rig: how far each is moved (by noise and stiffness)."),
    ] = None,
    replicates: Annotated[
        int | None, typer.Option("--replicates", help="Rig: how often all is measured (2).")
    ] = None,
    virtual_lab: Annotated[
        bool, typer.Option("--virtual-lab", help="Rig: its simulated twin.")
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
            help="Rig: this calibration, in place of the rig file's.",
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the experiment."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with pictures (HTML).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Compare gradients: of estimators with the exact one, or of a rig with its own cost.

    With an experiment alone: bias, noise and cost of estimators at its initial parameters, on
    the exact emulator with the imperfections that the file names. With a rig before it: the
    experiment's gradient as measured on the rig, against finite differences of the cost on the
    same rig, and against the emulator at the parameters that the rig says it holds.
    """
    from .report import check_report

    terminal = terminal_of(context)
    rig, experiment = rig_and_experiment(files)
    if report is not None:
        check_report(report)
    of_estimators = {
        "estimators": estimators,
        "displacements": displacements,
        "noise": noise,
        "draws": draws,
    }
    of_rig = {
        "bonds": bonds,
        "step": step,
        "replicates": replicates,
        "calibration": calibration,
        "virtual-lab": virtual_lab or None,
        "truth-seed": truth_seed,
    }
    if rig is not None:
        refuse_given(of_estimators, "an estimator study", "an experiment file alone")
        given = {"samples": samples, "reads": reads, "bonds": bonds, "replicates": replicates}
        compare_on_rig(
            terminal,
            experiment,
            rig_override(rig, virtual_lab, truth_seed, calibration),
            override or (),
            {"step": step, **{name: n for name, n in given.items() if n is not None}},
            report,
            as_json=as_json,
        )
        return
    refuse_given(of_rig, "a comparison on a rig", "a rig file before the experiment's")
    _compare_estimators(
        terminal,
        experiment,
        override or (),
        report,
        as_json=as_json,
        names=_parts(estimators or ""),
        displacements=_numbers("--displacements", displacements or _DISPLACEMENTS),
        noises=_numbers("--noise", noise or _NOISES),
        reads=reads,
        samples=samples,
        draws=draws,
    )


def _compare_estimators(
    terminal: Terminal,
    experiment: Path,
    override: Sequence[str],
    report: Path | None,
    *,
    as_json: bool,
    names: Sequence[str],
    displacements: tuple[float, ...],
    noises: tuple[float, ...],
    **numbers: int | None,
) -> None:
    from eqp_hw.experiment.assemble import Experiment
    from eqp_hw.study.estimators import study_estimators
    from eqp_hw.study.options import StudyOptions

    given = {name: number for name, number in numbers.items() if number is not None}
    options = StudyOptions(tuple(names), displacements, noises, **given)
    planned = Experiment.load(experiment, override)
    with nullcontext() if as_json else terminal.err.status("measuring ..."):
        study = study_estimators(planned, options)
    if report is not None:
        from eqp_hw.views.study_page import write_study_page

        write_study_page(study, report)
    if as_json:
        print_json(without_nan(study.to_json()))
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
