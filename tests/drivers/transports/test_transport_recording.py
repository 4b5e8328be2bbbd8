"""What a wire log keeps, and that it replays as the test that it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_peers import SHORT_S, PtyPeer, Script, TcpPeer, make_session, volts

from eqp_hw.drivers.errors import BusyError, LostError, ProtocolError, TransportTimeout
from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.replay import ReplayTransport
from eqp_hw.drivers.transports.wire_log import Event, EventKind, read_wire_log
from eqp_hw.errors import RecordError

OpenTcp = Callable[..., TcpPeer]
ID = (b"id?", b"Q8iv-0001\n")


def dialogue(wire: Transport) -> list[object]:
    """Everything that can happen, whatever is at the other end."""
    session = make_session(wire)
    session.open()
    seen: list[object] = [session.ask(b"V1?", volts), session.ask_block(b"block?", length=16)]
    with pytest.raises(TransportTimeout):
        session.query(b"V2?", timeout_s=SHORT_S)
    seen.append(session.ask(b"V3?", volts, fenced=True))
    with pytest.raises(LostError) as lost:
        session.query(b"V4?")
    seen.append(lost.value.problem)
    seen.append(session.recover())
    seen.append(session.ask(b"V5?", volts))
    session.close()
    return seen


def script() -> Script:
    return Script(
        ID, (b"V2?", b""), (b"id?", b"+2.0000 V\nQ8iv-0001\n"), (b"V4?", b"+4" + TcpPeer.HANG_UP)
    )


@pytest.fixture
def log(tmp_path: Path, open_tcp: OpenTcp) -> Path:
    path = tmp_path / "wire.jsonl"
    dialogue(make_transport(open_tcp(script()).address, timeout_s=5.0, wire_log=path))
    return path


def test_a_recorded_dialogue_replays(tmp_path: Path, open_tcp: OpenTcp) -> None:
    path = tmp_path / "wire.jsonl"
    recorded = dialogue(make_transport(open_tcp(script()).address, timeout_s=5.0, wire_log=path))
    replay = ReplayTransport(path)
    assert dialogue(replay) == recorded
    replay.check_finished()
    assert recorded[:3] == [1.0, bytes(range(16)), 3.0]
    assert recorded[4:] == [True, 5.0]


def test_a_replay_can_itself_be_recorded(log: Path, tmp_path: Path) -> None:
    from eqp_hw.drivers.transports.recording import RecordingTransport

    again = tmp_path / "again.jsonl"
    dialogue(RecordingTransport(ReplayTransport(log), again))
    first, second = read_wire_log(log), read_wire_log(again)
    assert [(e.kind, e.data, e.error) for e in first.events] == [
        (e.kind, e.data, e.error) for e in second.events
    ]


def test_a_dialogue_on_a_pty_replays(tmp_path: Path, open_pty: Callable[..., PtyPeer]) -> None:
    path = tmp_path / "wire.jsonl"
    peer = open_pty()

    def ask(wire: Transport) -> float:
        session = make_session(wire)
        session.open()
        value = session.ask(b"V3?", volts)
        session.close()
        return value

    assert ask(make_transport(peer.address, wire_log=path)) == 3.0
    peer.unplug()
    replay = ReplayTransport(path)
    assert replay.address == peer.address
    assert ask(replay) == 3.0
    replay.check_finished()


def test_another_request_is_shown_against_the_recorded_one(log: Path) -> None:
    wire = ReplayTransport(log)
    session = make_session(wire)
    session.open()
    with pytest.raises(ProtocolError, match=r"expected sending 'V1\?\\n', got sending 'V9\?\\n'"):
        session.query(b"V9?")


def test_a_shorter_dialogue_is_not_finished(log: Path) -> None:
    wire = ReplayTransport(log)
    session = make_session(wire)
    session.open()
    with pytest.raises(ProtocolError, match=r"expected sending 'V1\?"):
        wire.check_finished()
    wire.write(b"V1")
    with pytest.raises(ProtocolError, match=r"expected '\?\\n', got the end"):
        wire.check_finished()
    with pytest.raises(ProtocolError, match="got waiting for a reply"):
        wire.read_until()


def test_a_longer_dialogue_finds_the_end(log: Path) -> None:
    wire = ReplayTransport(log)
    dialogue(wire)
    with pytest.raises(ProtocolError, match=r"expected the end of the log, got opening"):
        wire.open()


def test_the_log_is_readable_and_its_clock_runs_on(log: Path) -> None:
    head, *lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert head["wire_log"] == 1
    assert head["address"].startswith("tcp:127.0.0.1:")
    assert {"t_s", "event"} <= lines[0].keys()
    assert any(line.get("bytes") == "V1?\n" for line in lines)
    times = [line["t_s"] for line in lines]
    assert times == sorted(times)
    assert [line["event"] for line in lines].count("open") == 2
    assert any(line.get("error") == "LostError" for line in lines)


def test_errors_of_opening_are_kept(tmp_path: Path, open_pty: Callable[..., PtyPeer]) -> None:
    path = tmp_path / "wire.jsonl"
    peer = open_pty()
    with make_transport(peer.address):
        wire = make_transport(peer.address, wire_log=path)
        with pytest.raises(BusyError):
            wire.open()
    wire.open()
    wire.close()
    replay = ReplayTransport(path)
    with pytest.raises(BusyError, match="in use"):
        replay.open()
    replay.open()
    replay.close()
    replay.check_finished()


def test_no_log_is_written_over(log: Path) -> None:
    with pytest.raises(RecordError, match="exists already"):
        make_transport("tcp:127.0.0.1:1", wire_log=log).open()


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be written"):
        make_transport("tcp:127.0.0.1:1", wire_log=tmp_path / "none" / "log").open()


def test_a_killed_process_loses_no_line(tmp_path: Path, open_tcp: OpenTcp) -> None:
    path = tmp_path / "wire.jsonl"
    program = (
        "import os, signal, sys, pathlib\n"
        "from eqp_hw.drivers.transports.factory import make_transport\n"
        "wire = make_transport(sys.argv[1], wire_log=pathlib.Path(sys.argv[2]))\n"
        "wire.open()\n"
        "for n in range(20):\n"
        "    wire.write(b'V%d?\\n' % n)\n"
        "    wire.read_until()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, open_tcp().address, str(path)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    log = read_wire_log(path)
    assert log.complete
    sent = b"".join(event.data for event in log.events if event.kind is EventKind.SEND)
    came = b"".join(event.data for event in log.events if event.kind is EventKind.RECEIVE)
    assert sent == b"".join(b"V%d?\n" % n for n in range(20))
    assert came == b"".join(b"%+.4f V\n" % n for n in range(20))


def test_a_torn_last_line_is_left_out(log: Path) -> None:
    whole = read_wire_log(log)
    text = log.read_bytes()
    log.write_bytes(text[:-5])
    torn = read_wire_log(log)
    assert not torn.complete
    assert torn.events == whole.events[:-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no first line"),
        ("hello\n", "no wire log"),
        ("[]\n", "no wire log"),
        ('{"wire_log": 99, "address": "", "started": ""}\n', "version 99"),
        ('{"wire_log": 1, "address": "", "started": ""}\n{}\n', "line 2 is no event"),
        (
            '{"wire_log": 1, "address": "", "started": ""}\n{"t_s": 0, "event": "dance"}\n',
            "line 2 is no event",
        ),
        ('{"wire_log": 1, "address": "", "started": ""}\n[]\n', "line 2 is no event"),
        (
            '{"wire_log": 1, "address": "", "started": ""}\n'
            '{"t_s": 0, "event": "send", "bytes": "\\u0431"}\n',
            "line 2 is no event",
        ),
        (
            '{"wire_log": 1, "address": "", "started": ""}\n{"t_s": [], "event": "send"}\n',
            "line 2 is no event",
        ),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(RecordError, match=words):
        read_wire_log(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_wire_log(tmp_path / "none")


@given(
    event=st.builds(
        Event,
        time_s=st.floats(0, 1e6).map(lambda t: round(t, 6)),
        kind=st.sampled_from(EventKind),
        data=st.binary(max_size=300),
    )
)
def test_events_survive_their_line(event: Event) -> None:
    line = event.line()
    assert line.endswith("\n")
    assert line.isascii()
    assert "\n" not in line[:-1]
    assert Event.parse(line) == event
