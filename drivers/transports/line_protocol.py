"""How lines are framed and told apart; pure, so that it is tested without a wire."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from eqp_hw.drivers.errors import InstrumentError

__all__ = [
    "FixedProbe",
    "LineProtocol",
    "NonceProbe",
    "SyncProbe",
    "block_digits",
    "block_length",
    "show",
]

_SHOWN = 80


def _never(line: bytes) -> bool:
    del line
    return False


def _no_refusal(line: bytes) -> InstrumentError | None:
    del line
    return None


@final
@dataclass(frozen=True)
class LineProtocol:
    """What a line is, and what kinds of lines there are.

    Attributes
    ----------
    request_end
        Appended to every request.
    reply_end
        Ends every reply; a reply without it is refused, however plausible.
    strip
        Bytes taken off both ends of a line (carriage returns, NULs, blanks).
    is_event
        Says of a stripped line that nobody asked for it (an error report); it is queued and
        the reply waited for.
    refusal
        Gives the error to raise where a line stands in the place of a reply ("unknown
        command"), None for all others; asked before ``is_event``.
    longest
        Longest line, bytes.
    """

    request_end: bytes = b"\n"
    reply_end: bytes = b"\n"
    strip: bytes = b"\r\n\x00 "
    is_event: Callable[[bytes], bool] = _never
    refusal: Callable[[bytes], InstrumentError | None] = _no_refusal
    longest: int = 65536

    def frame(self, request: bytes) -> bytes:
        """Return the bytes to send for ``request``, which must not hold the end itself.

        With an empty end (mixed text and binary) the request goes out as it is.

        Raises
        ------
        ValueError
            A line end within the request: it would be two.
        """
        if self.request_end and self.request_end in request:
            raise ValueError(f"{request!r} holds a line end")
        return request + self.request_end

    def text(self, raw: bytes) -> bytes:
        """Return a received line without its padding."""
        return raw.strip(self.strip)

    def complete_lines(self, data: bytes) -> list[bytes]:
        """Return the stripped lines of ``data``; blank ones and an unfinished last are left out."""
        return [text for raw in data.split(self.reply_end)[:-1] if (text := self.text(raw))]

    def events_in(self, data: bytes) -> list[bytes]:
        """Return the event lines of ``data``, which may begin in the middle of a line."""
        return [line for line in self.complete_lines(data) if self.is_event(line)]


class SyncProbe(ABC):
    """A harmless query whose answer shows that requests and replies are in step again."""

    @abstractmethod
    def request(self, number: int) -> bytes:
        """Return the query, without its end; ``number`` counts the probes of a session."""

    @abstractmethod
    def matches(self, line: bytes, number: int) -> bool:
        """Say whether ``line`` answers probe ``number``."""


@final
class FixedProbe(SyncProbe):
    """The same query each time, mostly the identity: for instruments that cannot echo.

    Parameters
    ----------
    query
        For instance ``b"id?"``.
    pattern
        Regular expression that the whole answer matches, and no other reply does.
    """

    def __init__(self, query: bytes, pattern: bytes) -> None:
        self._query = query
        self._pattern = re.compile(pattern)

    @override
    def request(self, number: int) -> bytes:
        return self._query

    @override
    def matches(self, line: bytes, number: int) -> bool:
        return self._pattern.fullmatch(line) is not None


@final
class NonceProbe(SyncProbe):
    """A query that gives back a number: proof against stale answers to earlier probes.

    Parameters
    ----------
    template
        ``%d`` stands for the number, for instance ``b"*ESE %d;*ESE?"`` (IEEE 488.2) or
        ``b"print(%d)"`` (TSP).
    modulus
        The number runs from 1 to ``modulus`` - 1 and starts again.
    """

    def __init__(self, template: bytes, *, modulus: int = 256) -> None:
        self._template = template
        self._modulus = modulus

    def _nonce(self, number: int) -> int:
        return 1 + number % (self._modulus - 1)

    @override
    def request(self, number: int) -> bytes:
        return self._template % self._nonce(number)

    @override
    def matches(self, line: bytes, number: int) -> bool:
        try:
            return float(line) == self._nonce(number)
        except ValueError:
            return False


def block_digits(header: bytes) -> int:
    """Return how many digits of length follow ``header`` (``#`` and one digit).

    Raises
    ------
    ValueError
        No header of a definite-length block (IEEE 488.2, 8.7.9).
    """
    if len(header) != 2 or header[:1] != b"#" or header[1] not in b"123456789":
        raise ValueError(f"{show(header)} begins no definite-length block")
    return int(header[1:])


def block_length(digits: bytes) -> int:
    """Return the length that the digits of a block's header announce, bytes.

    Raises
    ------
    ValueError
        Something else than digits.
    """
    if not digits.isdigit():
        raise ValueError(f"{show(digits)} is no length of a block")
    return int(digits)


def show(data: bytes) -> str:
    """Return ``data`` for a message, shortened."""
    if len(data) <= _SHOWN:
        return repr(data)[1:]
    return f"{data[:_SHOWN]!r}"[1:] + f"… ({len(data)} bytes)"
