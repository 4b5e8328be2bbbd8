"""Experiment files as text: reading, ``--set`` overrides, and writing back."""

from __future__ import annotations

import copy
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eqp_hw.errors import ConfigurationError

__all__ = ["apply_overrides", "read_toml", "render_toml"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A value that begins like this was meant as TOML; anything else is text without quotes.
_TOML_OPENING = re.compile(r"[\[{\"']")


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return text and content of a TOML file.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is not TOML (the message has line and column).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"cannot be read: {reason}", source=path) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"is not UTF-8 text (byte {error.start})", source=path, allowed="a TOML file"
        ) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = str(error)
        raise ConfigurationError(
            f"is not TOML: {problem[:1].lower()}{problem[1:]}{_shown_line(text, problem)}",
            source=path,
        ) from error


def _shown_line(text: str, problem: str) -> str:
    found = re.search(r"at line (\d+)", problem)
    if found is None:
        return ""
    lines = text.splitlines()
    number = int(found.group(1))
    return f": {lines[number - 1].strip()!r}" if number <= len(lines) else ""


def apply_overrides(
    content: Mapping[str, Any], overrides: Iterable[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Apply ``key=value`` overrides, keys dotted and values in TOML.

    Values that are no TOML and do not begin like a quoted text, list or table are taken as
    text, so that ``task.folder=/data/mnist`` needs no quotes.

    Returns
    -------
    The changed content, and each override by its dotted key.

    Raises
    ------
    ConfigurationError
        An override that is not ``key=value``, or that reaches into something not a table.
    """
    result = copy.deepcopy(dict(content))
    by_key = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        names = [name.strip() for name in key.split(".")]
        source = f"--set {override}"
        if not equals or not all(_BARE_KEY.fullmatch(name) for name in names):
            raise ConfigurationError(
                "not an override", source=source, allowed="table.key=value, e.g. run.epochs=5"
            )
        table = result
        for depth, name in enumerate(names[:-1]):
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigurationError(
                    "not a table, so it has no keys",
                    source=source,
                    field=".".join(names[: depth + 1]),
                    value=table,
                )
        table[names[-1]] = _parsed(value.strip(), source)
        by_key[".".join(names)] = override
    return result, by_key


def _parsed(text: str, source: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if not text or _TOML_OPENING.match(text):
            raise ConfigurationError(
                f"the value is not TOML: {error}",
                source=source,
                allowed='e.g. 5, 0.1, true, "text", [1, 2]',
            ) from error
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def render_toml(content: Mapping[str, Any]) -> str:
    """Return nested mappings as TOML text; entries that are None are left out."""
    return "\n".join(_table(content, ())).strip() + "\n"


def _table(content: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    own = {k: v for k, v in content.items() if not isinstance(v, Mapping) and v is not None}
    inner = {k: v for k, v in content.items() if isinstance(v, Mapping) and v}
    lines = []
    if path and (own or not inner):
        lines = ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in own.items()]
    for key, value in inner.items():
        lines += _table(value, (*path, key))
    return lines


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{'-' if value < 0 else ''}inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
    return _text(str(value))


def _text(text: str) -> str:
    # JSON's escapes are a subset of those of TOML basic strings, but for the DEL character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
