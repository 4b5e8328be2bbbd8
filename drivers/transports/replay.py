"""A wire log played back: the test that a recorded dialogue is."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import final

from typing_extensions import override

from eqp_hw.drivers import errors
from eqp_hw.drivers.errors import InstrumentError, LostError, ProtocolError

from .interface import Transport
from .line_protocol import show
from .wire_log import Event, EventKind, read_wire_log

__all__ = ["ReplayTransport"]


@final
class ReplayTransport(Transport):
    """Answers as the log says, as long as what is sent is what was sent then, byte for byte.

    No time passes: what was waited for is there at once. How requests were cut into writes does
    not count; replies come in the portions that they came in.

    Parameters
    ----------
    path
        Log that a `RecordingTransport` wrote.

    Raises
    ------
    RecordError
        No wire log.
    """

    def __init__(self, path: Path, *, timeout_s: float = 2.0) -> None:
        log = read_wire_log(path)
        super().__init__(log.address, timeout_s=timeout_s)
        self._path = path
        self._events = deque(log.events)
        self._part = b""
        """What of a recorded request is still to be sent."""
        self._number = 0

    def check_finished(self) -> None:
        """See that all of the log was used, closing apart.

        Raises
        ------
        ProtocolError
            Something is left.
        """
        left = [event for event in self._events if event.kind is not EventKind.CLOSE]
        if self._part:
            raise self._difference(show(self._part), "the end")
        if left:
            raise self._difference(_words(left[0]), "the end")

    @override
    def _open(self) -> None:
        while self._events and self._events[0].kind is EventKind.CLOSE:
            self._take()
        self._expect(EventKind.OPEN, "opening")
        _replay_error(self._take(), self.address)

    @override
    def _close(self) -> None:
        if self._events and self._events[0].kind is EventKind.CLOSE:
            self._take()

    @override
    def _send(self, data: bytes) -> None:
        rest = data
        while rest:
            if not self._part:
                self._expect(EventKind.SEND, f"sending {show(rest)}")
                event = self._events[0]
                if event.error:
                    self._compare(event.data, rest)
                    _replay_error(self._take(), self.address)
                self._part = self._take().data
            count = min(len(rest), len(self._part))
            self._compare(self._part[:count], rest[:count])
            rest, self._part = rest[count:], self._part[count:]

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        following = self._events[0].kind if self._events and not self._part else None
        if timeout_s <= 0 and following is not EventKind.RECEIVE:
            return b""  # a poll that found nothing left no line
        if following is EventKind.QUIET:
            self._take()
            return b""
        self._expect(EventKind.RECEIVE, "waiting for a reply")
        event = self._take()
        _replay_error(event, self.address)
        if len(event.data) > most:
            rest = Event(event.time_s, event.kind, event.data[most:])
            self._events.appendleft(rest)
            self._number -= 1
        return event.data[:most]

    @override
    def _clear(self) -> None:
        if self._events and self._events[0].kind is EventKind.CLEAR:
            _replay_error(self._take(), self.address)

    def _take(self) -> Event:
        self._number += 1
        return self._events.popleft()

    def _expect(self, kind: EventKind, doing: str) -> None:
        if self._part:
            if kind is not EventKind.SEND:
                raise self._difference(f"sending {show(self._part)}", doing)
        elif not self._events:
            raise self._difference("the end of the log", doing)
        elif self._events[0].kind is not kind:
            raise self._difference(_words(self._events[0]), doing)

    def _compare(self, expected: bytes, got: bytes) -> None:
        if expected != got:
            raise self._difference(f"sending {show(expected)}", f"sending {show(got)}")

    def _difference(self, expected: str, got: str) -> ProtocolError:
        return ProtocolError(
            f"{self._path.name}, event {self._number + 1}: expected {expected}, got {got}",
            instrument=self.address,
            advice="the dialogue differs from the recorded one",
        )


def _words(event: Event) -> str:
    words = {
        EventKind.OPEN: "opening",
        EventKind.CLOSE: "closing",
        EventKind.SEND: "sending",
        EventKind.RECEIVE: "waiting for",
        EventKind.QUIET: "waiting in vain",
        EventKind.CLEAR: "clearing",
    }[event.kind]
    return f"{words} {show(event.data)}" if event.data else words


def _replay_error(event: Event, address: str) -> None:
    """Raise the error that the event ended in, if it did."""
    if not event.error:
        return
    kind = getattr(errors, event.error, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.TransportError)):
        kind = LostError
    failure: InstrumentError = kind(event.problem, instrument=address)
    raise failure
