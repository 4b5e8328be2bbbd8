"""Which calibration a rig gets: the newest that is complete, its own, sound, and not too old."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
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
from .identity import differing_instruments, differing_wiring, shortened, wiring_of
from .reader import CalibrationFile, Heading, read_calibration, read_heading
from .store import folder_of

__all__ = [
    "DRIFT_FIGURE",
    "age_of",
    "find_calibrations",
    "find_latest",
    "highest_drift",
    "hours",
    "is_of_rig",
    "load_measured",
    "reason_against",
    "resolve",
    "some",
]

_log = logging.getLogger("eqp_hw.calibration")

DRIFT_FIGURE = "drift_walk"
"""Figure of a step: random walk of phases, rad/√s; scalar or an array."""

_CLOCKS_DIFFER_H = 0.1
_UPPER = 2.0
_SHOWN = 3
_SHOWN_RIGS = 6


def find_calibrations(rig: Rig, *, now: datetime | None = None) -> list[Heading]:
    """Return the headings of all calibration files in a rig's folder, newest first.

    Those that are dated in the future come last: when they were measured is not known. Files that
    are no calibrations, or are damaged, are left out and logged.
    """
    folder = folder_of(rig)
    found: list[Heading] = []
    with record_failures(folder, "the folder of calibrations cannot be read", "see its rights"):
        paths = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    for path in paths:
        try:
            found.append(read_heading(path))
        except EqpError as error:
            _log.warning("left out: %s", error)
    return sorted(
        found,
        key=lambda one: (not _of_the_future(one, now), one.started, one.path.name),
        reverse=True,
    )


def is_of_rig(heading: Heading, rig: Rig, identities: Mapping[str, str] | None) -> bool:
    """Tell whether a calibration is of this rig: by its instruments, else by name and wiring."""
    if identities is not None:
        return differing_instruments(heading.identities, identities) is None
    return (
        heading.rig_name == rig.settings.rig.name
        and differing_wiring(heading.wiring, wiring_of(rig)) is None
    )


def find_latest(
    rig: Rig,
    identities: Mapping[str, str] | None,
    *,
    among: Sequence[Heading] | None = None,
) -> Heading | None:
    """Return the newest complete calibration of this rig and wiring, whatever its age.

    One that has found nothing broken comes before newer ones that have: what a fault is has to be
    mended, and until then the former figures stay in force. Where all have found something, it is
    the newest; a file that cannot be read whole is passed over. Both are logged.

    Parameters
    ----------
    among
        Newest first; `find_calibrations` by default.
    """
    own = [
        heading
        for heading in (find_calibrations(rig) if among is None else among)
        if heading.complete
        and is_of_rig(heading, rig, identities)
        and differing_wiring(heading.wiring, wiring_of(rig)) is None
    ]
    for heading in sorted(own, key=lambda one: bool(one.faults)):
        try:
            read_calibration(heading.path)
        except EqpError as error:
            _log.warning("left out: %s", error)
            continue
        newer = own[: own.index(heading)]
        broken = next((one for one in newer if one.faults), None)
        if broken is not None:
            _log.warning(
                "%s is newer than %s and not taken, for it has found broken: %s (mend that and "
                "calibrate anew; named by its path it is used all the same)",
                broken.path,
                heading.path.name,
                some(broken.faults),
            )
        return heading
    return None


def resolve(
    rig: Rig,
    identities: Mapping[str, str] | None,
    *,
    among: Sequence[Heading] | None = None,
) -> Path:
    """Return the file that ``calibration.file`` means; ``among`` as in `find_latest`.

    Raises
    ------
    ConfigurationError
        There is none; or the instruments were not asked, and there are some of several rigs of
        this name and wiring.
    """
    asked = rig.settings.calibration.file
    assert asked is not None
    if asked != LATEST:
        return rig.base / Path(asked).expanduser()
    found = find_calibrations(rig) if among is None else among
    if identities is None:
        _refuse_several(found, rig)
    latest = find_latest(rig, identities, among=found)
    if latest is not None:
        return latest.path
    raise ConfigurationError(
        f"there is no calibration to use in {folder_of(rig)}{_others(found, rig, identities)}",
        source=rig.path or None,
        field="calibration.file",
        value=asked,
        allowed=f"`eqp-hw calibrate {rig.path or 'RIG.toml'}` makes one; a path; or "
        '"nominal", for the figures of the data sheets',
    )


def _refuse_several(found: Sequence[Heading], rig: Rig) -> None:
    """Refuse to guess which of several rigs is meant where the instruments were not asked."""
    newest: list[Heading] = []
    for heading in found:
        others = (differing_instruments(heading.identities, one.identities) for one in newest)
        if heading.complete and is_of_rig(heading, rig, None) and all(others):
            newest.append(heading)
    if len(newest) < 2:
        return
    names = [
        name
        for name in newest[0].identities
        if len({heading.identities.get(name) for heading in newest}) > 1
    ]
    listed = "; ".join(
        f"{heading.path} ({_whose(heading, newest[number == 0], names[:2])})"
        for number, heading in enumerate(newest[:_SHOWN_RIGS])
    )
    more = len(newest) - _SHOWN_RIGS
    raise ConfigurationError(
        f"there are calibrations of {len(newest)} rigs of the name {rig.settings.rig.name!r} and "
        "this wiring, with other instruments each, and the instruments were not asked. The newest "
        f"of each: {listed}{f'; and {more} more' if more > 0 else ''}",
        source=rig.path or None,
        field="calibration.file",
        value=rig.settings.calibration.file,
        allowed="the path of the one that is meant (for a rehearsal: --calibration FILE)",
    )


def _whose(heading: Heading, other: Heading, names: Sequence[str]) -> str:
    """Return when a calibration was begun, and on which instruments, other than ``other``'s."""
    who = [
        f"{name}: {shortened(heading.identities.get(name), other.identities.get(name))}"
        for name in names
    ]
    return ", ".join([heading.started, *who])


def _others(found: Sequence[Heading], rig: Rig, identities: Mapping[str, str] | None) -> str:
    """Return in words why the newest file in the folder is not the one."""
    if not found:
        return ""
    newest = found[0]
    reason = reason_against(newest, rig, identities)
    if reason is None and not is_of_rig(newest, rig, identities):
        reason = (
            f"it is of the rig {newest.rig_name!r}, and this one is {rig.settings.rig.name!r} "
            "(serial numbers were not asked)"
        )
    return f"; the newest file there, {newest.path.name}, cannot be used: " + (
        reason or "it is damaged"
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
    return _too_old(heading, rig, now)


def _too_old(heading: Heading, rig: Rig, now: datetime | None) -> str | None:
    most, age_h = rig.settings.calibration.max_age_h, age_of(heading, now)
    if most is None or age_h is None:
        return None
    if _of_the_future(heading, now):
        return (
            f"it is dated {hours(-age_h)} in the future, so that calibration.max_age_h = {most:g} "
            "cannot be judged: see the clock, and calibrate anew"
        )
    if age_h > most:
        return (
            f"it is {hours(age_h)} old, calibration.max_age_h = {most:g} (its oldest step, "
            f"{_oldest(heading)}, ended {heading.measured}): calibrate anew"
        )
    return None


def load_measured(
    rig: Rig,
    identities: Mapping[str, str] | None,
    *,
    now: datetime | None = None,
    among: Sequence[Heading] | None = None,
) -> MeasuredCalibration:
    """Return the calibration that ``calibration.file`` of a rig names.

    Parameters
    ----------
    identities
        Of the rig's instruments; not compared where None.
    now
        Time to judge its age by.
    among
        Headings of those in the folder, newest first, where they have been read already.

    Raises
    ------
    ConfigurationError
        It cannot be used; names the file, and why.
    """
    path = resolve(rig, identities, among=among)
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
    faults = found.heading.faults
    if faults:
        _log.warning("%s: found broken when calibrated: %s", path, some(faults))
    if _of_the_future(found.heading, now):
        _log.warning("%s was measured in the future: is the clock right?", path)
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
        allowed=f"a complete one of this rig (`eqp-hw calibrate status {rig.path or 'RIG.toml'} "
        '--ask` lists them), or "nominal"',
    )


def age_of(heading: Heading, now: datetime | None = None) -> float | None:
    """Return the age of the oldest step in hours, negative where it is dated in the future."""
    measured = heading.measured
    return (
        None if measured is None else ((now or datetime.now(UTC)) - measured) / timedelta(hours=1)
    )


def hours(age_h: float) -> str:
    """Return an age in words."""
    return f"{age_h:.1f} h" if abs(age_h) >= 1 else f"{age_h:.2g} h"


def _of_the_future(heading: Heading, now: datetime | None) -> bool:
    age_h = age_of(heading, now)
    return age_h is not None and age_h < -_CLOCKS_DIFFER_H


def _oldest(heading: Heading) -> str:
    times = heading.times
    return min(times, key=lambda name: times[name])


def some(faults: Sequence[str]) -> str:
    """Return the first few faults, and how many more there are."""
    more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return "; ".join(faults[:_SHOWN]) + more


def _drifted(found: CalibrationFile, rig: Rig, now: datetime | None) -> str | None:
    most, age_h = rig.settings.calibration.max_drift, age_of(found.heading, now)
    if most is None or age_h is None:
        return None
    rate = highest_drift(found)
    if rate is None:
        raise CalibrationError(
            f"{found.heading.path}: calibration.max_drift = {most:g}, and no step has measured "
            "drift"
        )
    drift = rate * float(np.sqrt(3600 * max(age_h, 0.0)))
    if drift <= most:
        return None
    return (
        f"in {hours(age_h)} phases drift by {drift:.3g} rad (at most: {rate:.3g} rad/sqrt(s), "
        f"measured with its error), calibration.max_drift = {most:g}"
    )


def highest_drift(found: CalibrationFile) -> float | None:
    """Return the upper limit of the drift of any phase, rad/√s; None where none was measured.

    Squares of what steps state, D² with the error (D + e)² − D², are joined by inverse variance,
    phase by phase; the limit is two standard errors above. A figure without an error counts as it
    is.
    """
    squares, errors, plain = [], [], []
    for step in found.steps.values():
        if DRIFT_FIGURE not in step.fit.figures:
            continue
        walk = np.abs(np.ravel(step.fit.figures[DRIFT_FIGURE]))
        error = np.ravel(step.fit.uncertainties.get(DRIFT_FIGURE, np.full(walk.shape, np.nan)))
        certain = np.isfinite(walk) & np.isfinite(error) & (error > 0)
        plain += list(walk[np.isfinite(walk) & ~certain])
        squares.append(np.where(certain, walk**2, np.nan))
        errors.append(np.where(certain, (walk + error) ** 2 - walk**2, np.nan))
    most = max((len(one) for one in squares), default=0)
    joined = []
    for phase in range(most):
        # One that stands for all phases has a single element.
        at = [min(phase, len(one) - 1) for one in squares]
        square = np.array([one[k] for one, k in zip(squares, at, strict=True)])
        weight = np.array([one[k] for one, k in zip(errors, at, strict=True)]) ** -2
        known = np.isfinite(square)
        if known.any():
            total = float(weight[known].sum())
            mean = float((weight * square)[known].sum()) / total
            joined.append(np.sqrt(mean + _UPPER * total**-0.5))
    return float(max([*joined, *plain])) if joined or plain else None
