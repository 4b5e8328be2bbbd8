"""Whatever the portions and the faults: the same lines, or an error, never another's answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_peers import FIXED, NONCE, MemoryTransport, voltmeter, volts

from eqp_hw.drivers.errors import LostError, TransportError, TransportTimeout
from eqp_hw.drivers.transports.line_protocol import (
    FixedProbe,
    LineProtocol,
    NonceProbe,
    block_digits,
    block_length,
    show,
)
from eqp_hw.drivers.transports.session import Session

LINE = st.binary(min_size=1, max_size=12).filter(lambda line: b"\n" not in line)
LINES = st.lists(LINE, max_size=8)
CHANNELS = st.lists(st.integers(1, 99), min_size=4, max_size=12, unique=True)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@settings(deadline=None, max_examples=150)
@given(lines=LINES, places=st.lists(st.integers(0, 200), max_size=12))
def test_portions_do_not_matter_to_lines(lines: list[bytes], places: list[int]) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    wire = MemoryTransport(lambda request: cut(stream, places))
    with wire:
        wire.write(b"go\n")
        assert [wire.read_until() for _ in lines] == lines
        assert wire.unread == 0


@settings(deadline=None, max_examples=100)
@given(
    lines=LINES,
    end=st.sampled_from([b"\r\n", b"\n", b"\r", b"END"]),
    places=st.lists(st.integers(0, 200), max_size=12),
)
def test_portions_do_not_matter_to_other_ends(
    lines: list[bytes], end: bytes, places: list[int]
) -> None:
    stream = b"".join(line.replace(b"\r", b"-").replace(b"E", b"-") + end for line in lines)
    wire = MemoryTransport(lambda request: cut(stream, places))
    with wire:
        wire.write(b"go\n")
        got = [wire.read_until(end) for _ in lines]
        assert got == stream.split(end)[:-1]
        with pytest.raises(TransportTimeout):
            wire.read_until(end)


@settings(deadline=None, max_examples=100)
@given(payload=st.binary(max_size=300), places=st.lists(st.integers(0, 400), max_size=12))
def test_portions_do_not_matter_to_blocks(payload: bytes, places: list[int]) -> None:
    digits = b"%d" % len(payload)
    block = b"#%d" % len(digits) + digits + payload + b"\n"

    def answer(request: bytes) -> list[bytes]:
        return cut(block, places) if request == b"data?" else [voltmeter(request)]

    session = Session(MemoryTransport(answer), LineProtocol(), FIXED)
    session.open()
    assert session.ask_block(b"data?") == payload
    assert session.ask(b"V2?", volts) == 2.0


@given(header=st.binary(max_size=4))
def test_block_headers_are_read_or_refused(header: bytes) -> None:
    try:
        digits = block_digits(header)
    except ValueError:
        assert not (len(header) == 2 and header[:1] == b"#" and header[1:] in b"123456789")
    else:
        assert header == b"#%d" % digits
    try:
        length = block_length(header)
    except ValueError:
        assert not header.isdigit()
    else:
        assert int(header) == length


@given(data=st.binary(max_size=400))
def test_bytes_are_shown_short_and_readable(data: bytes) -> None:
    text = show(data)
    assert text.isprintable()
    assert len(text) <= 80 * 4 + 30


class FaultyInstrument:
    """Answers in order over a wire that loses, doubles, garbles, cuts and holds back lines.

    A held line comes with whatever is sent next, ahead of it: the order is kept.
    """

    FAULTS = ("lose", "double", "garble", "cut", "hold", "hold double", "split")

    def __init__(self, draw: Callable[[], str]) -> None:
        self._draw = draw
        self._held: list[bytes] = []

    def __call__(self, request: bytes) -> list[bytes]:
        line = voltmeter(request)
        fault = self._draw()
        out = self._held
        self._held = []
        match fault:
            case "lose":
                pass
            case "double":
                out += [line, line]
            case "garble":
                out += [b"\xff" + line[1:]]
            case "cut":
                out += [line[: len(line) // 2]]
            case "hold":
                self._held = [line]
            case "hold double":
                # The copy is on its way when the next request has been written already.
                out += [line]
                self._held = [line]
            case "split":
                out += [line[:2], line[2:]]
            case _:
                out += [line]
        return out


@pytest.mark.parametrize("probe", [FIXED, NONCE], ids=["fixed", "nonce"])
def test_no_answer_of_another_question_is_ever_taken(probe: FixedProbe | NonceProbe) -> None:
    counts = {"right": 0, "error": 0}

    @settings(deadline=None, max_examples=150)
    @given(data=st.data(), channels=CHANNELS)
    def check(data: st.DataObject, channels: list[int]) -> None:
        fault = st.sampled_from(("none",) * 7 + FaultyInstrument.FAULTS)
        wire = MemoryTransport(FaultyInstrument(lambda: data.draw(fault)))
        session = Session(wire, LineProtocol(), probe)
        for channel in channels:
            try:
                if not wire.is_open:
                    session.open()
                got = session.ask(b"V%d?" % channel, volts, idempotent=True, fenced=True)
            except TransportError as error:
                # All but a wire that cannot be brought into step is left as it is.
                if isinstance(error, LostError):
                    session.close()
                counts["error"] += 1
            else:
                assert got == channel
                counts["right"] += 1

    check()
    assert min(counts.values()) > 50, counts


def test_without_fence_the_same_faults_do_get_through() -> None:
    """The property above can fail: an unfenced question takes a doubled line for its answer."""
    faults = iter(["none", "hold double", "none"])
    wire = MemoryTransport(FaultyInstrument(lambda: next(faults)))
    session = Session(wire, LineProtocol(), FIXED)
    session.open()
    assert session.ask(b"V1?", volts) == 1.0
    assert session.ask(b"V2?", volts) == 1.0
