"""Lines and blocks off a wire: replies told from what comes unasked."""

from __future__ import annotations

import time
from collections import deque
from typing import final

from eqp_hw.drivers.errors import ProtocolError, TransportTimeout

from .interface import Transport
from .line_protocol import LineProtocol, block_digits, block_length, show

__all__ = ["LineReader"]

_MAX_EVENTS = 1000


@final
class LineReader:
    """Reads complete lines only; keeps the event lines that come in between.

    Parameters
    ----------
    transport
        The wire, opened by someone else.
    protocol
        Kinds of lines.
    """

    def __init__(self, transport: Transport, protocol: LineProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._events: deque[bytes] = deque(maxlen=_MAX_EVENTS)

    def take_events(self) -> list[bytes]:
        """Return and forget the event lines read so far."""
        events = list(self._events)
        self._events.clear()
        return events

    def salvage(self, dropped: bytes) -> list[bytes]:
        """Keep the event lines of bytes that are thrown away; return the other lines.

        An error report must not get lost with the rest: it may say that the state is gone.
        """
        self._events.extend(self._protocol.events_in(dropped))
        return [
            line
            for line in self._protocol.complete_lines(dropped)
            if not self._protocol.is_event(line)
        ]

    def reply(self, deadline: float, *, refusals: bool = True) -> bytes:
        """Return the next line that is a reply; blank lines are passed over.

        Parameters
        ----------
        deadline
            Monotonic clock, s.
        refusals
            Whether a line that stands in the place of a reply raises its error.

        Raises
        ------
        TransportTimeout, ProtocolError, LostError
            As `Transport.read_until`.
        InstrumentError
            What the protocol makes of a refusal.
        """
        while True:
            line = self._line(_left(deadline))
            if not line:
                continue
            if refusals and (error := self._protocol.refusal(line)) is not None:
                raise error
            if not self._protocol.is_event(line):
                return line
            self._events.append(line)

    def block(self, length: int | None, deadline: float) -> bytes:
        """Return the payload of a definite-length block (IEEE 488.2, 8.7.9).

        Raises
        ------
        ValueError
            No block, or one of another length than ``length``, or without its end.
        TransportTimeout, LostError
            As `Transport.read_exactly`.
        """

        def take(count: int) -> bytes:
            return self._transport.read_exactly(count, timeout_s=_left(deadline))

        count = block_length(take(block_digits(take(2))))
        if length is not None and count != length:
            raise ValueError(f"a block of {count} bytes, not of {length}")
        data = take(count)
        end = self._line(_left(deadline))
        if end:
            raise ValueError(f"{show(end)} after a block of {count} bytes")
        return data

    def strays(self, patience_s: float) -> bool:
        """Take in what came unasked; keep events, say whether there was anything else.

        Parameters
        ----------
        patience_s
            How long to wait for the end of a line that has begun.
        """
        self._transport.poll()
        while self._transport.unread:
            try:
                line = self._line(patience_s)
            except (TransportTimeout, ProtocolError):
                return True
            if self._protocol.is_event(line):
                self._events.append(line)
            elif line:
                return True
        return False

    def _line(self, timeout_s: float) -> bytes:
        raw = self._transport.read_until(
            self._protocol.reply_end, timeout_s=timeout_s, longest=self._protocol.longest
        )
        return self._protocol.text(raw)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
