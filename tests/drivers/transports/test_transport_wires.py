"""Every wire against a real pseudo-terminal or socket: the same meaning whatever carries it."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transport_peers import SHORT_S, PtyPeer, Script, TcpPeer, volts

from eqp_hw.drivers.errors import (
    BusyError,
    LostError,
    ProtocolError,
    TransportTimeout,
)
from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.port_access import permission_advice
from eqp_hw.errors import ConfigurationError, UnavailableError

Peer = PtyPeer | TcpPeer
KINDS = ["serial", "tcp", "visa-serial", "visa-socket", "serial-url"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(
    kind: str, open_pty: Callable[..., PtyPeer], open_tcp: Callable[..., TcpPeer]
) -> Iterator[Callable[..., tuple[Transport, Peer]]]:
    with contextlib.ExitStack() as stack:

        def make(script: Script | None = None) -> tuple[Transport, Peer]:
            peer: Peer
            if kind in {"serial", "visa-serial"}:
                peer = open_pty(script or Script())
            else:
                peer = open_tcp(script or Script())
            address = {
                "serial": peer.address,
                "tcp": peer.address,
                "visa-serial": peer.visa_address,
                "visa-socket": peer.visa_address,
                "serial-url": f"serial:socket://127.0.0.1:{getattr(peer, 'port', 0)}",
            }[kind]
            wire = make_transport(address, timeout_s=5.0)
            stack.callback(wire.close)
            wire.open()
            return wire, peer

        yield make


def test_a_query_is_answered(connect: Callable[..., tuple[Transport, Peer]]) -> None:
    wire, _ = connect()
    for channel in range(3):
        wire.write(b"V%d?\n" % channel)
        assert volts(wire.read_until()) == channel
    assert wire.unread == 0
    assert not wire.dirty


def test_a_block_with_every_byte_passes_unchanged(
    connect: Callable[..., tuple[Transport, Peer]],
) -> None:
    payload = bytes(range(256)) * 40
    wire, _ = connect(Script((b"all?", b"#510240" + payload + b"\n")))
    wire.write(b"all?\n")
    assert wire.read_exactly(7) == b"#510240"
    assert wire.read_exactly(len(payload)) == payload
    assert wire.read_until() == b""
    assert wire.unread == 0


def test_a_partial_reply_is_a_timeout_and_stays_unread(
    connect: Callable[..., tuple[Transport, Peer]],
) -> None:
    wire, peer = connect(Script((b"V1?", b"+1.0")))
    wire.write(b"V1?\n")
    with pytest.raises(TransportTimeout, match="within the deadline"):
        wire.read_until(timeout_s=SHORT_S)
    assert wire.dirty
    assert wire.unread == 4
    peer.push(b"000 V\n")
    assert wire.read_until() == b"+1.0000 V"


def test_draining_drops_what_is_late(connect: Callable[..., tuple[Transport, Peer]]) -> None:
    wire, peer = connect(Script((b"V1?", b"")))
    wire.write(b"V1?\n")
    with pytest.raises(TransportTimeout):
        wire.read_until(timeout_s=SHORT_S)
    peer.push(b"+1.0000 V\n")
    assert wire.drain(quiet_s=0.02) == b"+1.0000 V\n"
    assert not wire.dirty
    wire.write(b"V2?\n")
    assert wire.read_until() == b"+2.0000 V"


def test_a_side_that_goes_away_is_lost_not_late(
    connect: Callable[..., tuple[Transport, Peer]],
) -> None:
    wire, peer = connect(Script((b"V1?", b"")))
    wire.write(b"V1?\n")
    if isinstance(peer, PtyPeer):
        peer.unplug()
    else:
        peer.hang_up()
    with pytest.raises(LostError, match=r"gone|closed|broke"):
        wire.read_until(timeout_s=5.0)
    assert wire.dirty
    wire.close()
    wire.close()
    assert not wire.is_open


@pytest.mark.parametrize("form", ["address", "visa_address"])
def test_a_reply_before_the_end_is_still_read(form: str, open_tcp: Callable[..., TcpPeer]) -> None:
    peer = open_tcp(Script((b"V1?", b"+1.0000 V\n" + TcpPeer.HANG_UP)))
    with make_transport(getattr(peer, form), timeout_s=5.0) as wire:
        wire.write(b"V1?\n")
        assert wire.read_until() == b"+1.0000 V"
        with pytest.raises(LostError, match="closed"):
            wire.read_until()


def test_reopening_forgets_the_old_reply(connect: Callable[..., tuple[Transport, Peer]]) -> None:
    wire, _ = connect(Script((b"V1?", b"+1.0000 V\n+1.0000 V\n")))
    wire.write(b"V1?\n")
    wire.read_until()
    wire.reopen()
    wire.write(b"V2?\n")
    assert wire.read_until() == b"+2.0000 V"


def test_a_closed_wire_says_so(connect: Callable[..., tuple[Transport, Peer]]) -> None:
    wire, _ = connect()
    wire.close()
    for act in (lambda: wire.write(b"x"), wire.read_until, wire.drain, wire.poll):
        with pytest.raises(LostError, match="open it first"):
            act()


def test_polling_waits_for_nothing(connect: Callable[..., tuple[Transport, Peer]]) -> None:
    wire, _ = connect()
    assert wire.poll() == 0
    wire.write(b"V1?\n")
    assert wire.read_some(1) == b"+"
    assert wire.read_until() == b"1.0000 V"


def test_a_flood_without_line_ends_is_refused(open_tcp: Callable[..., TcpPeer]) -> None:
    peer = open_tcp(Script((b"V1?", b"x" * 5000)))
    with make_transport(peer.address) as wire:
        wire.write(b"V1?\n")
        with pytest.raises(ProtocolError, match="bytes without"):
            wire.read_until(longest=1000)
        assert wire.dirty


def test_a_line_that_is_never_quiet_is_refused(open_tcp: Callable[..., TcpPeer]) -> None:
    peer = open_tcp(lambda request: b"x" * 10_000_000)
    with make_transport(peer.address) as wire:
        wire.write(b"go\n")
        with pytest.raises(ProtocolError, match="fall quiet"):
            wire.drain(limit_s=0.0)


@pytest.mark.parametrize("form", ["address", "visa_address"])
def test_a_side_that_takes_nothing_is_a_timeout(form: str) -> None:
    """A peer that never reads: the buffers fill and the write ends by its deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        address = {
            "address": f"tcp:127.0.0.1:{port}",
            "visa_address": f"visa:TCPIP::127.0.0.1::{port}::SOCKET",
        }[form]
        with make_transport(address, timeout_s=0.2) as wire:
            client, _ = listener.accept()
            with client, pytest.raises(TransportTimeout, match="taken"):
                wire.write(bytes(50_000_000))
            assert wire.dirty


def test_a_second_opening_finds_the_port_busy(open_pty: Callable[..., PtyPeer]) -> None:
    peer = open_pty()
    with make_transport(peer.address):
        for address in (peer.address, peer.visa_address):
            with pytest.raises(BusyError, match="in use") as caught:
                make_transport(address).open()
            if Path("/proc/self/fd").exists():
                assert "this program" in str(caught.value)
    with make_transport(peer.address) as wire:
        wire.write(b"id?\n")
        assert wire.read_until() == b"Q8iv-0001"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell")
def test_the_busy_port_names_who_holds_it(open_pty: Callable[..., PtyPeer]) -> None:
    peer = open_pty()
    program = (
        "import fcntl, sys; port = open(sys.argv[1], 'rb+', buffering=0); "
        "fcntl.flock(port, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, peer.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=rf"process {holder.pid}\b"):
            make_transport(peer.address).open()
        holder.stdin.close()


def test_a_denied_port_names_the_group_to_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "ttyUSB7"
    node.touch()
    node.chmod(0o660)
    opened = os.open

    def deny(path: str, *rest: int) -> int:
        if path == str(node):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", deny)
    group = grp.getgrgid(node.stat().st_gid).gr_name
    for address in (f"serial:{node}", f"visa:ASRL{node}::INSTR"):
        with pytest.raises(BusyError, match="no permission") as caught:
            make_transport(address).open()
        assert f"usermod -aG {group} " in str(caught.value)
    node.chmod(0o600)
    assert "udev" in permission_advice(str(node))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("serial:/dev/no_such_port", "there is no port /dev/no_such_port"),
        ("visa:ASRL/dev/no_such_port::INSTR", "there is no port /dev/no_such_port"),
        ("tcp:no-such-host.invalid:5025", "unknown"),
        ("serial:nonsense://x", "cannot be opened"),
    ],
)
def test_what_is_not_there_is_lost(address: str, words: str) -> None:
    with pytest.raises(LostError, match=words):
        make_transport(address).open()


@pytest.mark.parametrize("scheme", ["tcp:127.0.0.1:%d", "visa:TCPIP::127.0.0.1::%d::SOCKET"])
def test_a_refused_connection_is_lost(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LostError, match="is the instrument on"):
        make_transport(scheme % port, timeout_s=1.0).open()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "serial:",
        "usb:1",
        "tcp:host",
        "tcp:host:",
        "tcp::5025",
        "tcp:host:0",
        "tcp:host:65536",
        "tcp:host:٥",
        "tcp:::1:5025",
        "/dev/ttyUSB0",
    ],
)
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed: "):
        make_transport(address)


def test_a_bad_visa_resource_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no VISA resource"):
        make_transport("visa:GARBAGE").open()


def test_addresses_in_brackets() -> None:
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    with listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        with make_transport(f"tcp:[::1]:{listener.getsockname()[1]}") as wire:
            client, _ = listener.accept()
            with client:
                client.sendall(b"hello\n")
                assert wire.read_until() == b"hello"


@pytest.mark.parametrize(
    ("address", "library"),
    [("serial:/dev/ttyUSB0", "serial"), ("visa:TCPIP::h::1::SOCKET", "pyvisa")],
)
def test_a_missing_library_says_how_to_get_it(
    address: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    wire = make_transport(address)
    with pytest.raises(UnavailableError, match=r"pip install 'eqp_hw\[instruments\]'"):
        wire.open()


def test_a_missing_visa_library_says_so() -> None:
    with pytest.raises(UnavailableError, match="no VISA library '@nothing'"):
        make_transport("visa:TCPIP::h::1::SOCKET", visa_backend="@nothing").open()


def test_making_wires_imports_no_library() -> None:
    program = (
        "import sys; from eqp_hw.drivers.transports.factory import make_transport; "
        "make_transport('serial:x'); make_transport('visa:x'); "
        "sys.exit(any(name in sys.modules for name in ('serial', 'pyvisa', 'pyvisa_py')))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", program], check=False).returncode == 0


def test_a_board_that_must_not_restart(open_pty: Callable[..., PtyPeer]) -> None:
    import termios

    peer = open_pty()

    def hangs_up_on_close() -> bool:
        handle = os.open(peer.port, os.O_RDWR | os.O_NOCTTY)
        try:
            return bool(termios.tcgetattr(handle)[2] & termios.HUPCL)
        finally:
            os.close(handle)

    handle = os.open(peer.port, os.O_RDWR | os.O_NOCTTY)
    settings = termios.tcgetattr(handle)
    settings[2] |= termios.HUPCL
    termios.tcsetattr(handle, termios.TCSANOW, settings)
    os.close(handle)
    with make_transport(peer.address):
        assert hangs_up_on_close()
    with make_transport(peer.address, reset_on_open=False) as wire:
        assert not hangs_up_on_close()
        wire.write(b"id?\n")
        assert wire.read_until() == b"Q8iv-0001"
