"""Text of OpenDAC-type boards; pure functions that raise ValueError for what does not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

__all__ = ["DIALECTS", "FULL_SCALE_V", "TOP_CODE", "BoardDialect", "parse_update", "parse_volts"]

FULL_SCALE_V = 10.0
TOP_CODE = 32767

_UPDATE = re.compile(rb"DAC (\d+) UPDATED TO ([+-]?\d+(?:\.\d+)?)(V|mV)")
_NUMBER = re.compile(rb"[+-]?\d+(?:\.\d+)?")


@final
@dataclass(frozen=True)
class BoardDialect:
    """What a firmware speaks; pinned by its whole identity."""

    unit: str
    n_channels: int
    n_adc: int

    @property
    def per_V(self) -> float:
        """Number on the wire for one volt."""
        return 1.0 if self.unit == "V" else 1e3

    def set_message(self, channel: int, code: int) -> bytes:
        """Format a set-point; firmwares cut off fractions, so it lies a little beyond ``code``."""
        sign = -1 if code < 0 else 1
        beyond = 0.25 if 0 < abs(code) < TOP_CODE else 0.0
        value = sign * (abs(code) + beyond) / TOP_CODE * FULL_SCALE_V * self.per_V
        text = f"{value:.6f}".rstrip("0").rstrip(".")
        return f"SET,{channel},{text}".encode("ascii")


DIALECTS: Mapping[str, BoardDialect] = MappingProxyType(
    {
        "DAC-ADC_AD7734-AD5764": BoardDialect("V", 4, 4),
        "DAC-ADC_AD7734-AD5764_UNIT2": BoardDialect("mV", 8, 4),
    }
)
"""Whole identity → dialect: near-equal identities differ in the unit."""


def parse_update(line: bytes, channel: int, dialect: BoardDialect) -> float:
    """Return the volts of ``DAC 0 UPDATED TO 1.0000V``, which must name channel and unit.

    Raises
    ------
    ValueError
        Another form, channel or unit.
    """
    found = _UPDATE.fullmatch(line)
    if found is None or int(found[1]) != channel or found[3].decode() != dialect.unit:
        raise ValueError(f"not an update of channel {channel} in {dialect.unit}")
    return float(found[2]) / dialect.per_V


def parse_volts(line: bytes, dialect: BoardDialect) -> float:
    """Return the volts of a bare number.

    Raises
    ------
    ValueError
        No number, or beyond the board's range.
    """
    if _NUMBER.fullmatch(line) is None:
        raise ValueError("not a number")
    value = float(line) / dialect.per_V
    if abs(value) > 1.01 * FULL_SCALE_V:
        raise ValueError(f"{value:g} V is beyond the board's range: another unit?")
    return value
