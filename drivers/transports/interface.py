"""The one face of every wire.

Public methods check, log and mark the session dirty; a concrete wire fills in the small hooks
``_open``, ``_close``, ``_send`` and ``_receive`` (and ``_listen`` and ``_clear`` where it carries
messages, not a stream). Limits: one request at a time, no threads, no retries (what may be
repeated is known to the driver only: `Session`).
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self, final

from eqp_hw.drivers.errors import LostError, ProtocolError, TransportTimeout

__all__ = ["Transport"]

_CHUNK = 65536


class Transport(ABC):
    """A byte stream to one instrument.

    Parameters
    ----------
    address
        As in the rig file, for messages and logs.
    timeout_s
        Default deadline of a reply.
    """

    def __init__(self, address: str, *, timeout_s: float = 2.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._buffer = bytearray()
        self._open_now = False
        self._dirty = False
        self._log = logging.getLogger(f"eqp_hw.drivers.wire.{address}")

    @property
    def is_open(self) -> bool:
        """Whether the wire is open."""
        return self._open_now

    @property
    def dirty(self) -> bool:
        """Whether bytes of an earlier request may still arrive: `drain` before the next."""
        return self._dirty

    @final
    def open(self) -> None:
        """Open the wire.

        Raises
        ------
        BusyError
            In use or not permitted.
        LostError
            Nothing there.
        """
        if not self._open_now:
            self._open()
            self._open_now = True
            self._dirty = False
            self._buffer.clear()

    @final
    def close(self) -> None:
        """Close the wire; idempotent, never raises."""
        if self._open_now:
            self._open_now = False
            self._buffer.clear()
            self._close()

    @final
    def reopen(self) -> None:
        """Close and open again; what was under way is forgotten."""
        self.close()
        self.open()

    @final
    def write(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises
        ------
        LostError
            The other side is gone.
        TransportTimeout
            The other side takes no bytes.
        """
        self._require_open()
        self._log.debug("> %r", data)
        try:
            self._send(data)
        except BaseException:
            # An interrupt too may leave half a request on the wire.
            self._dirty = True
            raise

    @final
    def read_until(
        self,
        terminator: bytes = b"\n",
        *,
        timeout_s: float | None = None,
        longest: int | None = None,
    ) -> bytes:
        """Return the bytes before ``terminator``, which is taken off.

        Raises
        ------
        TransportTimeout
            No terminator by the deadline; the session is dirty, what had come stays unread.
        ProtocolError
            More than ``longest`` bytes without a terminator; the session is dirty.
        LostError
            The other side is gone.
        """
        deadline = self._deadline(timeout_s)
        searched = 0
        while (end := self._buffer.find(terminator, searched)) < 0:
            if longest is not None and len(self._buffer) > longest:
                self._dirty = True
                raise ProtocolError(
                    f"{len(self._buffer)} bytes without {terminator!r}", instrument=self.address
                )
            searched = max(0, len(self._buffer) - len(terminator) + 1)
            self._fill(deadline, f"no {terminator!r} within the deadline", _CHUNK)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(terminator)]
        self._log.debug("< %r", line)
        return line

    @final
    def read_exactly(self, count: int, *, timeout_s: float | None = None) -> bytes:
        """Return ``count`` bytes; errors as `read_until`."""
        deadline = self._deadline(timeout_s)
        while len(self._buffer) < count:
            self._fill(
                deadline,
                f"{len(self._buffer)} of {count} bytes within the deadline",
                max(_CHUNK, count - len(self._buffer)),
            )
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._log.debug("< %d bytes", count)
        return data

    @final
    def read_some(self, most: int = _CHUNK, *, timeout_s: float | None = None) -> bytes:
        """Return 1…``most`` bytes as soon as any are there, b"" at the time-out.

        Raises
        ------
        LostError
            The other side is gone.
        """
        deadline = self._deadline(timeout_s)
        if not self._buffer:
            return self._receive(most, max(0.0, deadline - time.monotonic()))
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    @final
    def poll(self) -> int:
        """Take in what has come unasked, without waiting; return the number of unread bytes.

        Raises
        ------
        LostError
            The other side is gone.
        """
        self._require_open()
        self._buffer += self._listen(0.0)
        return len(self._buffer)

    @final
    def hear(self, timeout_s: float) -> bytes:
        """Return what is unread or comes unasked first, b"" if nothing does in time.

        Raises
        ------
        LostError
            The other side is gone.
        """
        self._require_open()
        data = bytes(self._buffer) or self._listen(timeout_s)
        self._buffer.clear()
        return data

    @final
    def listen(self, timeout_s: float) -> bytes:
        """Return what is unread and what comes unasked until nothing does for ``timeout_s``.

        A line that never falls quiet is listened to for ten times as long at most.

        Raises
        ------
        LostError
            The other side is gone.
        """
        self._require_open()
        heard = bytearray(self._buffer)
        self._buffer.clear()
        end = time.monotonic() + 10.0 * timeout_s
        while data := self._listen(timeout_s):
            heard += data
            if time.monotonic() > end:
                break
        return bytes(heard)

    @final
    def clear(self) -> None:
        """Forget unread bytes, on the instrument's side too where the wire can tell it so."""
        self._require_open()
        self._buffer.clear()
        self._clear()

    @final
    def drain(self, *, quiet_s: float = 0.05, limit_s: float = 2.0) -> bytes:
        """Read and drop what arrives until the line is quiet; the session is clean then.

        Returns
        -------
        What was dropped, for the log.

        Raises
        ------
        ProtocolError
            The line does not fall quiet within ``limit_s``.
        """
        self._require_open()
        dropped = bytearray(self._buffer)
        self._buffer.clear()
        self._clear()
        end = time.monotonic() + limit_s
        while True:
            data = self._listen(quiet_s)
            if not data:
                break
            dropped += data
            if time.monotonic() > end:
                raise ProtocolError(
                    f"the line did not fall quiet within {limit_s:g} s",
                    instrument=self.address,
                    advice="is another program talking to this instrument?",
                )
        self._dirty = False
        if dropped:
            self._log.debug("dropped %r", bytes(dropped))
        return bytes(dropped)

    @property
    def unread(self) -> int:
        """Bytes received and not read; 0 after every complete transaction."""
        return len(self._buffer)

    @final
    def mark_dirty(self) -> None:
        """Say that the next reply cannot be trusted to belong to the next request."""
        self._dirty = True

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _open(self) -> None:
        """Open; map raw exceptions to ours."""

    @abstractmethod
    def _close(self) -> None:
        """Close; never raises."""

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Send all of ``data``; map raw exceptions to ours."""

    @abstractmethod
    def _receive(self, most: int, timeout_s: float) -> bytes:
        """Return 1…``most`` bytes as soon as any are there, b"" at the time-out.

        Raises
        ------
        LostError
            The other side is gone.
        """

    def _listen(self, timeout_s: float) -> bytes:
        """Return what comes unasked within ``timeout_s``, b"" if nothing does.

        A wire that carries messages overrides it: asking such an instrument for what it has not
        got is an error there.
        """
        return self._receive(_CHUNK, timeout_s)

    def _clear(self) -> None:  # noqa: B027 - a stream has nothing to clear on the other side
        """Make the instrument forget replies that it holds back, where the wire can."""

    def _require_open(self) -> None:
        if not self._open_now:
            raise LostError("the wire is closed", instrument=self.address, advice="open it first")

    def _deadline(self, timeout_s: float | None) -> float:
        self._require_open()
        return time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)

    def _fill(self, deadline: float, problem: str, most: int) -> None:
        try:
            data = self._receive(most, max(0.0, deadline - time.monotonic()))
        except BaseException:
            self._dirty = True
            raise
        if not data:
            self._dirty = True
            raise TransportTimeout(
                problem, instrument=self.address, advice="powered, and the right address?"
            )
        self._buffer += data
