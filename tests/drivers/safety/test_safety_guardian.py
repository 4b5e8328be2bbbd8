"""The guardian on ports of its own: farewell, death, a busy port, a port that is gone."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import tty
from pathlib import Path

import pytest

from eqp_hw.drivers.safety import guardian
from eqp_hw.drivers.safety.guard import Guard, Ward

HOLDER = """
import sys
from eqp_hw.drivers.safety.guard import Guard, Ward
guard = Guard([Ward("source", sys.argv[1], (b"zero\\n",))])
print(guard.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def terminal():
    """A pseudo-terminal: our side, and the path of the other."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    path = os.ttyname(theirs)
    yield ours, path
    os.close(ours)
    os.close(theirs)


def read_exactly(handle, count):
    data = b""
    while len(data) < count:
        data += os.read(handle, count - len(data))
    return data


def test_kill_of_the_owner_sends_the_safe_bytes_twice(terminal):
    ours, path = terminal
    owner = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, f"serial:{path}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    owner.stdout.readline()
    owner.send_signal(signal.SIGKILL)
    assert read_exactly(ours, 10) == b"zero\nzero\n"
    # The guardian holds the other end of the pipe: this waits for its end.
    said = owner.communicate()[1]
    assert b"source was made safe" in said


def test_farewell_sends_nothing(terminal):
    ours, path = terminal
    guard = Guard([Ward("source", f"serial:{path}", (b"zero\n",))])
    assert guard.watching
    guard.end(farewell=True)
    guard.end(farewell=True)
    assert not guard.watching
    os.set_blocking(ours, False)
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)


def test_without_farewell_it_acts_though_its_owner_lives(terminal):
    ours, path = terminal
    guard = Guard([Ward("source", f"serial:{path}", (b"a\n", b"b\n"))])
    guard.end(farewell=False)
    assert read_exactly(ours, 8) == b"a\nb\na\nb\n"


def test_signals_of_the_terminal_do_not_reach_it(terminal):
    ours, path = terminal
    guard = Guard([Ward("source", f"serial:{path}", (b"zero\n",))])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard.pid, number)
    assert os.getsid(guard.pid) != os.getsid(0)
    guard.end(farewell=False)
    assert read_exactly(ours, 10) == b"zero\nzero\n"


def test_tcp_and_visa_sockets_are_served_whole():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = []

        def serve():
            for _ in range(2):
                client, _ = server.accept()
                with client:
                    client.sendall(b"unasked\n")  # unread bytes must not reset the connection
                    seen.append(client.makefile("rb").read())

        thread = threading.Thread(target=serve)
        thread.start()
        data = b"VOLT 0\n" * 2000
        failed = guardian.make_safe(
            [
                {"name": name, "address": address, "baud": 115200, "messages": data.hex()}
                for name, address in (
                    ("one", f"tcp:127.0.0.1:{port}"),
                    ("two", f"visa:TCPIP0::127.0.0.1::{port}::SOCKET"),
                )
            ]
        )
        thread.join()
    assert failed == {}
    assert seen == [data, data]


def test_a_port_that_is_gone_is_named_and_does_not_hold_up_the_others(terminal):
    ours, path = terminal
    wards = [
        {"name": name, "address": address, "baud": 115200, "messages": b"x".hex()}
        for name, address in (("gone", "serial:/dev/ttyNONE"), ("there", f"serial:{path}"))
    ]
    failed = guardian.make_safe(wards, give_up_s=0.0)
    assert list(failed) == ["gone"]
    assert "FileNotFoundError" in failed["gone"]
    assert read_exactly(ours, 1) == b"x"


def test_a_busy_port_is_waited_for(terminal):
    ours, path = terminal
    import serial

    owner = serial.Serial(path, exclusive=True)
    ward = {"name": "s", "address": f"serial:{path}", "baud": 115200, "messages": b"x".hex()}
    assert "BlockingIOError" in guardian.make_safe([ward], give_up_s=0.0)["s"]
    thread = threading.Thread(target=guardian.make_safe, args=([ward],))
    thread.start()
    owner.close()
    assert read_exactly(ours, 1) == b"x"
    thread.join()


def test_it_needs_the_standard_library_alone():
    code = (
        "import runpy, sys\n"
        f"runpy.run_path({str(Path(guardian.__file__))!r}, run_name='looked at')\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in "
        "('numpy', 'eqp_hw', 'serial', 'pyvisa', 'pydantic')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
