"""A wire that writes down everything that passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, TypeVar, final

from typing_extensions import override

from eqp_hw.drivers.errors import InstrumentError
from eqp_hw.errors import RecordError

from .interface import Transport
from .wire_log import Event, EventKind, header_line

__all__ = ["RecordingTransport"]

T = TypeVar("T")


@final
class RecordingTransport(Transport):
    """Passes everything on to another wire and appends it to a log, line by line.

    Each line reaches the operating system before the call returns, so that a killed process
    loses none; `ReplayTransport` plays the log back. Polls that find nothing leave no line.

    Parameters
    ----------
    wire
        The wire proper.
    path
        Log file; must not exist yet. It is made at the first opening and closed with the wire
        (opening again appends).
    """

    def __init__(self, wire: Transport, path: Path) -> None:
        super().__init__(wire.address, timeout_s=wire.timeout_s)
        self._wire = wire
        self._path = path
        self._file: TextIO | None = None
        self._began: float | None = None

    @override
    def _open(self) -> None:
        self._begin()
        try:
            self._noting(EventKind.OPEN, self._wire.open)
        except BaseException:
            self._end()
            raise
        self._note(EventKind.OPEN)

    @override
    def _close(self) -> None:
        self._wire.close()
        self._note(EventKind.CLOSE)
        self._end()

    @override
    def _send(self, data: bytes) -> None:
        self._noting(EventKind.SEND, lambda: self._wire.write(data), data)
        self._note(EventKind.SEND, data)

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        return self._heard(lambda: self._wire.read_some(most, timeout_s=timeout_s), timeout_s)

    @override
    def _listen(self, timeout_s: float) -> bytes:
        return self._heard(lambda: self._wire.hear(timeout_s), timeout_s)

    @override
    def _clear(self) -> None:
        self._noting(EventKind.CLEAR, self._wire.clear)
        self._note(EventKind.CLEAR)

    def _heard(self, receive: Callable[[], bytes], timeout_s: float) -> bytes:
        data = self._noting(EventKind.RECEIVE, receive)
        if data:
            self._note(EventKind.RECEIVE, data)
        elif timeout_s > 0:
            self._note(EventKind.QUIET)
        return data

    def _noting(self, kind: EventKind, act: Callable[[], T], data: bytes = b"") -> T:
        """Do it; note the error that it ends in."""
        try:
            return act()
        except InstrumentError as error:
            self._note(kind, data, error)
            raise

    def _begin(self) -> None:
        try:
            if self._began is None:
                self._file = self._path.open("x", encoding="utf-8")
                self._began = time.monotonic()
                self._file.write(header_line(self.address, datetime.now(UTC).isoformat()))
            else:
                self._file = self._path.open("a", encoding="utf-8")
        except FileExistsError as error:
            raise RecordError(
                f"{self._path}: exists already; a wire log is never written over"
            ) from error
        except OSError as error:
            raise RecordError(f"{self._path}: cannot be written: {error}") from error

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _note(
        self, kind: EventKind, data: bytes = b"", error: InstrumentError | None = None
    ) -> None:
        if self._file is None or self._began is None:
            return
        event = Event(
            time.monotonic() - self._began,
            kind,
            data,
            type(error).__name__ if error else "",
            error.problem if error else "",
        )
        self._file.write(event.line())
        self._file.flush()
