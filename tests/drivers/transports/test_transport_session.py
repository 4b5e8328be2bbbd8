"""Sessions on real wires with every fault that was ever seen; no wrong reply may get through."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from transport_peers import (
    FIXED,
    NONCE,
    SHORT_S,
    MemoryTransport,
    PtyPeer,
    Script,
    TcpPeer,
    make_session,
    voltmeter,
    volts,
)

from eqp_hw.drivers.errors import (
    DeviceError,
    LostError,
    ProtocolError,
    StateLostError,
    TransportTimeout,
)
from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.drivers.transports.line_protocol import LineProtocol
from eqp_hw.drivers.transports.session import Session

OpenPty = Callable[..., PtyPeer]
OpenTcp = Callable[..., TcpPeer]
ID = (b"id?", b"Q8iv-0001\n")


@pytest.fixture(params=["serial", "tcp", "visa-serial", "visa-socket"])
def start(
    request: pytest.FixtureRequest, open_pty: OpenPty, open_tcp: OpenTcp
) -> Callable[..., tuple[Session, PtyPeer | TcpPeer]]:
    def make(
        script: Script | None = None, timeout_s: float = 5.0
    ) -> tuple[Session, PtyPeer | TcpPeer]:
        on_pty = "serial" in request.param
        peer: PtyPeer | TcpPeer = (open_pty if on_pty else open_tcp)(script or Script())
        address = peer.visa_address if "visa" in request.param else peer.address
        session = make_session(make_transport(address, timeout_s=5.0))
        request.addfinalizer(session.close)
        session.open()
        return session, peer

    return make


def test_questions_and_answers(start: Callable[..., tuple[Session, PtyPeer | TcpPeer]]) -> None:
    session, _ = start(Script((b"VALL?", b"+0.0000 V\r\n+1.0000 V\r\n")))
    assert session.query(b"V3?") == b"+3.0000 V"
    assert session.ask(b"V4?", volts) == 4.0
    assert session.ask_lines(b"VALL?", 2, volts) == [0.0, 1.0]
    assert session.query_lines(b"V5?", 1) == [b"+5.0000 V"]
    assert session.ask_block(b"block?", length=16) == bytes(range(16))
    assert session.query(b"V6?", fenced=True) == b"+6.0000 V"
    assert session.in_step
    assert session.transport.unread == 0


def test_questions_sent_together_are_answered_in_order(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    session, _ = start()
    assert session.ask_each([b"V3?", b"V1?", b"V7?"], volts) == [3.0, 1.0, 7.0]
    assert session.in_step
    assert session.transport.unread == 0


def test_a_line_too_many_among_several_answers_makes_all_of_them_be_asked_again(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    """All lines look right; taken as they come the second question gets the first's answer."""
    session, _ = start(Script((b"V3?", b"+3.0000 V\n+3.0000 V\n")))
    assert session.ask_each([b"V3?", b"V1?", b"V7?"], volts) == [3.0, 1.0, 7.0]
    assert session.in_step


def test_an_answer_lost_among_several_makes_all_of_them_be_asked_again(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    session, _ = start(Script((b"V3?", b"")))
    found = session.ask_each([b"V3?", b"V1?", b"V7?"], volts, timeout_s=SHORT_S)
    assert found == [3.0, 1.0, 7.0]


def test_a_late_reply_never_answers_the_next_question(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    session, peer = start(Script((b"V1?", b"")))
    with pytest.raises(TransportTimeout, match="heaters"):
        session.query(b"V1?", timeout_s=SHORT_S)
    assert not session.in_step
    peer.push(b"+1.0000 V\n")
    assert session.ask(b"V2?", volts) == 2.0


def test_a_reply_later_than_the_drain_is_passed_over(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    script = Script(ID, (b"V1?", b""), (b"id?", b"+1.0000 V\nQ8iv-0001\n"))
    session, _ = start(script)
    assert session.ask(b"V1?", volts, idempotent=True, timeout_s=SHORT_S) == 1.0
    assert script.asked == [b"id?", b"V1?", b"id?", b"V1?"]


def test_a_late_identity_is_not_taken_for_the_new_one(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    script = Script(ID, (b"V1?", b""), (b"id?", b"Q8iv-0001\nQ8iv-0001\n"))
    session, _ = start(script)
    with pytest.raises(TransportTimeout):
        session.query(b"V1?", timeout_s=SHORT_S)
    assert session.ask(b"V2?", volts) == 2.0
    assert script.asked == [b"id?", b"V1?", b"id?", b"id?", b"V2?"]


def test_a_doubled_reply_is_thrown_away(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    session, _ = start(Script((b"V1?", b"+1.0000 V\n+1.0000 V\n")))
    assert session.ask(b"V1?", volts) == 1.0
    # The second line may arrive after the poll: the fence catches it there.
    assert session.ask(b"V2?", volts, idempotent=True, fenced=True) == 2.0


def test_a_fence_refuses_what_came_in_between(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    stale = (b"V2?", b"+1.0000 V\n+2.0000 V\n")
    session, _ = start(Script(stale, stale))
    with pytest.raises(ProtocolError, match=r"\+2.0000 V.* came before the answer to"):
        session.ask(b"V2?", volts, fenced=True)
    assert session.ask(b"V2?", volts, idempotent=True, fenced=True) == 2.0


def test_stray_bytes_are_seen_before_the_next_request(open_pty: OpenPty) -> None:
    script = Script()
    peer = open_pty(script)
    session = make_session(make_transport(peer.address))
    session.open()
    for stray in (b"+9.0000 V\n", b"+9.00"):
        peer.push(stray)
        assert session.ask(b"V2?", volts) == 2.0
    session.close()
    assert script.asked == [b"id?", b"id?", b"V2?", b"id?", b"V2?"]


def test_a_garbled_reply_is_asked_for_again_only_if_that_is_harmless(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    script = Script((b"V1?", b"+1.0\xff00 V\n"), (b"V2?", b"+1.0\xff00 V\n"))
    session, _ = start(script)
    assert session.ask(b"V1?", volts, idempotent=True) == 1.0
    with pytest.raises(ProtocolError, match="does not fit"):
        session.ask(b"V2?", volts)
    assert script.asked.count(b"V1?") == 2
    assert script.asked.count(b"V2?") == 1
    assert session.ask(b"V3?", volts) == 3.0


def test_a_partial_reply_is_refused(
    start: Callable[..., tuple[Session, PtyPeer | TcpPeer]],
) -> None:
    """Half of "+12.0000 V" reads as a number: only the missing end tells."""
    session, peer = start(Script((b"V12?", b"+1")))
    with pytest.raises(TransportTimeout):
        session.ask(b"V12?", float, timeout_s=SHORT_S)
    peer.push(b"2.0000 V\n")
    assert session.ask(b"V3?", volts) == 3.0


def test_retries_are_bounded(start: Callable[..., tuple[Session, PtyPeer | TcpPeer]]) -> None:
    script = Script(*[(b"V1?", b"?\n")] * 9)
    session, _ = start(script)
    with pytest.raises(ProtocolError):
        session.ask(b"V1?", volts, idempotent=True)
    assert script.asked.count(b"V1?") == 3


@pytest.mark.parametrize(
    "reply",
    [
        b"#215" + bytes(15) + b"\n",
        b"#216" + bytes(16) + b"x\n",
        b"#0" + bytes(16) + b"\n",
        b"#2a6" + bytes(16) + b"\n",
        b"+1.0000 V\n",
    ],
)
def test_a_block_that_does_not_fit_is_refused(reply: bytes, open_tcp: OpenTcp) -> None:
    peer = open_tcp(Script((b"block?", reply), (b"block?", reply)))
    session = make_session(make_transport(peer.address, timeout_s=5.0))
    session.open()
    with pytest.raises(ProtocolError, match="does not fit"):
        session.ask_block(b"block?", length=16)
    assert session.ask_block(b"block?", length=16, idempotent=True) == bytes(range(16))
    session.close()


def test_byte_by_byte_is_as_good_as_at_once(open_tcp: OpenTcp) -> None:
    peer = open_tcp(portions=True)
    for address in (peer.address, peer.visa_address):
        session = make_session(make_transport(address, timeout_s=5.0))
        session.open()
        assert session.ask(b"V7?", volts) == 7.0
        assert session.ask_block(b"block?") == bytes(range(16))
        session.close()


def test_a_peer_that_hangs_up_in_the_middle_is_lost_and_recovered(open_tcp: OpenTcp) -> None:
    peer = open_tcp(Script((b"V1?", b"+1.0" + TcpPeer.HANG_UP)))
    for address in (peer.address, peer.visa_address):
        session = make_session(make_transport(address, timeout_s=5.0))
        session.open()
        if address == peer.address:
            with pytest.raises(LostError, match="heaters"):
                session.ask(b"V1?", volts, idempotent=True)
            assert not session.in_step
            assert session.recover()
        assert session.ask(b"V1?", volts) == 1.0
        session.close()


def test_recovery_reopens_only_where_it_must(open_tcp: OpenTcp) -> None:
    peer = open_tcp(Script((b"V1?", b"")))
    session = make_session(make_transport(peer.address, timeout_s=5.0))
    session.open()
    with pytest.raises(TransportTimeout):
        session.query(b"V1?", timeout_s=SHORT_S)
    assert not session.recover()
    assert session.in_step
    session.close()
    assert session.recover()
    session.close()


def test_an_instrument_that_stays_silent_is_given_up(open_tcp: OpenTcp) -> None:
    script = Script(ID, (b"V1?", b""), *[(b"id?", b"")] * 100)
    session = make_session(make_transport(open_tcp(script).address), probe_timeout_s=SHORT_S)
    session.open()
    with pytest.raises(TransportTimeout):
        session.query(b"V1?", timeout_s=SHORT_S)
    with pytest.raises(LostError, match="cannot be brought into step"):
        session.query(b"V2?")
    with pytest.raises(TransportTimeout):
        session.recover()
    assert b"V2?" not in script.asked
    assert script.asked.count(b"id?") == 1 + 3 + 3 + 3
    session.close()


def test_unplugged_and_plugged_in_again(open_pty: OpenPty) -> None:
    wire = MemoryTransport(lambda line: [voltmeter(line)])
    session = make_session(wire)
    session.open()
    wire.gone = True
    wire.close()
    with pytest.raises(LostError, match="connect first"):
        session.query(b"V1?")
    with pytest.raises(LostError, match="nobody there"):
        session.recover()
    wire.gone = False
    assert session.recover(patience_s=1.0)
    assert session.ask(b"V1?", volts) == 1.0

    peer = open_pty()
    session = make_session(make_transport(peer.address))
    session.open()
    peer.unplug()
    with pytest.raises(LostError, match="unplugged"):
        session.query(b"V1?", idempotent=True)
    with pytest.raises(LostError, match="there is no port"):
        session.recover()
    session.close()


def test_the_wrong_instrument_is_shown_and_its_port_let_go(open_pty: OpenPty) -> None:
    peer = open_pty(lambda request: b"KEYSIGHT,N6705C\n")
    session = make_session(make_transport(peer.address), attempts=1, probe_timeout_s=SHORT_S)
    with pytest.raises(ProtocolError, match=r"answered 'KEYSIGHT,N6705C' to 'id\?'"):
        session.open()
    assert not session.transport.is_open


def error_of(line: bytes) -> DeviceError | None:
    return DeviceError("unknown command", code=10) if line.startswith(b"E10:") else None


EVENTS = LineProtocol(is_event=lambda line: line.startswith(b"E"), refusal=error_of)


def test_event_lines_are_kept_apart_wherever_they_come(open_pty: OpenPty) -> None:
    script = Script(
        (b"V1=2", b"OK\nE01:00\n"),
        (b"V2=2", b"E01:06\nE01:05\nOK\n"),
        (b"bogus", b"E10:00\n"),
    )
    peer = open_pty(script)
    session = Session(make_transport(peer.address), EVENTS, FIXED, quiet_s=0.02)
    session.open()
    assert session.query(b"V1=2") == b"OK"
    assert session.query(b"V2=2") == b"OK"
    assert session.take_events() == [b"E01:00", b"E01:06", b"E01:05"]
    assert session.take_events() == []
    peer.push(b"E90:00\n")
    assert session.take_events() == [b"E90:00"]
    with pytest.raises(DeviceError, match="unknown command"):
        session.query(b"bogus")
    assert session.query(b"V3?") == b"+3.0000 V"
    session.close()


def test_an_event_among_dropped_bytes_is_not_lost(open_pty: OpenPty) -> None:
    """ "Powered up: all outputs are zero" may arrive among the ruins of a time-out."""
    peer = open_pty(Script((b"V1?", b"")))
    session = Session(make_transport(peer.address), EVENTS, FIXED, quiet_s=0.02)
    session.open()
    with pytest.raises(TransportTimeout):
        session.query(b"V1?", timeout_s=SHORT_S)
    peer.push(b"+1.00\nE90:00\n+2.0")
    assert session.query(b"V3?") == b"+3.0000 V"
    assert session.take_events() == [b"E90:00"]
    session.close()


def test_a_refusal_keeps_its_class(open_pty: OpenPty) -> None:
    lost = StateLostError("restarted", code=90)
    protocol = LineProtocol(refusal=lambda line: lost if line == b"E90:00" else None)
    peer = open_pty(Script((b"V1?", b"E90:00\n")))
    session = Session(make_transport(peer.address), protocol, FIXED, name="heaters", quiet_s=0.02)
    session.open()
    with pytest.raises(StateLostError, match="heaters"):
        session.query(b"V1?", idempotent=True)
    session.close()


def test_an_interrupt_in_the_middle_leaves_the_session_out_of_step(open_tcp: OpenTcp) -> None:
    script = Script()
    session = make_session(make_transport(open_tcp(script).address))
    session.open()

    def interrupt(reply: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.ask(b"V1?", interrupt)
    assert not session.in_step
    assert session.ask(b"V2?", volts) == 2.0
    assert script.asked == [b"id?", b"V1?", b"id?", b"V2?"]
    session.close()


def test_blind_bytes_go_out_whatever_the_state(open_tcp: OpenTcp) -> None:
    script = Script((b"V1?", b""))
    session = make_session(make_transport(open_tcp(script).address))
    session.open()
    with pytest.raises(TransportTimeout):
        session.query(b"V1?", timeout_s=SHORT_S)
    session.send_blind(b"VALL=0\n")
    assert not session.in_step
    assert session.ask(b"V2?", volts) == 2.0
    assert script.asked == [b"id?", b"V1?", b"VALL=0", b"id?", b"V2?"]
    session.close()
    with pytest.raises(LostError, match="heaters"):
        session.send_blind(b"VALL=0\n")


def test_a_command_without_reply_goes_out_once(open_tcp: OpenTcp) -> None:
    script = Script((b"*CLS", b""))
    session = make_session(make_transport(open_tcp(script).address))
    session.open()
    session.command(b"*CLS")
    assert session.query(b"V1?") == b"+1.0000 V"
    assert script.asked == [b"id?", b"*CLS", b"V1?"]
    session.close()


def test_a_line_end_within_a_request_is_refused() -> None:
    session = make_session(MemoryTransport(lambda line: [voltmeter(line)]))
    session.open()
    with pytest.raises(ValueError, match="line end"):
        session.query(b"V1?\nV2?")


def test_probes_know_their_answers() -> None:
    assert FIXED.matches(b"Q8iv-00AF", 1)
    assert not FIXED.matches(b"Q8iv-00AF: 0", 1)
    assert NONCE.request(7) == b"echo 8"
    assert NONCE.matches(b"8", 7)
    assert NONCE.matches(b"8.00000e+00", 7)
    assert not NONCE.matches(b"7", 7)
    assert not NONCE.matches(b"OK", 7)
    assert not NONCE.matches(b"nan", 7)
    numbers = [int(NONCE.request(number).split()[1]) for number in range(600)]
    assert min(numbers) == 1
    assert max(numbers) == 255
    assert all(a != b for a, b in itertools.pairwise(numbers))
