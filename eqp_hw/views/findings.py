"""What a reader of a run should know before trusting its numbers."""

from __future__ import annotations

import shlex
from typing import Literal, NamedTuple, final

import numpy as np

from eqp_hw.records.reader import RunData

from .columns import floats

__all__ = ["Finding", "findings"]

_MANY_HOPS = 0.05  # of the samples measured
_LARGE_SHIFT = 1.0  # rad
_LARGE_RESIDUAL = 1e-6


@final
class Finding(NamedTuple):
    """One remark: how serious, and one or two sentences.

    Attributes
    ----------
    level
        "note" or "warning".
    text
        What, and what to do.
    """

    level: Literal["note", "warning"]
    text: str


def findings(run: RunData) -> list[Finding]:
    """Return remarks on a run, warnings first."""
    found = [*_progress(run), *_measurement(run)]
    if run.resumes:
        times = "once" if len(run.resumes) == 1 else f"{len(run.resumes)} times"
        found.append(Finding("note", f"The run was interrupted and continued {times}."))
    git = run.provenance.get("git")
    if isinstance(git, dict) and git.get("modified"):
        found.append(
            Finding("note", "The code had uncommitted changes: the commit alone does not tell it.")
        )
    return sorted(found, key=lambda finding: finding.level != "warning")


def _progress(run: RunData) -> list[Finding]:
    found = []
    if not run.finished:
        command = f"eqp-hw resume {shlex.quote(str(run.path))}"
        found.append(
            Finding("warning", f"Unfinished run: there is no test result. Continue it: {command}")
        )
    distance = floats(run.epochs, "train_distance")
    costs = floats(run.steps, "cost")
    if len(costs) and not np.isfinite(costs).all():
        found.append(
            Finding("warning", "The cost was not finite in some steps: training has diverged.")
        )
    elif len(distance) >= 5 and distance[-1] > 0.9 * distance[0]:
        found.append(
            Finding(
                "warning",
                f"The distance to the targets hardly fell (from {distance[0]:.3g} to "
                f"{distance[-1]:.3g}): try another learning rate, more initial states, or a "
                "network with longer bonds.",
            )
        )
    return found


def _measurement(run: RunData) -> list[Finding]:
    steps = run.steps
    samples = floats(steps, "n_samples").sum()
    totals = {name: floats(steps, name).sum() for name in ("hops", "excluded", "unsettled")}
    found = []
    if samples and totals["hops"] > _MANY_HOPS * samples:
        found.append(
            Finding(
                "warning",
                f"Many hops: {totals['hops']:.0f} nudges left their basin, for {samples:.0f} "
                "training samples. A smaller beta makes hops rarer.",
            )
        )
    if totals["excluded"]:
        found.append(
            Finding(
                "warning",
                f"Samples that gave no usable estimate and were left out of their gradients: "
                f"{totals['excluded']:.0f}.",
            )
        )
    if totals["unsettled"]:
        found.append(
            Finding(
                "warning",
                f"{totals['unsettled']:.0f} measurements did not settle into an equilibrium.",
            )
        )
    residual = _largest(steps.get("residual_max"))
    if residual > _LARGE_RESIDUAL:
        found.append(
            Finding(
                "warning",
                f"The largest residual |∂F/∂φ| is {residual:.1e}: states were read before they "
                "had settled.",
            )
        )
    shift = _largest(steps.get("displacement_max"))
    if shift > _LARGE_SHIFT:
        found.append(
            Finding(
                "note",
                f"Nudges moved phases by up to {shift:.2g} rad, beyond linear response; such "
                "estimates are biased. A smaller beta, or a centred estimator, helps.",
            )
        )
    return found


def _largest(values: object) -> float:
    array = np.asarray(() if values is None else values, dtype=np.float64)
    array = array[np.isfinite(array)]
    return float(array.max()) if len(array) else 0.0
