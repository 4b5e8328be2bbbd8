"""The text of a wire log: one JSON object a line, bytes as text where byte n is character n.

The first line says what was recorded; each further one is an event. A last line that was cut
short by a crash is left out when reading.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import final

from eqp_hw.errors import RecordError

__all__ = ["VERSION", "Event", "EventKind", "WireLog", "header_line", "read_wire_log"]

VERSION = 1


@final
class EventKind(StrEnum):
    """What happened on the wire."""

    OPEN = "open"
    CLOSE = "close"
    SEND = "send"
    RECEIVE = "receive"
    QUIET = "quiet"
    """Nothing came within the time that was waited."""
    CLEAR = "clear"


@final
@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    time_s
        Since the log was begun, s.
    kind
        What.
    data
        Bytes that passed.
    error, problem
        Name and text of the error of ours that it ended in, "" where it went well.
    """

    time_s: float
    kind: EventKind
    data: bytes = b""
    error: str = ""
    problem: str = ""

    def line(self) -> str:
        """Return the event as a line of the log, with its end."""
        entry: dict[str, float | str] = {"t_s": round(self.time_s, 6), "event": self.kind.value}
        if self.data:
            entry["bytes"] = self.data.decode("latin-1")
        if self.error:
            entry |= {"error": self.error, "problem": self.problem}
        return json.dumps(entry) + "\n"

    @staticmethod
    def parse(line: str) -> Event:
        """Return the event of a line.

        Raises
        ------
        ValueError
            It is none.
        """
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise ValueError("not an object")
        try:
            return Event(
                time_s=float(entry["t_s"]),
                kind=EventKind(entry["event"]),
                data=str(entry.get("bytes", "")).encode("latin-1"),
                error=str(entry.get("error", "")),
                problem=str(entry.get("problem", "")),
            )
        except KeyError as error:
            raise ValueError(f"{error} is missing") from None
        except TypeError as error:
            raise ValueError(str(error)) from None


@final
@dataclass(frozen=True)
class WireLog:
    """A log that was read.

    Attributes
    ----------
    address
        Of the wire that was recorded.
    started
        Date and time, ISO 8601.
    events
        In order.
    complete
        Whether the last line is whole.
    """

    address: str
    started: str
    events: tuple[Event, ...]
    complete: bool


def header_line(address: str, started: str) -> str:
    """Return the first line of a log, with its end."""
    return json.dumps({"wire_log": VERSION, "address": address, "started": started}) + "\n"


def read_wire_log(path: Path) -> WireLog:
    """Read a log.

    Raises
    ------
    RecordError
        No wire log, of another version, or garbled before its last line.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    complete = lines.pop() == ""  # what follows the last line end: nothing, or a torn line
    if not lines:
        raise RecordError(f"{path}: no wire log: it has no first line")
    try:
        head = json.loads(lines[0])
        version = head["wire_log"]
        address, started = str(head["address"]), str(head["started"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: no wire log: its first line is {lines[0][:80]!r}") from error
    if version != VERSION:
        raise RecordError(f"{path}: wire log of version {version!r} (readable: {VERSION})")
    events = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            events.append(Event.parse(line))
        except ValueError as error:
            raise RecordError(f"{path}: line {number} is no event: {error}") from error
    return WireLog(address, started, tuple(events), complete)
