"""Whether the file that describes the substrate is still the one that a run began with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqp_hw.errors import ConfigurationError
from eqp_hw.records.reader import RunData

__all__ = [
    "accepted_calibration",
    "accepted_rig",
    "changes_between",
    "refuse_changed_calibration",
    "refuse_changed_rig",
]

SHOWN = 3
_ABSENT = object()


def accepted_rig(data: RunData) -> str | None:
    """Return the text that the run was begun with, or was last continued with by consent."""
    derived = data.resolved.get("derived", {})
    texts = [derived.get("substrate_file"), *(e.get("substrate_file") for e in data.resumes)]
    known = [text for text in texts if isinstance(text, str)]
    return known[-1] if known else None


def refuse_changed_rig(data: RunData, now: str, path: Path) -> None:
    """See that a rig file says what it said; comments may differ.

    Raises
    ------
    ConfigurationError
        It does not; names what changed and how to go on.
    """
    before = accepted_rig(data)
    changes = [] if before is None else changes_between(before, now)
    if changes:
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        raise ConfigurationError(
            f"has changed since the run {data.path} was begun: {'; '.join(changes[:SHOWN])}{more}",
            source=path,
            allowed="the file as it was; or `eqp-hw resume --accept-changed-rig`, which goes on "
            "with the new one and keeps its text in the run file",
        )


def accepted_calibration(data: RunData) -> Mapping[str, Any] | None:
    """Return the calibration that the run was begun with, or was last continued with."""
    known: Mapping[str, Any] | None = data.resolved.get("derived", {}).get("calibration")
    for entry in data.resumes:
        if "calibration" in entry:
            known = entry["calibration"]
    return known


def refuse_changed_calibration(data: RunData, now: Mapping[str, Any] | None) -> None:
    """See that the measured calibration in force has the content that it had.

    Raises
    ------
    ConfigurationError
        It has not; names both and how to go on.
    """
    before = accepted_calibration(data)
    if (before or {}).get("sha256") == (now or {}).get("sha256"):
        return
    said = "nominal figures" if before is None else f"the calibration {before['path']}"
    raise ConfigurationError(
        f"the run {data.path} was begun with {said}",
        field="calibration.file",
        value="nominal figures" if now is None else now["path"],
        allowed="that one, named by its path; or `eqp-hw resume --accept-changed-rig`, which "
        "goes on with the new one and notes it in the run file",
    )


def changes_between(before: str, now: str) -> list[str]:
    """Return what differs, key by key."""
    try:
        old, new = _flat(tomllib.loads(before)), _flat(tomllib.loads(now))
    except tomllib.TOMLDecodeError:
        return [] if before == now else ["it cannot be compared key by key"]
    return [
        f"{key} {_said(old.get(key, _ABSENT))} -> {_said(new.get(key, _ABSENT))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _said(value: object) -> str:
    return "nothing" if value is _ABSENT else repr(value)
