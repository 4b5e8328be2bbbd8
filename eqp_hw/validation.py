"""From what pydantic says to what a user can act on: field, value, what is allowed."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from eqp_hw.errors import ConfigurationError

__all__ = ["STRICT", "construct", "did_you_mean", "validated"]

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
"""Configuration of every table whose keys are all known."""

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "list_type": "a list, e.g. [0, 10]",
    "tuple_type": "a list, e.g. [0, 10]",
    "dict_type": "a table",
    "model_type": "a table",
}
_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}


def validated(model: type[Model], values: Mapping[str, object], *, field: str = "") -> Model:
    """Return ``values`` as an instance of ``model``.

    Parameters
    ----------
    model
        What the values must be.
    values
        As read from TOML or given by a program.
    field
        Dotted name of the whole, for messages.

    Raises
    ------
    ConfigurationError
        The first thing that is wrong: unknown keys before wrong values.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt key is the cause where it also leaves another one missing.
        found.sort(key=lambda entry: entry["type"] != "extra_forbidden")
        raise _translated(found[0], model, field, _other_choice(found)) from None


def construct(cls: type[T], options: Mapping[str, object], *, field: str) -> T:
    """Make ``cls(**options)``, checking names and types against its signature.

    Raises
    ------
    ConfigurationError
        An unknown or missing option, or one of a wrong type or value.
    """
    known = _parameters(cls)
    hints = get_type_hints(cls.__init__)
    fields: dict[str, Any] = {
        name: (hints[name], ... if p.default is inspect.Parameter.empty else p.default)
        for name, p in known.items()
    }
    model = create_model(cls.__name__, __config__=STRICT, **fields)
    values = validated(model, options, field=field)
    return cls(**{name: getattr(values, name) for name in known})


def _parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    if cls.__init__ is object.__init__:
        return {}
    parameters = inspect.signature(cls.__init__).parameters
    return {name: p for name, p in parameters.items() if name != "self"}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


_UNION_TAG = re.compile(r"^(constrained-|literal\[|int$|float$|str$|bool$)")
"""What pydantic appends to a location to say which member of a union it speaks of."""


def _location(entry: Any) -> list[str]:
    parts = [str(part) for part in entry["loc"]]
    return parts[:-1] if len(parts) > 1 and _UNION_TAG.match(parts[-1]) else parts


def _other_choice(found: list[Any]) -> str:
    """Return the word that the first wrong value might be as well, as in ``0.1 or "auto"``."""
    place = _location(found[0])
    if found[0]["type"] != "literal_error":
        for entry in found[1:]:
            if entry["type"] == "literal_error" and _location(entry) == place:
                return f", or {entry['ctx']['expected']}"
    return ""


def _translated(
    entry: Any, model: type[BaseModel], field: str, or_else: str = ""
) -> ConfigurationError:
    location = _location(entry)
    path = ".".join(([field] if field else []) + location)
    kind, context = entry["type"], entry.get("ctx", {})
    allowed: str | None
    if kind == "extra_forbidden":
        known = list(_table_at(model, location[:-1]).model_fields)
        what = "table" if isinstance(entry["input"], Mapping) else "key"
        return ConfigurationError(
            f"unknown {what}{did_you_mean(location[-1], known)}",
            field=path,
            value=... if what == "table" else entry["input"],
            allowed=", ".join(known) or "no options",
        )
    if kind == "missing":
        known = list(_table_at(model, location[:-1]).model_fields)
        return ConfigurationError("is missing", field=path, allowed=_about(model, location))
    if kind in _BOUNDS:
        sign, name = _BOUNDS[kind]
        allowed, problem = f"{sign} {context[name]}", "outside its range"
    elif kind == "literal_error":
        expected = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        allowed = expected
        problem = "no such choice"
        if isinstance(entry["input"], str):
            problem += did_you_mean(entry["input"], expected.split(", "))
    elif kind == "string_pattern_mismatch":
        # A pattern says nothing to a user; the field's description does.
        allowed, problem = _about(model, location) or context["pattern"], "not of the right form"
    elif kind in _WANTED:
        allowed, problem = _WANTED[kind], "of the wrong type"
    else:
        allowed, problem = _about(model, location), entry["msg"].removeprefix("Value error, ")
    if allowed is not None:
        allowed += or_else
    return ConfigurationError(problem, field=path, value=entry["input"], allowed=allowed)


def _about(model: type[BaseModel], location: list[str]) -> str | None:
    info = _table_at(model, location[:-1]).model_fields.get(location[-1])
    return None if info is None else info.description


def _table_at(model: type[BaseModel], location: Iterable[str]) -> type[BaseModel]:
    """Return the model of the table at ``location`` below ``model``."""
    for name in location:
        info = model.model_fields.get(name)
        inner = None if info is None else _model_in(info.annotation)
        if inner is None:
            return model
        model = inner
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    candidates = (annotation, *typing.get_args(annotation))
    for item in candidates:
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None
