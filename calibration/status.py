"""Which calibration is in force on a rig, and why no other one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from eqp_hw.errors import EqpError
from eqp_hw.rig.calibrations import (
    LATEST,
    NOMINAL,
    CalibrationLine,
    CalibrationStatus,
    FindingLine,
    StepResult,
)
from eqp_hw.rig.load import Rig

from .latest import age_of, find_calibrations, is_of_rig, load_measured, reason_against, some
from .reader import CalibrationFile, read_calibration

__all__ = ["status_of", "worst_residual"]


def status_of(
    rig: Rig, identities: Mapping[str, str] | None, *, now: datetime | None = None
) -> CalibrationStatus:
    """Return which calibration a rig file gets now; see `CalibrationStatus`."""
    asked = rig.settings.calibration.file or NOMINAL
    in_force, refused = None, None
    headings = find_calibrations(rig, now=now)
    if asked != NOMINAL:
        try:
            in_force = load_measured(rig, identities, now=now, among=headings).path
        except EqpError as error:
            refused = str(error)
    history = []
    for heading in headings:
        if identities is None and not is_of_rig(heading, rig, None):
            continue
        measured = heading.measured
        used = in_force is not None and heading.path.resolve() == in_force.resolve()
        reason = reason_against(heading, rig, identities, now=now)
        if reason is None and heading.faults and not used:
            reason = f"it has found broken: {some(heading.faults)}; {LATEST!r} takes one without"
        history.append(
            CalibrationLine(
                heading.path,
                heading.started,
                None if measured is None else measured.isoformat(timespec="seconds"),
                heading.complete,
                tuple(heading.ended),
                reason,
                used,
            )
        )
    if in_force is None:
        return CalibrationStatus(
            asked, None, refused, identities is not None, history=tuple(history)
        )
    found = read_calibration(in_force)
    return CalibrationStatus(
        asked,
        in_force,
        None,
        identities is not None,
        age_of(found.heading, now),
        tuple(
            StepResult(
                step.name,
                True,
                step.summary,
                tuple(FindingLine(f.level, f.subject, f.text) for f in step.fit.findings),
                step.seconds,
                True,
            )
            for step in found.steps.values()
        ),
        worst_residual(found),
        tuple(history),
    )


def worst_residual(found: CalibrationFile) -> tuple[str, str, float, str] | None:
    """Return step, name, size and unit of the residual that stands out most of its own kind.

    That is the largest beside the root mean square of its array; sizes of different units
    cannot be compared.
    """
    worst: tuple[str, str, float, str] | None = None
    most = -1.0
    for step in found.steps.values():
        for name, values in step.fit.residuals.items():
            sizes = np.abs(np.asarray(values))
            sizes = sizes[np.isfinite(sizes)]
            rms = float(np.sqrt((sizes**2).mean())) if sizes.size else 0.0
            if rms > 0 and sizes.max() / rms > most:
                most = float(sizes.max() / rms)
                worst = (step.name, name, float(sizes.max()), step.fit.units.get(name, ""))
    return worst
