"""One self-contained HTML page about a calibration: whether to trust it, seen in pictures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eqp_hw import __version__
from eqp_hw.errors import EqpError
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Rig, make_rig
from eqp_hw.views.page import (
    PageFigure,
    cell,
    embedded,
    page_style,
    page_template,
    refuse_other_file,
    write_page,
)

from .layout import StoredStep
from .plots import figures_picture, plain_figures, plot_picture, residuals_picture
from .reader import CalibrationFile, read_calibration
from .step import Step, StepFit
from .steps import STEPS

__all__ = ["step_figures", "write_report"]

_ORDER = {"fault": 0, "warning": 1, "note": 2}


def write_report(
    calibration: str | Path, target: str | Path, *, steps: Sequence[Step] | None = None
) -> Path:
    """Write the page of a calibration file as one HTML file.

    Parameters
    ----------
    steps
        Where steps are looked up that draw pictures of their own; `STEPS` by default.

    Raises
    ------
    UnavailableError
        matplotlib or jinja2 is not installed.
    RecordError, CalibrationError
        The calibration cannot be read, or the page not written; a file that is no page of ours is
        not replaced.
    """
    path = Path(target)
    refuse_other_file(path)
    found = read_calibration(calibration)
    rig = _rig(found)
    fits = {name: step.fit for name, step in found.steps.items()}
    known = {step.name: step for step in (STEPS if steps is None else steps)}
    page = page_template("calibration.html.j2").render(
        version=__version__,
        style=page_style(),
        rig=found.heading.rig_name,
        subtitle=_subtitle(found),
        tiles=_tiles(found),
        findings=_findings(found),
        steps=[
            {
                "name": step.name,
                "description": step.description,
                "summary": step.summary,
                "when": _when(step),
                "figures": [
                    embedded(figure)
                    for figure in step_figures(step, known.get(step.name), rig, fits)
                ],
                "rows": _rows(step),
            }
            for step in found.steps.values()
        ],
        attempts=[{"step": step, "reason": reason} for step, reason, _ in found.attempts],
        facts=_facts(found),
    )
    return write_page(path, page)


def step_figures(
    stored: StoredStep,
    step: Step | None,
    rig: Rig | None,
    others: Mapping[str, StepFit] | None = None,
) -> list[PageFigure]:
    """Return the pictures of a step: its own, its figures, its residuals.

    Parameters
    ----------
    others
        What all steps of the file have found, by name, to compare with.
    """
    figures = []
    if step is not None and rig is not None:
        figures += [
            PageFigure(f"{stored.name}-{k}", plot.title, plot.caption, partial(plot_picture, plot))
            for k, plot in enumerate(
                [
                    *step.plots(stored.data, stored.fit, rig),
                    *step.comparisons(stored.fit, others or {}),
                ]
            )
        ]
    own, nominal = bool(figures), None if rig is None else nominal_calibration(rig)
    if plain_figures(stored, own=own):
        figures.append(
            PageFigure(
                f"{stored.name}-figures",
                "Figures",
                "One point an element in the order of the rig file, bars of one standard error; "
                "thin lines the nominal values of the rig file; matrices as maps without their "
                "diagonal. What stands apart is worth a look.",
                lambda: figures_picture(stored, nominal, own=own),
            )
        )
    if any(np.size(values) for values in stored.fit.residuals.values()):
        figures.append(
            PageFigure(
                f"{stored.name}-residuals",
                "Residuals",
                "Measured minus fitted. A fit to be trusted leaves noise without any pattern.",
                lambda: residuals_picture(stored),
            )
        )
    return figures


def _rig(found: CalibrationFile) -> Rig | None:
    try:
        return make_rig(tomllib.loads(found.rig_text))
    except (EqpError, tomllib.TOMLDecodeError):
        return None  # a rig file of another version: the pictures that need it are left out


def _subtitle(found: CalibrationFile) -> str:
    heading = found.heading
    state = (
        "complete"
        if heading.complete
        else f"incomplete, missing: {', '.join(heading.missing) or 'it was cut off'}"
    )
    temperature = (
        "" if heading.temperature_C is None else f", bench at {heading.temperature_C:g} °C"
    )
    return f"Begun {heading.started}, {state}{temperature}; {heading.path.name}"


def _tiles(found: CalibrationFile) -> list[dict[str, str]]:
    levels = [finding.level for step in found.steps.values() for finding in step.fit.findings]
    own = [step for step in found.steps.values() if not step.taken_from]
    total = sum(step.seconds for step in own)
    waited = sum(step.times_s.get(key, 0.0) for step in own for key in ("transport", "settling"))
    return [
        {"value": "complete" if found.heading.complete else "incomplete", "label": "state"},
        {"value": str(len(found.steps)), "label": "steps"},
        {"value": str(levels.count("fault")), "label": "faults"},
        {"value": str(levels.count("warning")), "label": "warnings"},
        {"value": f"{total:.1f} s", "label": "measuring"},
        {
            "value": f"{min(waited / total, 1.0):.0%}" if total > 0 else "–",
            "label": "of it on wires and settling",
        },
    ]


def _findings(found: CalibrationFile) -> list[dict[str, str]]:
    rows = [
        {"level": f.level, "step": step.name, "subject": f.subject, "text": f.text}
        for step in found.steps.values()
        for f in step.fit.findings
    ]
    return sorted(rows, key=lambda row: _ORDER[row["level"]])


def _when(step: StoredStep) -> str:
    if step.taken_from:
        return f"taken over from {Path(step.taken_from).name}, measured {step.ended}"
    return f"measured {step.ended}, {step.seconds:.1f} s"


def _rows(step: StoredStep) -> list[list[str]]:
    rows = []
    for name, values in step.fit.figures.items():
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            continue
        known = array[np.isfinite(array)].astype(float)
        error = np.asarray(step.fit.uncertainties.get(name, np.nan), dtype=float)
        error = error[np.isfinite(error)]
        nothing = float("nan")
        rows.append(
            [
                name,
                step.fit.units.get(name, ""),
                f"{known.size} of {array.size}",
                cell(float(np.median(known)) if known.size else nothing, ".5g"),
                cell(float(known.min()) if known.size else nothing, ".5g"),
                cell(float(known.max()) if known.size else nothing, ".5g"),
                cell(float(np.median(error)) if error.size else nothing, ".2g"),
            ]
        )
    return rows


def _facts(found: CalibrationFile) -> Mapping[str, Any]:
    heading, origin = found.heading, found.provenance
    libraries = ", ".join(f"{k} {v}" for k, v in dict(origin.get("libraries", {})).items())
    return {
        **{f"instrument {name}": text for name, text in heading.identities.items()},
        "rig file": heading.rig_path or "made in Python",
        "seed": heading.seed,
        "eqp_hw": origin.get("eqp_hw", ""),
        "libraries": libraries,
        "host": origin.get("host", ""),
        "command": " ".join(str(word) for word in origin.get("command", [])),
        "continued": f"{len(found.resumes)} times" if found.resumes else "no",
    }
