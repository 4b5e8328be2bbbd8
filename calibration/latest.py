"""Which calibration a rig gets: the newest that is complete, its own, and not too old."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from eqp_hw.errors import ConfigurationError, EqpError
from eqp_hw.records.failures import record_failures
from eqp_hw.records.provenance import file_checksum
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.calibrations import LATEST, MeasuredCalibration
from eqp_hw.rig.load import Rig

from .errors import CalibrationError
from .figures import from_arrays, further_figures, recommendations
from .identity import differing_instruments, differing_wiring, wiring_of
from .reader import CalibrationFile, Heading, read_calibration, read_heading
from .store import folder_of

__all__ = [
    "DRIFT_FIGURE",
    "find_calibrations",
    "find_latest",
    "is_of_rig",
    "load_measured",
    "reason_against",
    "resolve",
]

_log = logging.getLogger("eqp_hw.calibration")

DRIFT_FIGURE = "drift_walk"
"""Figure of a step: random walk of phases, rad/√s; scalar or an array."""


def find_calibrations(rig: Rig) -> list[Heading]:
    """Return the headings of all calibration files in a rig's folder, newest first.

    Files that are no calibrations, or are damaged, are left out and logged.
    """
    folder = folder_of(rig)
    found: list[Heading] = []
    with record_failures(folder, "the folder of calibrations cannot be read"):
        paths = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    for path in paths:
        try:
            found.append(read_heading(path))
        except EqpError as error:
            _log.warning("left out: %s", error)
    return sorted(found, key=lambda heading: (heading.started, heading.path.name), reverse=True)


def is_of_rig(heading: Heading, rig: Rig, identities: Mapping[str, str] | None) -> bool:
    """Tell whether a calibration is of this rig: by its instruments, else by name and wiring."""
    if identities is not None:
        return differing_instruments(heading.identities, identities) is None
    return (
        heading.rig_name == rig.settings.rig.name
        and differing_wiring(heading.wiring, wiring_of(rig)) is None
    )


def find_latest(rig: Rig, identities: Mapping[str, str] | None) -> Heading | None:
    """Return the newest complete calibration of this rig and wiring, whatever its age."""
    for heading in find_calibrations(rig):
        if (
            heading.complete
            and is_of_rig(heading, rig, identities)
            and differing_wiring(heading.wiring, wiring_of(rig)) is None
        ):
            return heading
    return None


def resolve(rig: Rig, identities: Mapping[str, str] | None) -> Path:
    """Return the file that ``calibration.file`` means.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    asked = rig.settings.calibration.file
    assert asked is not None
    if asked != LATEST:
        return rig.base / Path(asked).expanduser()
    latest = find_latest(rig, identities)
    if latest is not None:
        return latest.path
    raise ConfigurationError(
        f"there is no calibration to use in {folder_of(rig)}{_others(rig, identities)}",
        source=rig.path or None,
        field="calibration.file",
        value=asked,
        allowed=f"`eqp-hw calibrate {rig.path or 'RIG.toml'}` makes one; a path; or "
        '"nominal", for the figures of the data sheets',
    )


def _others(rig: Rig, identities: Mapping[str, str] | None) -> str:
    """Return in words why the newest file in the folder is not the one."""
    found = find_calibrations(rig)
    if not found:
        return ""
    newest = found[0]
    return f"; the newest file there, {newest.path.name}, cannot be used: " + (
        reason_against(newest, rig, identities) or "it is of another rig"
    )


def reason_against(
    heading: Heading,
    rig: Rig,
    identities: Mapping[str, str] | None,
    *,
    now: datetime | None = None,
) -> str | None:
    """Return why a calibration may not be used on a rig, None where it may.

    Parameters
    ----------
    identities
        Of the rig's instruments; not compared where None.
    now
        Time to judge its age by.
    """
    name = rig.settings.rig.name
    if identities is not None:
        other = differing_instruments(heading.identities, identities)
        if other is not None:
            return (
                f"it was measured on the rig {heading.rig_name!r} with other instruments than "
                f"this rig {name!r} has ({other})"
            )
    wired = differing_wiring(heading.wiring, wiring_of(rig))
    if wired is not None:
        return f"it was measured on another wiring than the rig {name!r} has ({wired})"
    if not heading.complete:
        missing = ", ".join(heading.missing) or "it was cut off"
        return f"it is incomplete (missing: {missing}); `eqp-hw calibrate --resume` goes on"
    most, age_h = rig.settings.calibration.max_age_h, _age_h(heading, now)
    if most is not None and age_h is not None and age_h > most:
        return f"it is {age_h:.1f} h old, calibration.max_age_h = {most:g}"
    return None


def load_measured(
    rig: Rig, identities: Mapping[str, str] | None, *, now: datetime | None = None
) -> MeasuredCalibration:
    """Return the calibration that ``calibration.file`` of a rig names.

    Raises
    ------
    ConfigurationError
        It cannot be used; names the file, and why.
    """
    path = resolve(rig, identities)
    try:
        found = read_calibration(path)
        reason = reason_against(found.heading, rig, identities, now=now)
        reason = reason or _drifted(found, rig, now)
        if reason is None:
            source = f"{path.name}, measured {found.heading.started}"
            figures = from_arrays(found.figures, nominal_calibration(rig), source)
    except EqpError as error:
        raise _refused(rig, str(error)) from error
    if reason is not None:
        raise _refused(rig, f"{path}: {reason}")
    measured = found.heading.measured
    assert measured is not None
    faults = tuple(
        str(finding)
        for step in found.steps.values()
        for finding in step.fit.findings
        if finding.level == "fault"
    )
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        _log.warning("%s: found broken when calibrated: %s%s", path, "; ".join(faults[:3]), more)
    return MeasuredCalibration(
        figures,
        path,
        file_checksum(path),
        measured,
        recommendations(step.fit for step in found.steps.values()),
        faults,
        found.uncertainties,
        further_figures(step.fit for step in found.steps.values()),
    )


def _refused(rig: Rig, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the calibration is refused: {why}",
        source=rig.path or None,
        field="calibration.file",
        value=rig.settings.calibration.file,
        allowed=f"a complete one of this rig (`eqp-hw calibrate status {rig.path or 'RIG.toml'}` "
        'lists them), or "nominal"',
    )


def _age_h(heading: Heading, now: datetime | None) -> float | None:
    measured = heading.measured
    if measured is None:
        return None
    age_h = ((now or datetime.now(UTC)) - measured).total_seconds() / 3600
    if age_h < -0.1:
        _log.warning("%s was measured in the future: is the clock right?", heading.path)
    return max(age_h, 0.0)


def _drifted(found: CalibrationFile, rig: Rig, now: datetime | None) -> str | None:
    most, age_h = rig.settings.calibration.max_drift, _age_h(found.heading, now)
    if most is None or age_h is None:
        return None
    rates = [
        step.fit.figures[DRIFT_FIGURE]
        for step in found.steps.values()
        if DRIFT_FIGURE in step.fit.figures
    ]
    if not rates:
        raise CalibrationError(
            f"{found.heading.path}: calibration.max_drift = {most:g}, and no step has measured "
            "drift"
        )
    rate = float(np.nanmax(np.abs(rates[-1])))
    drift = rate * float(np.sqrt(3600 * age_h))
    if drift <= most:
        return None
    return (
        f"in {age_h:.1f} h phases drift by {drift:.3g} rad (measured {rate:.3g} rad/sqrt(s)), "
        f"calibration.max_drift = {most:g}"
    )
