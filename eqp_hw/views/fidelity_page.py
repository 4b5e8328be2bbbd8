"""One self-contained HTML page about gradient fidelity, and its findings in words."""

from __future__ import annotations

from pathlib import Path

from eqp_hw import __version__
from eqp_hw.study.fidelity_result import ALL, DIFFERENCES, EMULATOR, Fidelity

from .page import (
    PageFigure,
    cell,
    embedded,
    page_style,
    page_template,
    refuse_other_file,
    write_page,
)
from .plots.fidelity import agreement_figure, cosine_figure

__all__ = ["conditions_of", "remarks_of", "write_fidelity_page"]

_GOOD = 0.98
_NOISY = 2.0
_WEAK = 0.99


def conditions_of(found: Fidelity) -> str:
    """Return in one line how it was measured."""
    lost = "".join(f"; {n} dropped: {reason}" for reason, n in found.lost.items())
    again = f", {found.restarts} further starts" if found.restarts else ""
    return (
        f"{found.estimator}, beta {found.beta:.3g}; parameters moved by {found.step:.2g}; "
        f"{found.reads} reads of a state, all {found.replicates} times; "
        f"{found.used} of {found.samples} samples{again}{lost}"
    )


def remarks_of(found: Fidelity) -> list[str]:
    """Return what the figures mean, as sentences."""
    remarks = []
    rows = {row.reference: row for row in found.rows if row.group == ALL}
    own, known = rows.get(DIFFERENCES), rows.get(EMULATOR)
    if own is None:
        remarks.append(
            "In no sample did the phases follow parameters that move and return: there are no "
            "finite differences. Is the rig calibrated?"
        )
    else:
        low = own.cosine + 2 * own.cosine_error < _GOOD
        if own.ceiling < _WEAK:
            remarks.append(
                f"Noise alone leaves a cosine of {own.ceiling:.3f}: more reads or samples would "
                "tell more."
            )
        if low and own.cosine < own.ceiling - 2 * own.cosine_error:
            remarks.append(
                "EP does not follow the cost of this substrate: nudges too strong for the "
                "estimator (smaller beta, or centred), phases not settled, or couplings that "
                "differ by direction."
            )
        elif known is not None and known.cosine + 2 * known.cosine_error < _GOOD:
            remarks.append(
                "EP follows the cost of this substrate; the emulator at the parameters that it "
                "says it holds does not: the calibration is wrong, training need not suffer."
            )
    if found.strays:
        remarks.append(
            f"{found.strays} of {found.used} samples have no equilibrium of the emulator beside "
            "the phases as read."
        )
    elif known is not None:
        remarks.append(
            f"Free phases are {found.mismatch:.2g} rad from the emulator's (median over samples "
            "of the worst node)."
        )
    for name, excess in (
        ("EP gradients", found.excess_ep),
        ("finite differences", found.excess_differences),
    ):
        if excess > _NOISY:
            remarks.append(
                f"Repeated {name} scatter {excess:.1f} times as much as the read-out noise "
                "explains (drift, sources, too short a settling); the errors given say so too."
            )
    if found.left_out:
        name, reason = next(iter(found.left_out.items()))
        remarks.append(
            f"{len(found.left_out)} parameters could not be moved, e.g. {name}: {reason}"
        )
    return remarks


def _figures(found: Fidelity) -> list[PageFigure]:
    return [
        PageFigure(
            "agreement",
            "Component by component",
            "Every dot is one coupling or one quadrature of a bias field. On the line EP and the "
            "reference agree. Bars are standard errors.",
            lambda: agreement_figure(found),
        ),
        PageFigure(
            "cosine",
            "By group",
            "Cosine and norm ratio of each group of parameters. The tick is the cosine that equal "
            "gradients would have at the noise of this measurement.",
            lambda: cosine_figure(found),
        ),
    ]


def write_fidelity_page(found: Fidelity, path: str | Path) -> Path:
    """Write the page as one HTML file.

    Raises
    ------
    UnavailableError
        matplotlib or jinja2 is not installed.
    RecordError
        The page cannot be written, or would replace a file that is not a page of ours.
    """
    target = Path(path)
    refuse_other_file(target)
    page = page_template("fidelity.html.j2").render(
        version=__version__,
        style=page_style(),
        found=found,
        conditions=conditions_of(found),
        remarks=remarks_of(found),
        figures=[embedded(figure) for figure in _figures(found)],
        rows=[
            [
                row.reference,
                row.group,
                str(row.parameters),
                cell(row.cosine, ".5f"),
                cell(row.cosine_error, ".1g"),
                cell(row.ceiling, ".5f"),
                cell(row.ratio, ".4f"),
                cell(row.ratio_error, ".1g"),
            ]
            for row in found.rows
        ],
        points=[
            [one.group, one.parameter]
            + [
                cell(value, ".4g")
                for value in (
                    one.ep,
                    one.ep_error,
                    one.differences,
                    one.differences_error,
                    one.emulator,
                )
            ]
            for one in found.points
        ],
    )
    return write_page(target, page)
