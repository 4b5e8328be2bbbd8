"""One event loop in one thread for all wires: descriptors, timers, and calls from outside."""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar, final

__all__ = ["READ", "WRITE", "EventLoop"]

_log = logging.getLogger("eqp_hw.sim_backends.virtual_lab.wires")

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

T = TypeVar("T")


@final
class EventLoop:
    """Waits on all descriptors and timers at once; never busy.

    A callback that fails is logged and remembered in `failures`; the others go on.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self._ears, self._mouth = socket.socketpair()
        self._ears.setblocking(False)
        self._mouth.setblocking(False)
        self._selector.register(self._ears, READ, None)
        self._thread: threading.Thread | None = None
        self._stop = False
        self.failures: list[str] = []

    def watch(self, descriptor: Any, events: int, callback: Callable[[int], None]) -> None:
        """Call ``callback(events)`` when ``descriptor`` is ready; 0 events stops watching."""
        known = descriptor in self._selector.get_map()
        if events == 0:
            if known:
                self._selector.unregister(descriptor)
        elif known:
            self._selector.modify(descriptor, events, callback)
        else:
            self._selector.register(descriptor, events, callback)

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back once, ``delay_s`` from now; from the loop's thread."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._number), callback))

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` in the loop's thread and return what it returns."""
        if self._thread is None or self._thread is threading.current_thread():
            return function()
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                future.set_exception(error)

        self._calls.append(run)
        self._wake()
        return future.result(timeout=30.0)

    def start(self) -> None:
        """Serve in a thread from now on."""
        self._thread = threading.Thread(target=self._run, name="virtual lab", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; descriptors may still be unwatched. Idempotent."""
        thread, self._thread = self._thread, None
        self._stop = True
        if thread is not None:
            self._wake()
            thread.join(timeout=10.0)

    def close(self) -> None:
        """Stop serving for good; idempotent."""
        self.stop()
        if self._ears.fileno() >= 0:
            self._selector.close()
            self._ears.close()
            self._mouth.close()

    def _wake(self) -> None:
        try:
            self._mouth.send(b"!")
        except BlockingIOError:
            return  # full of wake-ups already

    def _run(self) -> None:
        while not self._stop:
            for key, events in self._selector.select(self._patience_s()):
                if key.data is None:
                    self._guarded(self._hear)
                else:
                    self._guarded(key.data, events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._guarded(heapq.heappop(self._timers)[2])

    def _patience_s(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _hear(self) -> None:
        self._ears.recv(4096)
        while self._calls:
            self._calls.popleft()()

    def _guarded(self, callback: Callable[..., None], *arguments: int) -> None:
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - one wire must not end the others
            self.failures.append(f"{type(error).__name__}: {error}")
            _log.exception("a callback of the virtual lab failed")
