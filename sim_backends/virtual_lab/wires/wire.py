"""What every wire does between an instrument and the outside: order, delays and faults."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Final, final

from eqp_hw.sim_backends.virtual_lab.clock import Clock
from eqp_hw.sim_backends.virtual_lab.faults import REPLY_FAULTS, FaultInjector, FaultKind
from eqp_hw.sim_backends.virtual_lab.interface import Reply, SimulatedInstrument

from .loop import EventLoop

__all__ = ["Traffic", "Wire"]

_MOST_UNSENT: Final = 1 << 20
"""Bytes that wait for a client who reads nothing; more are lost, as in a full buffer."""


@final
@dataclass
class Traffic:
    """Counts of one wire since its start."""

    transactions: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connections: int = 0


class Wire(ABC):
    """Pumps bytes between one simulated instrument and one client.

    Replies leave in the order in which they are due, ``Reply.after_s`` in plant time after the
    request; on the transaction clock nobody waits. All methods run in the loop's thread.

    Parameters
    ----------
    name
        Of the instrument in the rig file.
    instrument
        What answers.
    loop
        Serves the descriptors.
    clock
        Turns the plant's delays into real ones.
    faults
        Decides what goes wrong.
    """

    def __init__(
        self,
        name: str,
        instrument: SimulatedInstrument,
        loop: EventLoop,
        clock: Clock,
        faults: FaultInjector,
    ) -> None:
        self.name = name
        self.faults = faults
        self.traffic = Traffic()
        self._instrument = instrument
        self._loop = loop
        self._clock = clock
        self._queue: deque[tuple[float, bytes]] = deque()
        self._unsent = bytearray()
        self._stale = b""
        self._ordered: deque[FaultKind] = deque()
        self._reply_faults: deque[FaultKind] = deque()
        self._plugged = False
        self._closed = False
        self._plugs = 0
        self._slow_until = 0.0

    @property
    @abstractmethod
    def address(self) -> str:
        """As in a rig file."""

    @property
    @abstractmethod
    def visa(self) -> str:
        """VISA resource string."""

    @property
    def plugged(self) -> bool:
        """Whether the cable is in."""
        return self._plugged

    @final
    def plug(self) -> None:
        """Put the cable in; idempotent."""
        if not self._plugged:
            self._open_line()
            self._plugged = True
            self._plugs += 1

    @final
    def unplug(self, for_s: float | None = None) -> None:
        """Pull the cable; what was under way is lost. Put it back after ``for_s`` if given."""
        if not self._plugged:
            return
        self._plugged = False
        self._forget()
        self._close_line()
        if for_s is not None:
            plugs = self._plugs

            def back() -> None:
                # Not if someone has put it back, and pulled it again, meanwhile.
                if self._plugs == plugs:
                    self.plug()

            self._loop.after(for_s, back)

    @final
    def close(self) -> None:
        """Close the wire for good; idempotent."""
        self._closed = True
        self._plugs += 1
        if self._plugged:
            self._plugged = False
            self._forget()
            self._close_line()
        self._dispose()

    @final
    def inject(self, kind: FaultKind) -> None:
        """Let a fault happen: power cycle and unplug now, others to the next transaction."""
        if kind is FaultKind.POWER_CYCLE:
            self._power_cycle()
        elif kind is FaultKind.UNPLUG:
            if self._plugged:
                self.faults.count(kind)
            self.unplug(self.faults.timing.unplugged_s)
        else:
            self._ordered.append(kind)

    @final
    def watch_time(self, period_s: float) -> None:
        """Let the instrument look at the clock every ``period_s``, from now until `close`."""
        if self._closed:
            return
        replies = self._instrument.feed(b"")
        if self._plugged and replies:
            self._reply(replies)
        self._loop.after(period_s, lambda: self.watch_time(period_s))

    # -- for the lines ------------------------------------------------------------------------

    @final
    def _received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self.traffic.transactions += 1
        self.traffic.bytes_in += len(data)
        drawn = self.faults.next()
        kind = self._ordered.popleft() if drawn is None and self._ordered else drawn
        if kind in (FaultKind.POWER_CYCLE, FaultKind.UNPLUG):
            self.inject(kind)
            return  # what was sent then is heard by nobody
        if kind is FaultKind.LOST_REQUEST:
            self.faults.count(kind)
            return
        if kind is FaultKind.GARBLED_REQUEST:
            self.faults.count(kind)
            data = self.faults.garble(data)
        elif kind is not None and kind in REPLY_FAULTS:
            self._reply_faults.append(kind)
        self._reply(self._instrument.feed(data))

    @final
    def _session_began(self) -> None:
        """Say that a client has come: half a request of the one before is none of his."""
        self._instrument.new_session()

    @final
    def _session_ended(self) -> None:
        """Say that the client has left: what was meant for it goes nowhere."""
        self._forget()

    @final
    def _writable(self) -> None:
        """Say that the line takes bytes again."""
        self._flush()

    @abstractmethod
    def _open_line(self) -> None:
        """Make the line, and watch it."""

    @abstractmethod
    def _close_line(self) -> None:
        """Drop the line as if the cable were pulled."""

    @abstractmethod
    def _dispose(self) -> None:
        """Free what outlives the line; idempotent."""

    @abstractmethod
    def _write(self, data: bytes) -> int:
        """Send what the line takes now; return how many bytes. All of them without a client."""

    @abstractmethod
    def _listen(self, reading: bool, writing: bool) -> None:
        """Watch for bytes of the client, and for room for ours."""

    # -- replies ------------------------------------------------------------------------------

    def _power_cycle(self) -> None:
        self.faults.count(FaultKind.POWER_CYCLE)
        self._forget()
        self._reply(self._instrument.power_cycle())

    def _forget(self) -> None:
        self._queue.clear()
        self._unsent.clear()
        self._stale = b""
        self._slow_until = 0.0

    def _reply(self, replies: list[Reply]) -> None:
        now = time.monotonic()
        for reply in sorted(replies, key=lambda one: one.after_s):
            due = now + self._clock.real_delay_s(reply.after_s)
            if reply.asynchronous or not self._reply_faults:
                self._enqueue(due, self._after_stale(reply))
            else:
                self._enqueue_faulty(due, reply.data, self._reply_faults.popleft())
        self._send_due()

    def _after_stale(self, reply: Reply) -> bytes:
        if reply.asynchronous:
            return reply.data
        data, self._stale = self._stale + reply.data, b""
        return data

    def _enqueue_faulty(self, due: float, data: bytes, kind: FaultKind) -> None:
        timing = self.faults.timing
        self.faults.count(kind)
        if kind is FaultKind.STALE:
            self._stale += data
            return
        if kind is FaultKind.LOSS:
            return
        if kind is FaultKind.GARBLE:
            data = self.faults.garble(data)
        data, self._stale = self._stale + data, b""
        if kind is FaultKind.DELAY:
            self._enqueue(due + timing.delay_s, data)
        elif kind is FaultKind.DUPLICATE:
            self._enqueue(due, data + data)
        elif kind is FaultKind.SPLIT and len(data) > 1:
            cut = int(self.faults.rng.integers(1, len(data)))
            self._enqueue(due, data[:cut])
            self._enqueue(due + timing.pause_s, data[cut:])
        elif kind is FaultKind.SLOW_DRAIN:
            for start in range(0, len(data), timing.trickle_bytes):
                self._enqueue(due, data[start : start + timing.trickle_bytes])
                due += timing.trickle_s
            self._slow_until = due
        else:
            self._enqueue(due, data)

    def _enqueue(self, due: float, data: bytes) -> None:
        # First in, first out: nothing overtakes what was said before, however late that is.
        self._queue.append((due, data))

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            data = self._queue.popleft()[1]
            self._unsent += data[: max(0, _MOST_UNSENT - len(self._unsent))]
        self._flush()
        if self._queue:
            self._loop.after(self._queue[0][0] - now, self._send_due)

    def _flush(self) -> None:
        if not self._plugged:
            self._unsent.clear()
            return
        if self._unsent:
            sent = self._write(bytes(self._unsent))
            self.traffic.bytes_out += sent
            del self._unsent[:sent]
        slow = self._slow_until > time.monotonic() and bool(self._queue)
        self._listen(not slow, bool(self._unsent))
