"""Checks of builder options; each refuses a wrong value with a `NetworkError` that names it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from eqp_hw.errors import NetworkError

__all__ = ["check_size", "flag", "grid_shape", "is_list", "is_whole", "whole_number"]

MAX_BONDS = 200_000_000
"""Above this a graph would not fit into the memory of a workstation."""


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether ``value`` is an integer; True and False are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Tell whether ``value`` is a list, tuple or array (text is not)."""
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def whole_number(value: object, field: str, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Return ``value`` as an int between the limits, both included."""
    top = "" if maximum is None else f", at most {maximum}"
    allowed = f"a whole number, at least {minimum}{top}"
    if not is_whole(value):
        raise NetworkError("not a whole number", field=field, value=value, allowed=allowed)
    number = int(value)
    if number < minimum:
        raise NetworkError("too small", field=field, value=number, allowed=allowed)
    if maximum is not None and number > maximum:
        raise NetworkError("too large", field=field, value=number, allowed=allowed)
    return number


def grid_shape(value: object, field: str) -> tuple[int, int]:
    """Return a pair [rows, columns] of positive whole numbers."""
    if not is_list(value) or len(value) != 2 or not all(is_whole(v) for v in value):
        raise NetworkError(
            "not a grid shape", field=field, value=value, allowed="[rows, columns], e.g. [28, 28]"
        )
    return whole_number(value[0], field), whole_number(value[1], field)


def flag(value: object, field: str) -> bool:
    """Return a truth value; numbers and text are refused."""
    if not isinstance(value, bool | np.bool_):
        raise NetworkError("not a truth value", field=field, value=value, allowed="true or false")
    return bool(value)


def check_size(n_bonds: int, field: str, value: object) -> None:
    """Refuse a graph that is too large to be held, before it is built."""
    if n_bonds > MAX_BONDS:
        raise NetworkError(
            f"the network would have {n_bonds:,} bonds or more",
            field=field,
            value=value,
            allowed=f"at most {MAX_BONDS:,} bonds",
        )
