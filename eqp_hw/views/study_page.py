"""One self-contained HTML page about an estimator study."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from eqp_hw import __version__
from eqp_hw.study.result import Study

from .page import (
    PageFigure,
    cell,
    embedded,
    page_style,
    page_template,
    refuse_other_file,
    write_page,
)
from .plots.estimator_study import bias_figure, cost_figure, noise_figure

__all__ = ["study_figures", "write_study_page"]

_COLUMNS = {
    "estimator": ("estimator", ""),
    "noise": ("σ, rad", ".1g"),
    "displacement": ("|Δφ|, rad", ".3g"),
    "beta": ("β", ".3g"),
    "states": ("states", "d"),
    "repeats": ("reads a state", "d"),
    "error": ("error", ".2e"),
    "cosine": ("cosine", ".5f"),
    "used": ("used", "d"),
    "lost": ("lost", "d"),
}


def study_figures(study: Study) -> list[PageFigure]:
    """Return the figures that a study allows."""
    figures = []
    if study.at(0.0):
        figures.append(
            PageFigure(
                "bias",
                "Bias: what exact reads leave",
                "The slope is the order of the estimator: 1 for one-sided, 2 for centred, 4 for "
                "Richardson, M for Chebyshev with M nodes. At the lower end rounding takes over.",
                lambda: bias_figure(study),
            )
        )
    if any(row.noise > 0 for row in study.rows):
        figures.append(
            PageFigure(
                "noise",
                "Error under read-out noise",
                "To the left noise divided by a small nudge, to the right bias."
                + (
                    " The cross is what the controller chooses by itself from what it measures."
                    if any(choice.noise > 0 for choice in study.choices)
                    else ""
                ),
                lambda: noise_figure(study),
            )
        )
    figures.append(
        PageFigure(
            "cost",
            "Cost",
            "States that one estimate reads; and wall time on the emulator, which lets real "
            "nudges relax side by side. On hardware each state costs a settling time.",
            lambda: cost_figure(study),
        )
    )
    return figures


def write_study_page(study: Study, path: str | Path) -> Path:
    """Write the page of a study as one HTML file.

    Raises
    ------
    UnavailableError
        matplotlib or jinja2 is not installed.
    RecordError
        The page cannot be written, or would replace a file that is not a page of ours.
    """
    target = Path(path)
    refuse_other_file(target)
    page = page_template("study.html.j2").render(
        version=__version__,
        style=page_style(),
        study=study,
        names=list(dict.fromkeys(row.estimator for row in study.rows)),
        choices=[
            {
                **asdict(choice),
                "noise": f"{choice.noise:g}",
                "beta": cell(choice.beta, ".3g"),
                "error": cell(choice.error, ".2e"),
                "best": cell(choice.best, ".2e"),
            }
            for choice in study.choices
        ],
        figures=[embedded(figure) for figure in study_figures(study)],
        header=[label for label, _ in _COLUMNS.values()],
        rows=[
            [
                value if form == "" else cell(value, form)
                for value, form in (
                    (getattr(row, name), form) for name, (_, form) in _COLUMNS.items()
                )
            ]
            for row in study.rows
        ],
    )
    return write_page(target, page)
