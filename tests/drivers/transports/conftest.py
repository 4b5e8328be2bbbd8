"""Wires with somebody at the other end, closed after each test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from transport_peers import Answer, PtyPeer, TcpPeer, voltmeter


@pytest.fixture
def open_pty() -> Iterator[Callable[..., PtyPeer]]:
    with contextlib.ExitStack() as stack:

        def make(answer: Answer = voltmeter) -> PtyPeer:
            peer = PtyPeer(answer)
            stack.callback(peer.close)
            return peer

        yield make


@pytest.fixture
def open_tcp() -> Iterator[Callable[..., TcpPeer]]:
    with contextlib.ExitStack() as stack:

        def make(answer: Answer = voltmeter, *, portions: bool = False) -> TcpPeer:
            peer = TcpPeer(answer, portions=portions)
            stack.callback(peer.close)
            return peer

        yield make
