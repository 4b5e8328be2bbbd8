"""The event loop alone: timers, calls from outside, and callbacks that fail."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from eqp_hw.sim_backends.virtual_lab.wires.loop import READ, EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    running = EventLoop()
    running.start()
    yield running
    running.close()
    running.close()


def test_timers_fire_in_order_and_never_early(loop: EventLoop) -> None:
    fired: queue.Queue[tuple[float, float]] = queue.Queue()
    started = time.monotonic()

    def order() -> None:
        for delay_s in (0.04, 0.01, 0.02):
            loop.after(delay_s, lambda delay_s=delay_s: fired.put((delay_s, time.monotonic())))

    loop.call(order)
    seen = [fired.get(timeout=5.0) for _ in range(3)]
    assert [delay_s for delay_s, _ in seen] == [0.01, 0.02, 0.04]
    assert all(at - started >= delay_s for delay_s, at in seen)


def test_calls_run_in_the_loops_thread_and_raise_in_ours(loop: EventLoop) -> None:
    assert loop.call(threading.current_thread) is not threading.current_thread()
    assert loop.call(lambda: loop.call(threading.current_thread)) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        loop.call(lambda: 1 // 0)
    assert loop.failures == []


def test_many_threads_may_call_at_once(loop: EventLoop) -> None:
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: [loop.call(lambda: counts.append(1)) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20.0)
    assert len(counts) == 800


def test_a_failing_callback_is_remembered_and_the_rest_goes_on(loop: EventLoop) -> None:
    near, far = socket.socketpair()
    heard: queue.Queue[bytes] = queue.Queue()

    def listen(_events: int) -> None:
        data = near.recv(100)
        heard.put(data)
        if data == b"bad":
            raise ValueError(data)

    loop.call(lambda: loop.watch(near, READ, listen))
    for data in (b"bad", b"good"):
        far.send(data)
        assert heard.get(timeout=5.0) == data
    loop.call(lambda: loop.watch(near, 0, listen))
    assert loop.failures == ["ValueError: b'bad'"]
    near.close()
    far.close()
