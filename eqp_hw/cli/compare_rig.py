"""``eqp-hw compare RIG EXPERIMENT``: how true the gradients of a rig are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqp_hw.errors import ConfigurationError

from .rig_options import terminable
from .terminal import Terminal, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from eqp_hw.study.fidelity_result import Fidelity

__all__ = ["compare_on_rig", "refuse_given", "rig_and_experiment", "without_nan"]


def rig_and_experiment(files: Sequence[Path]) -> tuple[Path | None, Path]:
    """Return the rig file, if the first of two is one, and the experiment file.

    Raises
    ------
    ConfigurationError
        Not an experiment file, or a rig file and an experiment file in this order.
    """
    from eqp_hw.experiment.toml_file import read_toml

    is_rig = []
    for path in files[:2]:
        _, content = read_toml(path)
        is_rig.append("instruments" in content)
    wanted = "EXPERIMENT.toml, or RIG.toml EXPERIMENT.toml"
    if len(files) > 2:
        raise ConfigurationError("too many files", value=str(files[2]), allowed=wanted)
    if is_rig == [False]:
        return None, files[0]
    if is_rig == [True, False]:
        return files[0], files[1]
    problems = {
        (True,): "a rig file alone: which gradients to compare, an experiment file says",
        (True, True): "two rig files",
        (False, True): "the experiment file comes behind the rig file",
        (False, False): "two files without [instruments]: the first one is no rig file",
    }
    raise ConfigurationError(problems[tuple(is_rig)], source=files[0], allowed=wanted)


def refuse_given(options: Mapping[str, object], what: str, allowed: str) -> None:
    """Refuse options that are those of another comparison."""
    for name, value in options.items():
        if value is not None:
            raise ConfigurationError(
                f"an option of {what}",
                field=f"--{name}",
                value=value,
                allowed=f"together with {allowed}",
            )


def compare_on_rig(
    terminal: Terminal,
    experiment: Path,
    substrate: Sequence[str],
    override: Sequence[str],
    options: Mapping[str, Any],
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure, and show a table, a page or JSON.

    Parameters
    ----------
    substrate, override
        Overrides of the experiment: the rig in place of its substrate, and those of ``--set``.
    options
        As of `FidelityOptions`.
    """
    from eqp_hw.experiment.assemble import Experiment
    from eqp_hw.study.fidelity import measure_fidelity
    from eqp_hw.study.fidelity_options import FidelityOptions

    chosen = FidelityOptions(**options)
    planned = Experiment.load(experiment, [*substrate, *override])
    with terminable(), terminal.err.status("measuring ...") as status:
        found = measure_fidelity(
            planned,
            chosen,
            lambda done, of: status.update(f"measuring ... {done} of {of} samples"),
        )
    if report is not None:
        from eqp_hw.views.fidelity_page import write_fidelity_page

        write_fidelity_page(found, report)
    if as_json:
        print_json(without_nan(found.to_json()))
        return
    show_fidelity(terminal.out, found)
    if report is not None:
        terminal.out.print(f"\npage with pictures: {report}")


def show_fidelity(out: Console, found: Fidelity) -> None:
    """Print what was found."""
    from rich.markup import escape
    from rich.table import Table

    from eqp_hw.views.fidelity_page import conditions_of, remarks_of

    out.print(f"[bold]gradient fidelity[/], {escape(found.title)}, on {escape(found.engine)}")
    out.print(escape(conditions_of(found)))
    for reference in dict.fromkeys(row.reference for row in found.rows):
        table = Table(title=f"EP against {reference}", title_justify="left")
        table.add_column("group", no_wrap=True)
        for name in ("parameters", "cosine", "at this noise", "norm ratio"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in found.rows:
            if row.reference == reference:
                table.add_row(
                    row.group,
                    str(row.parameters),
                    f"{row.cosine:.4f} ± {max(row.cosine_error, 1e-4):.4f}",
                    f"{row.ceiling:.4f}",
                    f"{row.ratio:.3f} ± {max(row.ratio_error, 1e-3):.3f}",
                )
        out.print(table)
    for remark in remarks_of(found):
        out.print(escape(remark))


def without_nan(value: object) -> dict[str, object]:
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
