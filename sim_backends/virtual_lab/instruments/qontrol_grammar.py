"""The two languages of a Qontrol chain as pure functions: ASCII lines and binary frames.

``<cmd>[<ch>|ALL]<op>[<value>[,<value>…]]`` with op ``=``, ``?`` or none, or
``[header][cmd][0][chHi][chLo][dataHi][dataLo]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal, final

__all__ = [
    "COMMAND_CODES",
    "Header",
    "Request",
    "frame_length",
    "has_even_parity",
    "parse_frame",
    "parse_line",
]

COMMAND_CODES = {
    0x00: "V",
    0x01: "I",
    0x02: "VMAX",
    0x03: "IMAX",
    0x04: "VCAL",
    0x05: "ICAL",
    0x0A: "VIP",
    0x20: "VFULL",
    0x21: "IFULL",
    0x22: "NCHAN",
    0x23: "FIRMWARE",
    0x24: "ID",
    0x25: "LIFETIME",
    0x27: "LOG",
    0x32: "NUP",
    0x42: "SAFE",
    0x43: "ROCOM",
}

_LINE = re.compile(
    r"(?P<name>[A-Z]+?)(?:(?P<all>ALL)|(?P<channel>[0-9]{1,5}))?[ \t]*"
    r"(?:(?P<op>[=?])(?P<rest>.*))?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)

_MAX_WORDS = 64


class Header(IntFlag):
    """Bits of the first byte of a binary frame."""

    BIN = 0x80
    BCAST = 0x40
    ALLCH = 0x20
    ADDM = 0x10
    READ = 0x08
    ACT = 0x04
    DEXT = 0x02
    PARITY = 0x01


@final
@dataclass(frozen=True)
class Request:
    """One command, whatever language it came in.

    Attributes
    ----------
    name
        Upper case, without ``ALL``.
    channel
        Global channel, None where none was given.
    op
        ``=`` set, ``?`` ask, "" act.
    values
        None stands for one that is no number.
    fractions
        Whether values are fractions of full scale (binary) or volts and milliamperes.
    module_serial
        Serial number of the addressed module, whose channel ``channel`` then is.
    """

    name: str
    channel: int | None
    every: bool
    op: Literal["=", "?", ""]
    values: tuple[float | None, ...] = ()
    fractions: bool = False
    module_serial: int | None = None


def _number(text: str) -> float | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) < 1e9 else None


def parse_line(line: bytes) -> Request | None:
    """Return what an ASCII line asks for, or None where it has no sense."""
    try:
        text = line.decode("ascii").strip("\r \t").upper()
    except UnicodeDecodeError:
        return None
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    op = match["op"]
    rest = (match["rest"] or "").strip()
    if op == "?" and rest:
        return None
    values = tuple(_number(part) for part in rest.split(",")) if op == "=" else ()
    channel = None if match["channel"] is None else int(match["channel"])
    kind: Literal["=", "?", ""] = "=" if op == "=" else "?" if op == "?" else ""
    return Request(match["name"], channel, match["all"] is not None, kind, values)


def has_even_parity(byte: int) -> bool:
    """Return whether a byte has an even number of ones."""
    return byte.bit_count() % 2 == 0


def frame_length(start: bytes | bytearray) -> int | None:
    """Return the length of the binary frame that begins so, None while it cannot be told.

    A frame that claims more words than any module has channels ends with its count.
    """
    if not start:
        return None
    if not start[0] & 0x02:  # DEXT
        return 7
    if len(start) < 7:
        return None
    n_words = int.from_bytes(start[5:7], "big")
    return 7 + 2 * n_words if n_words <= _MAX_WORDS else 7


def parse_frame(frame: bytes) -> Request | None:
    """Return what a whole binary frame asks for; None for an unknown command code."""
    header = Header(frame[0])
    name = COMMAND_CODES.get(frame[1])
    if name is None:
        return None
    words = frame[7:] if header & Header.DEXT else frame[5:7]
    values = tuple(
        int.from_bytes(words[k : k + 2], "big") / 0xFFFF for k in range(0, len(words), 2)
    )
    op: Literal["=", "?", ""] = "="
    if header & Header.READ:
        op, values = "?", ()
    elif header & Header.ACT:
        op, values = "", ()
    if header & Header.DEXT and op == "=":
        name += "VEC"
    every = bool(header & (Header.ALLCH | Header.BCAST))
    if header & Header.ADDM:
        serial = int.from_bytes(frame[2:4], "big")
        return Request(name, frame[4], every, op, values, True, serial)
    channel = None if every else int.from_bytes(frame[3:5], "big")
    return Request(name, channel, every, op, values, True)
