"""The instruments of a rig file that is wrong elsewhere: making safe must not wait for a fix."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from eqp_hw.errors import ConfigurationError
from eqp_hw.validation import validated

from .load import load_rig
from .schema import InstrumentSettings

__all__ = ["Salvage", "refused_key", "salvage_instruments"]

_HEADER = re.compile(r"^[ \t]*\[[^\[\]\n]+\][ \t]*(?:#.*)?$", re.MULTILINE)
_NEEDED = {"kind", "address"}


@final
@dataclass(frozen=True)
class Salvage:
    """What can be told of a rig's instruments.

    Attributes
    ----------
    instruments
        Usable tables by name.
    unusable
        Why the others cannot be used, by name.
    problems
        What is wrong with the file, to be shown.
    """

    instruments: Mapping[str, InstrumentSettings]
    unusable: Mapping[str, str]
    problems: tuple[str, ...]


def salvage_instruments(path: str | Path) -> Salvage:
    """Read the tables ``[instruments.*]`` one by one, whatever else is wrong with a rig file.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or there is no such table in it; what is wrong with the whole.
    """
    try:
        return Salvage(load_rig(path).settings.instruments, {}, ())
    except ConfigurationError as error:
        whole = error
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise whole from None
    problems, usable, unusable = [str(whole)], {}, {}
    for name, table in _tables(text).items():
        try:
            usable[name], ignored = _lenient(name, table)
            problems += [problem for problem in ignored if problem not in str(whole)]
        except ConfigurationError as error:
            unusable[name] = str(error)
    if not usable and not unusable:
        raise whole
    return Salvage(usable, unusable, tuple(problems))


def refused_key(error: ConfigurationError, name: str) -> str | None:
    """Return the key of ``[instruments.NAME]`` that an error is about, None where it is needed."""
    prefix = f"instruments.{name}."
    field = error.field or ""
    if not field.startswith(prefix):
        return None
    key = field.removeprefix(prefix).partition(".")[0]
    return None if key in _NEEDED else key


def _lenient(name: str, table: Any) -> tuple[InstrumentSettings, list[str]]:
    """Return a table without the keys that cannot be used, and what was wrong with those."""
    if not isinstance(table, Mapping):
        raise ConfigurationError("is no table", field=f"instruments.{name}", value=table)
    left = dict(table)
    ignored: list[str] = []
    while True:
        try:
            return validated(InstrumentSettings, left, field=f"instruments.{name}"), ignored
        except ConfigurationError as error:
            key = refused_key(error, name)
            if key is None or key not in left:
                raise
            ignored.append(str(error))
            del left[key]


def _tables(text: str) -> dict[str, Any]:
    """Return the tables ``instruments``, from a text that need not be TOML as a whole."""
    try:
        found = tomllib.loads(text).get("instruments", {})
        return dict(found) if isinstance(found, Mapping) else {}
    except tomllib.TOMLDecodeError:
        pass
    starts = [match.start() for match in _HEADER.finditer(text)] + [len(text)]
    instruments: dict[str, Any] = {}
    for start, end in itertools.pairwise(starts):
        try:
            part = tomllib.loads(text[start:end]).get("instruments", {})
        except tomllib.TOMLDecodeError as error:
            header = text[start:end].strip().splitlines()[0].strip("[] ")
            if header.startswith("instruments."):
                # A table below (limits) may be lost; one of an instrument must be named.
                name, _, below = header.removeprefix("instruments.").partition(".")
                instruments.setdefault(name, {} if below else f"not TOML: {error}")
            continue
        for name, table in part.items():
            known = instruments.get(name)
            if isinstance(known, Mapping):
                instruments[name] = {**known, **table}
            elif known is None:
                instruments[name] = table
    return instruments
