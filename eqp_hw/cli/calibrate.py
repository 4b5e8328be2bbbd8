"""``eqp-hw calibrate``: measure a rig; ``status`` and ``report`` of what was measured."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer
from typer.core import TyperGroup
from typing_extensions import override

from eqp_hw.errors import ConfigurationError, RecordError, SubstrateError

from .rig_options import calibration_choice, opened_rig, terminable
from .terminal import print_json, terminal_of

if TYPE_CHECKING:
    from eqp_hw.rig.load import Rig

    from .calibrate_view import CourseView

__all__ = ["calibrate"]

MEASURE = "rig"


@final
class _RigFirst(TyperGroup):
    """Takes ``calibrate RIG.toml`` for ``calibrate rig RIG.toml``."""

    @override
    # Any: see CommandGroup.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [MEASURE, *args]
        return super().parse_args(ctx, args)


calibrate = typer.Typer(
    cls=_RigFirst,
    no_args_is_help=True,
    help="Measure what a rig's heaters, couplers and detectors really do: "
    "eqp-hw calibrate RIG.toml.",
)

RigFile = Annotated[Path, typer.Argument(help="Rig file (TOML).", metavar="RIG.toml")]
VirtualLab = Annotated[bool, typer.Option("--virtual-lab", help="Take the rig's simulated twin.")]
TruthSeed = Annotated[
    int | None,
    typer.Option("--truth-seed", min=0, help="With --virtual-lab: seed of hidden truths."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


@calibrate.command(MEASURE)
def measure(
    context: typer.Context,
    rig: RigFile,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Steps, separated by commas; the others' figures are taken over from the newest "
            "complete calibration of the rig.",
        ),
    ] = None,
    virtual_lab: VirtualLab = False,
    truth_seed: TruthSeed = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an incomplete calibration (of --output)."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File; default calibrations/RIG-TIME.h5 beside the rig file."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with pictures (HTML).")
    ] = None,
    temperature_C: Annotated[
        float | None, typer.Option("--temperature-C", help="Of the bench, for the record.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the randomised drives (0).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Calibrate a rig, step by step, into a file that is never overwritten.

    Outputs move within the limits of the rig file and are at zero at the end, also of Ctrl-C.
    What was measured by then is kept: --resume goes on. The exit code is 1 where a step gave no
    figures or something is broken.
    """
    from eqp_hw.rig.calibrations import CalibrateOptions, calibration_tools
    from eqp_hw.views.page import refuse_other_file

    from .calibrate_view import CourseView, print_outcome
    from .report import check_report

    terminal = terminal_of(context)
    if report is not None:
        check_report(report)
        refuse_other_file(report)
    if resume:
        _refuse_fixed("--seed", seed)
        _refuse_fixed("--temperature-C", temperature_C)
    options = CalibrateOptions(
        only=_names(only),
        output=output,
        resume=resume,
        seed=seed or 0,
        temperature_C=temperature_C,
        # The twin ends with this process, whatever ends it.
        guarded=not virtual_lab,
    )
    view = CourseView(terminal.out, terminal.err, quiet=as_json)
    again = ["eqp-hw", "calibrate", str(rig), "--resume"]
    again += [] if output is None else ["--output", str(output)]
    again += ["--virtual-lab"] if virtual_lab else []
    again += [] if truth_seed is None else ["--truth-seed", str(truth_seed)]
    with terminable(), opened_rig(rig, virtual_lab, truth_seed) as opened:
        try:
            with view:
                outcome = calibration_tools().calibrate(opened, options, view)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted{_kept(view, again)}") from None
        except (SubstrateError, RecordError):
            if view.path is not None:
                terminal.err.print(f"stopped{_kept(view, again)}", soft_wrap=True, markup=False)
            raise
    if as_json:
        print_json(outcome.to_json())
    else:
        print_outcome(terminal.out, outcome, rig)
    if report is not None:
        calibration_tools().write_report(outcome.path, report)
        if not as_json:
            terminal.out.print(f"page with pictures: {report}", soft_wrap=True, markup=False)
    if not (outcome.passed and (outcome.complete or options.only)):
        raise typer.Exit(1)


def _names(only: str | None) -> tuple[str, ...]:
    """Return the steps that ``--only`` names."""
    if only is None:
        return ()
    names = tuple(part.strip() for part in only.split(",") if part.strip())
    if not names:
        raise ConfigurationError(
            "names no step",
            field="--only",
            value=only,
            allowed="names of steps, separated by commas; or left out, for all",
        )
    return names


def _refuse_fixed(option: str, value: object) -> None:
    """Refuse what a calibration that is continued has already."""
    if value is not None:
        raise ConfigurationError(
            "a calibration that is continued keeps the one that it was begun with",
            field=option,
            value=value,
            allowed="left out, together with --resume",
        )


def _kept(view: CourseView, again: list[str]) -> str:
    if view.path is None:
        return ""
    return f"; what was measured is in {view.path}; go on with: {shlex.join(again)}"


@calibrate.command()
def status(
    context: typer.Context,
    rig: RigFile,
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Ask the instruments for their serial numbers; moves nothing."),
    ] = False,
    virtual_lab: VirtualLab = False,
    truth_seed: TruthSeed = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            metavar="FILE|latest|nominal",
            help="Look at this calibration, in place of the rig file's.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which calibration a rig gets, its age and steps, and why others are refused.

    Without --ask (or --virtual-lab) nothing is opened, and serial numbers are not compared. The
    exit code is 1 where the rig file asks for a calibration that it cannot have.
    """
    from eqp_hw.rig.calibrations import calibration_tools

    from .calibrate_view import print_status

    terminal = terminal_of(context)
    with terminable(), opened_rig(rig, virtual_lab, truth_seed) as opened:
        chosen = opened
        if calibration is not None:
            chosen = opened.with_calibration(calibration_choice(calibration))
        identities = _identities(chosen) if ask or virtual_lab else None
        found = calibration_tools().status(chosen, identities)
    if as_json:
        print_json(found.to_json())
    else:
        print_status(terminal.out, found)
    if found.refused is not None:
        raise typer.Exit(1)


def _identities(rig: Rig) -> dict[str, str]:
    from eqp_hw.rig.calibrations import calibration_tools

    return calibration_tools().identities(rig)


@calibrate.command()
def report(
    context: typer.Context,
    calibration: Annotated[Path, typer.Argument(help="Calibration file.", metavar="FILE.h5")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write (HTML).")] = Path(
        "calibration.html"
    ),
) -> None:
    """Write a page with the pictures and findings of a calibration file."""
    from eqp_hw.rig.calibrations import calibration_tools

    from .report import check_report

    terminal = terminal_of(context)
    try:
        check_report(output)
    except ConfigurationError as error:
        error.field = "--output"  # here the page is all that is asked for
        raise
    written = calibration_tools().write_report(calibration, output)
    terminal.out.print(f"page with pictures: {written}", soft_wrap=True)
