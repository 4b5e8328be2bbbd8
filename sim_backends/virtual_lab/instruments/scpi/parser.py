"""SCPI syntax as pure functions (SCPI-99 volume 1, IEEE 488.2 chapter 7).

A message is units between ``;``. A unit is a header and parameters between ``,``. A header that
does not begin with ``:`` goes on from the path of the header before it in the same message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from .status import ScpiError

__all__ = [
    "Keyword",
    "Pattern",
    "Unit",
    "format_nr3",
    "parse_block",
    "parse_boolean",
    "parse_channel_list",
    "parse_choice",
    "parse_number",
    "parse_string",
    "parse_unit",
    "split_outside",
]

_KEYWORD = re.compile(r"([A-Za-z][A-Za-z_]*)([0-9]{0,6})", re.ASCII)
_HEADER = re.compile(r"\s*([*:A-Za-z][A-Za-z0-9_:]*)(\??)(?:\s+(.*))?", re.ASCII | re.DOTALL)
_COMMON = re.compile(r"\*[A-Za-z]{2,5}", re.ASCII)
_NUMBER = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*([A-Za-z]*)", re.ASCII
)
_RANGE = re.compile(r"\s*([0-9]{1,6})\s*(?::\s*([0-9]{1,6})\s*)?", re.ASCII)
_NODE = re.compile(r"\[?:?([A-Z*]+)([a-z]*)(#?)\]?", re.ASCII)

MULTIPLIERS: Final[Mapping[str, float]] = {"": 1.0, "M": 1e-3, "U": 1e-6, "N": 1e-9, "K": 1e3}
MAX_CHANNELS: Final = 4096
MAX_DEPTH: Final = 16


@final
@dataclass(frozen=True)
class Keyword:
    """One keyword of a header; ``suffix`` None where no number was written."""

    name: str
    suffix: int | None = None


@final
@dataclass(frozen=True)
class Unit:
    """One command or query.

    Attributes
    ----------
    header
        Keywords from the root, in upper case; common commands are one keyword with ``*``.
    path
        Where the next unit of the message goes on.
    """

    header: tuple[Keyword, ...]
    query: bool
    parameters: tuple[str, ...]
    path: tuple[Keyword, ...]


def split_outside(text: str, separator: str) -> list[str]:
    """Split at ``separator`` where it stands in no quotes and in no parentheses.

    Raises
    ------
    ScpiError
        -151 for an open quote, -102 for unmatched parentheses.
    """
    parts, start, depth, quote = [], 0, 0, ""
    for k, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                raise ScpiError(-102)
        elif char == separator and depth == 0:
            parts.append(text[start:k])
            start = k + 1
    if quote:
        raise ScpiError(-151)
    if depth:
        raise ScpiError(-102)
    parts.append(text[start:])
    return parts


def _keywords(text: str) -> tuple[Keyword, ...]:
    keywords = []
    for part in text.split(":"):
        match = _KEYWORD.fullmatch(part)
        if match is None:
            raise ScpiError(-102)
        if len(part) > 18:
            raise ScpiError(-112)
        suffix = int(match[2]) if match[2] else None
        keywords.append(Keyword(match[1].upper(), suffix))
    return tuple(keywords)


def parse_unit(text: str, path: tuple[Keyword, ...] = ()) -> Unit | None:
    """Return what one unit says, or None where it is empty.

    Raises
    ------
    ScpiError
        -102 syntax, -112 mnemonic too long, -151 open quote.
    """
    if not text.strip():
        return None
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ScpiError(-102)
    header, query, rest = match[1], bool(match[2]), (match[3] or "").strip()
    parameters = tuple(part.strip() for part in split_outside(rest, ",")) if rest else ()
    if header.startswith("*"):
        if not _COMMON.fullmatch(header):
            raise ScpiError(-102)
        return Unit((Keyword(header.upper()),), query, parameters, path)
    if "*" in header:
        raise ScpiError(-102)
    keywords = _keywords(header[1:]) if header.startswith(":") else path + _keywords(header)
    if len(keywords) > MAX_DEPTH:
        raise ScpiError(-113)
    return Unit(keywords, query, parameters, keywords[:-1])


@final
@dataclass(frozen=True)
class _Node:
    short: str
    long: str
    optional: bool
    numbered: bool

    def admits(self, keyword: Keyword) -> bool:
        return keyword.name in {self.short, self.long}


@final
class Pattern:
    """A header as manuals write it: ``[SOURce#]:VOLTage[:LEVel]``; ``#`` takes a suffix."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes = tuple(
            _Node(m[1], (m[1] + m[2]).upper(), m[0].startswith("["), bool(m[3]))
            for m in _NODE.finditer(text)
        )

    def match(self, header: Sequence[Keyword]) -> tuple[int, ...] | None:
        """Return the suffixes of the ``#`` nodes (1 where left out), or None for no match.

        Raises
        ------
        ScpiError
            -114: a suffix where none belongs.
        """
        found = self._match(0, tuple(header))
        if found is None:
            return None
        suffixes = []
        for node, keyword in found:
            if node.numbered:
                suffixes.append(1 if keyword is None or keyword.suffix is None else keyword.suffix)
            elif keyword is not None and keyword.suffix not in {None, 1}:
                raise ScpiError(-114)
        return tuple(suffixes)

    def _match(
        self, at: int, header: tuple[Keyword, ...]
    ) -> tuple[tuple[_Node, Keyword | None], ...] | None:
        if at == len(self._nodes):
            return None if header else ()
        node = self._nodes[at]
        if header and node.admits(header[0]):
            rest = self._match(at + 1, header[1:])
            if rest is not None:
                return ((node, header[0]), *rest)
        if node.optional:
            rest = self._match(at + 1, header)
            if rest is not None:
                return ((node, None), *rest)
        return None


def parse_number(
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    default: float | None = None,
    unit: str = "",
) -> float:
    """Return an NRf number, or what ``MIN``, ``MAX`` and ``DEF`` stand for.

    Raises
    ------
    ScpiError
        -104 no number, -131 wrong unit, -222 outside the limits, -123 exponent too large.
    """
    words = {"MIN": minimum, "MINIMUM": minimum, "MAX": maximum, "MAXIMUM": maximum}
    words |= {"DEF": default, "DEFAULT": default}
    word = words.get(text.strip().upper())
    if word is not None:
        return word
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ScpiError(-104)
    suffix = match[2].upper()
    if suffix and (not unit or not suffix.endswith(unit.upper())):
        raise ScpiError(-131)
    multiplier = MULTIPLIERS.get(suffix.removesuffix(unit.upper()))
    if multiplier is None:
        raise ScpiError(-131)
    value = float(match[1]) * multiplier
    if abs(value) > 1e300:
        raise ScpiError(-123)
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise ScpiError(-222)
    return value


def parse_boolean(text: str) -> bool:
    """Return what ``ON``, ``OFF`` or a number says.

    Raises
    ------
    ScpiError
        -104 for anything else.
    """
    word = text.strip().upper()
    if word in {"ON", "OFF"}:
        return word == "ON"
    return round(parse_number(text)) != 0


def parse_choice(text: str, *choices: str) -> str:
    """Return the choice (written as ``SHORTlong``) that a word means, in its short form.

    Raises
    ------
    ScpiError
        -224 for another word.
    """
    word = text.strip().upper()
    for choice in choices:
        short = "".join(c for c in choice if not c.islower())
        if word in {short, choice.upper()}:
            return short
    raise ScpiError(-224)


def parse_string(text: str) -> str:
    """Return a quoted string without its quotes; a doubled quote inside is one.

    Raises
    ------
    ScpiError
        -104 where it is not quoted.
    """
    text = text.strip()
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        raise ScpiError(-104)
    return text[1:-1].replace(text[0] * 2, text[0])


def parse_channel_list(text: str, n_channels: int) -> list[int]:
    """Return the channels of ``(@1,3:5)``, counted from 0, in the order written.

    Raises
    ------
    ScpiError
        -102 syntax, -114 no such channel, -223 too many.
    """
    text = text.strip()
    if not (text.startswith("(@") and text.endswith(")")):
        raise ScpiError(-102 if text.startswith("(") else -104)
    channels: list[int] = []
    for part in text[2:-1].split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ScpiError(-102)
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if not (1 <= first <= n_channels and 1 <= last <= n_channels):
            raise ScpiError(-114)
        step = 1 if last >= first else -1
        channels.extend(k - 1 for k in range(first, last + step, step))
        if len(channels) > MAX_CHANNELS:
            raise ScpiError(-223)
    return channels


def parse_block(data: bytes) -> bytes:
    """Return the payload of a definite-length block ``#<n><length><bytes>``.

    Raises
    ------
    ScpiError
        -161 where length and bytes disagree.
    """
    digits = data[1:2]
    if data[:1] != b"#" or not digits.isdigit() or digits == b"0":
        raise ScpiError(-161)
    n = int(digits)
    length = data[2 : 2 + n]
    if len(length) != n or not length.isdigit() or len(data) != 2 + n + int(length):
        raise ScpiError(-161)
    return data[2 + n :]


def format_nr3(value: float) -> str:
    """Return a number as instruments print it: ``1.23456789E+00``."""
    return f"{value:.8E}"
