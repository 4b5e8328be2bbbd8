"""Bytes of Qontrol heater drivers: commands out, lines in; pure functions.

Channels count from 0 through the whole chain, `CHANNELS_PER_MODULE` a module. Facts: the vendor's
public client (package ``qontrol``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import final

import numpy as np

from eqp_hw.network.graph import IntArray

__all__ = [
    "CHANNELS_PER_MODULE",
    "ERROR_TEXTS",
    "IDENTITY_PATTERN",
    "POWERED_UP",
    "REFUSALS",
    "TOP_CODE",
    "Command",
    "Header",
    "Module",
    "QontrolEvent",
    "binary_frame",
    "number_in",
    "parse_event",
    "parse_identity",
    "parse_ok",
    "runs",
    "set_messages",
    "strip_line",
    "zero_messages",
]

CHANNELS_PER_MODULE = 8
TOP_CODE = 0xFFFF

ERROR_TEXTS = {
    0: "unknown error",
    1: "over-voltage",
    2: "over-current",
    3: "power error",
    4: "calibration error",
    5: "output error",
    10: "unrecognised command",
    11: "unrecognised parameter",
    12: "unrecognised channel",
    13: "operation forbidden",
    14: "serial buffer overflow",
    15: "serial communication error",
    16: "command timed out",
    17: "SPI error",
    18: "ADC error",
    19: "I2C error",
    20: "interlock",
    30: "too many errors",
    31: "firmware trap",
    90: "powered up: all outputs are zero",
}
REFUSALS = frozenset(range(10, 17))
"""Codes that say a command was not understood, so that no other reply need follow."""

POWERED_UP = 90

_EVENT = re.compile(rb"[A-Za-z]{1,3}(\d{1,3}):(\d{1,5})")
IDENTITY_PATTERN = rb"[A-Za-z0-9]+-(?:[0-9A-Fa-f]{4}|\*{4})"
"""Answer to ``id?``; no other reply has this form."""

_MODULE = re.compile(rb"([A-Za-z0-9]+)-([0-9A-Fa-f]{4}|\*{4})(?:: ?\d+)?")
_READING = re.compile(rb"([+-]?\d+(?:\.\d+)?) ?(V|mA)")


class Command(IntEnum):
    """Codes of the binary form."""

    V = 0x00
    I = 0x01  # noqa: E741 - the instrument's own name
    VMAX = 0x02
    IMAX = 0x03


class Header(IntFlag):
    """Bits of a binary header."""

    BINARY = 0x80
    BROADCAST = 0x40
    ALL_CHANNELS = 0x20
    ADDRESS = 0x10
    READ = 0x08
    ACTIVE = 0x04
    EXTENDED = 0x02
    PARITY = 0x01


@final
@dataclass(frozen=True)
class Module:
    """One module of a chain."""

    kind: str
    serial: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.serial}"


@final
@dataclass(frozen=True)
class QontrolEvent:
    """An error line; the channel counts through the chain."""

    code: int
    channel: int

    @property
    def text(self) -> str:
        """What the code means."""
        return ERROR_TEXTS.get(self.code, "unknown error code")


def strip_line(line: bytes) -> bytes:
    """Take off what may stand around a line: NUL, ACK, CR, blanks."""
    return line.strip(b"\x00\x06\r\n\t ")


def parse_event(line: bytes) -> QontrolEvent | None:
    """Return the error that a stripped line reports, None for any other line."""
    found = _EVENT.fullmatch(line)
    return None if found is None else QontrolEvent(int(found[1]), int(found[2]))


def parse_identity(line: bytes) -> Module:
    """Return the module that a stripped line names, as of ``id?`` or ``nupall?``.

    Raises
    ------
    ValueError
        It names none.
    """
    found = _MODULE.fullmatch(line)
    if found is None:
        raise ValueError("not the identity of a module, such as Q8iv-0001")
    return Module(found[1].decode(), found[2].decode().upper())


def parse_ok(line: bytes) -> None:
    """See that a stripped line is ``OK``.

    Raises
    ------
    ValueError
        It is not.
    """
    if line != b"OK":
        raise ValueError("not OK")


def number_in(unit: str) -> Callable[[bytes], float]:
    """Return a parser of ``+4.4983 V`` (V) or ``-0.0038 mA`` (mA).

    It raises ValueError for another form or another unit.
    """

    def parse(line: bytes) -> float:
        found = _READING.fullmatch(line)
        if found is None or found[2].decode() != unit:
            raise ValueError(f"not a number in {unit}")
        return float(found[1])

    return parse


def runs(channels: IntArray) -> list[slice]:
    """Cut ascending channels into runs of neighbours of one module, at most eight."""
    if not len(channels):
        return []
    module = channels // CHANNELS_PER_MODULE
    gaps = np.flatnonzero((np.diff(channels) != 1) | (np.diff(module) != 0)) + 1
    edges = [0, *gaps.tolist(), len(channels)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def set_messages(
    channels: IntArray, codes: IntArray, full_scale_V: float, *, binary: bool
) -> list[tuple[slice, bytes]]:
    """Format set-points; channels ascend and ``codes`` are 0 … `TOP_CODE`.

    Returns
    -------
    For each message the channels it sets and its bytes: a vector for neighbours of one module,
    a single set where that is shorter.
    """
    messages = []
    for run in runs(channels):
        first, values = int(channels[run][0]), [int(code) for code in codes[run]]
        if binary:
            data = binary_frame(Command.V, first, values)
        else:
            text = ",".join(_decimal(code, full_scale_V) for code in values)
            name = "V" if len(values) == 1 else "VVEC"
            data = f"{name}{first}={text}\n".encode()
        messages.append((run, data))
    return messages


def _decimal(code: int, full_scale_V: float) -> str:
    """Return volts that give ``code`` whether the instrument truncates or rounds."""
    if code in {0, TOP_CODE}:
        value = full_scale_V * code / TOP_CODE
    else:
        value = full_scale_V * (code + 0.25) / TOP_CODE
    return f"{value:.5f}".rstrip("0").rstrip(".")


def binary_frame(command: Command, channel: int, values: Sequence[int]) -> bytes:
    """Format a binary write of uint16 ``values`` from ``channel`` on; no terminator."""
    header = int(Header.BINARY | (Header.EXTENDED if len(values) > 1 else 0))
    header |= header.bit_count() & 1
    parts = [bytes([header, command, 0]), channel.to_bytes(2, "big")]
    if len(values) > 1:
        parts.append(len(values).to_bytes(2, "big"))
    return b"".join(parts + [value.to_bytes(2, "big") for value in values])


def zero_messages(n_channels: int) -> list[bytes]:
    """Format what drives all outputs to zero, whatever was sent half before.

    Blank lines end a broken ASCII line or fill up a broken binary frame.
    """
    zeros = ",".join("0" * CHANNELS_PER_MODULE)
    modules = range(0, n_channels, CHANNELS_PER_MODULE)
    return [b"\n" * 24 + b"VALL=0\n", *(f"VVEC{first}={zeros}\n".encode() for first in modules)]
