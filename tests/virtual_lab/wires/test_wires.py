"""Both kinds of wire carry the same bytes, and the same faults."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from dummy_simulators import LineInstrument

from eqp_hw.errors import ConfigurationError
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.virtual_lab.faults import FaultKind, FaultPlan, FaultTiming, Scheduled
from eqp_hw.sim_backends.virtual_lab.instruments import SimulatorFactory
from eqp_hw.sim_backends.virtual_lab.twin import Twin

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")

PATIENCE_S = 5.0
QUICK = FaultTiming(delay_s=0.03, pause_s=0.02, trickle_s=0.004, unplugged_s=0.02)


class Line:
    """A bare client: bytes and deadlines, nothing else."""

    def __init__(self, address: str) -> None:
        scheme, _, rest = address.partition(":")
        self._socket: socket.socket | None = None
        if scheme == "serial":
            self.fd = os.open(rest, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        else:
            host, _, port = rest.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
            self._socket.setblocking(False)
            self.fd = self._socket.fileno()
        self.buffer = b""

    def send(self, data: bytes) -> None:
        while data:
            assert select.select([], [self.fd], [], PATIENCE_S)[1]
            data = data[os.write(self.fd, data) :]

    def some(self, timeout_s: float = PATIENCE_S) -> bytes:
        """Return what comes first, b"" at the time-out; OSError once the line is dead."""
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return b""
        data = os.read(self.fd, 65536)
        if not data:
            raise ConnectionResetError("end of file")
        return data

    def line(self, timeout_s: float = PATIENCE_S) -> bytes:
        while b"\n" not in self.buffer:
            data = self.some(timeout_s)
            assert data, "no line in time"
            self.buffer += data
        first, _, self.buffer = self.buffer.partition(b"\n")
        return first

    def ask(self, request: bytes) -> bytes:
        self.send(request + b"\n")
        return self.line()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.fd)


def until(true: Callable[[], bool]) -> None:
    """Ask again until it is true; each question goes through the twin's own thread."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline


class MakeTwin(Protocol):
    def __call__(self, faults: FaultPlan | None = None, **virtual_lab: object) -> Twin: ...


@pytest.fixture
def make_twin(
    make_tiny_rig: Callable[..., Rig], line_simulators: dict[str, SimulatorFactory]
) -> Iterator[MakeTwin]:
    twins: list[Twin] = []

    def make(faults: FaultPlan | None = None, **virtual_lab: object) -> Twin:
        rig = make_tiny_rig(virtual_lab=virtual_lab)
        twins.append(Twin(rig, faults=faults, simulators=line_simulators))
        return twins[-1].start()

    yield make
    for twin in twins:
        twin.close()
        twin.close()


def connected(twin: Twin, name: str) -> Line:
    return Line(twin.addresses[name])


def with_fault(make_twin: MakeTwin, name: str, kind: FaultKind, at: int = 0) -> tuple[Twin, Line]:
    twin = make_twin(FaultPlan(schedule=(Scheduled(name, at, kind),), timing=QUICK))
    return twin, connected(twin, name)


WIRES = pytest.mark.parametrize("name", ["heaters", "detectors"])


@WIRES
def test_every_byte_passes_unchanged(make_twin: MakeTwin, name: str) -> None:
    line = connected(make_twin(), name)
    everything = bytes(byte for byte in range(256) if byte != ord("\n"))
    assert line.ask(everything) == everything
    line.close()


@WIRES
def test_portions_and_long_replies(make_twin: MakeTwin, name: str) -> None:
    twin = make_twin()
    line = connected(twin, name)
    line.send(b"he")
    assert twin.ask("failures") == []
    line.send(b"llo\nanother\n")
    assert [line.line(), line.line()] == [b"hello", b"another"]
    # Longer than the buffer of a pseudo-terminal, both ways.
    long = b"x" * 3000
    line.send((long + b"\n") * 10)
    assert [line.line() for _ in range(10)] == [long] * 10
    counts = twin.ask("counts")[name]
    assert counts["bytes_in"] == counts["bytes_out"] == 14 + 10 * 3001
    line.close()


def test_a_client_who_never_reads_stops_nobody_else(make_twin: MakeTwin) -> None:
    twin = make_twin()
    deaf, other = connected(twin, "heaters"), connected(twin, "detectors")
    for _ in range(100):
        deaf.send(b"y" * 1000 + b"\n")
        assert other.ask(b"still here") == b"still here"
    deaf.close()
    other.close()


def test_the_next_tcp_client_is_served_after_the_first(make_twin: MakeTwin) -> None:
    twin = make_twin()
    first = connected(twin, "detectors")
    assert first.ask(b"a") == b"a"
    second = connected(twin, "detectors")
    second.send(b"b\n")
    assert first.ask(b"still mine") == b"still mine"
    first.send(b"never read\n")
    first.close()
    assert second.line() == b"b"
    second.close()
    third = connected(twin, "detectors")
    assert third.ask(b"c") == b"c"
    third.close()


def test_addresses_keep_the_scheme_of_the_rig_file(
    make_tiny_rig: Callable[..., Rig], line_simulators: dict[str, SimulatorFactory]
) -> None:
    rig = make_tiny_rig().with_addresses(
        {"heaters": "visa:ASRL/dev/ttyUSB0::INSTR", "detectors": "visa:TCPIP::host::5025::SOCKET"}
    )
    with Twin(rig, simulators=line_simulators) as twin:
        for name, address in twin.addresses.items():
            assert address == f"visa:{twin.visa[name]}"
            assert twin.rig.settings.instruments[name].address == address
        assert twin.visa["heaters"].startswith("ASRL/")
        assert twin.visa["detectors"].startswith("TCPIP::127.0.0.1::")


def test_pyvisa_alone_talks_to_both(make_twin: MakeTwin) -> None:
    pyvisa = pytest.importorskip("pyvisa")
    pytest.importorskip("pyvisa_py")
    twin = make_twin()
    manager = pyvisa.ResourceManager("@py")
    for name, resource in twin.visa.items():
        session = manager.open_resource(resource, read_termination="\n", write_termination="\n")
        assert session.query(f"hello {name}") == f"hello {name}"
        session.close()
    manager.close()


def test_replies_wait_for_plant_time_on_the_real_clock(make_twin: MakeTwin) -> None:
    line = connected(make_twin(clock="real", speed=50.0), "heaters")
    started = time.monotonic()
    assert line.ask(b"wait 2.0") == b"event"
    assert line.line() == b"late"
    assert time.monotonic() - started >= 2.0 / 50
    line.close()


def test_nobody_waits_on_the_transaction_clock(make_twin: MakeTwin) -> None:
    line = connected(make_twin(), "heaters")
    assert line.ask(b"wait 1e6") == b"event"
    assert line.line() == b"late"
    line.close()


@WIRES
def test_a_bug_in_a_simulator_is_seen_and_ends_nothing(make_twin: MakeTwin, name: str) -> None:
    twin = make_twin()
    line = connected(twin, name)
    line.send(b"crash\n")
    until(lambda: bool(twin.failures))
    assert line.ask(b"and on") == b"and on"
    assert twin.failures == ["RuntimeError: a bug"]
    line.close()


# -- faults -----------------------------------------------------------------------------------


@WIRES
def test_delay(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.DELAY)
    started = time.monotonic()
    assert line.ask(b"one") == b"one"
    assert time.monotonic() - started >= QUICK.delay_s
    assert twin.ask("faults")[name] == {"delay": 1}
    line.close()


@WIRES
def test_nothing_overtakes_a_delayed_reply(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.DELAY)
    line.send(b"one\n")
    until(lambda: twin.ask("counts")[name]["transactions"] == 1)
    assert line.ask(b"two") == b"one"
    assert line.line() == b"two"
    line.close()


@WIRES
def test_loss(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.LOSS)
    line.send(b"one\n")
    assert line.ask(b"two") == b"two"
    line.close()


@WIRES
def test_split(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.SPLIT)
    started = time.monotonic()
    line.send(b"a longer line\n")
    first = line.some()
    assert 0 < len(first) < 14
    line.buffer = first
    assert line.line() == b"a longer line"
    assert time.monotonic() - started >= QUICK.pause_s
    line.close()


@WIRES
def test_garble(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.GARBLE)
    line.send(b"0123456789\n")
    reply = line.some()
    assert len(reply) == 11
    changed = sum(a != b for a, b in zip(reply, b"0123456789\n", strict=True))
    assert 1 <= changed <= 2
    assert twin.instruments[name].lines == [b"0123456789"]  # type: ignore[attr-defined]
    line.close()


@WIRES
def test_duplicate(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.DUPLICATE)
    assert line.ask(b"one") == b"one"
    assert line.line() == b"one"
    assert line.ask(b"two") == b"two"
    line.close()


@WIRES
def test_stale(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.STALE)
    line.send(b"one\n")
    assert line.some(0.02) == b""
    assert line.ask(b"two") == b"one"
    assert line.line() == b"two"
    line.close()


@WIRES
def test_slow_drain(make_twin: MakeTwin, name: str) -> None:
    slow = FaultTiming(trickle_s=0.02, trickle_bytes=2)
    schedule = (Scheduled(name, 0, FaultKind.SLOW_DRAIN),)
    twin = make_twin(FaultPlan(schedule=schedule, timing=slow))
    line, started = connected(twin, name), time.monotonic()
    line.send(b"a reply of 20 bytes\n")
    line.buffer = line.some()
    assert len(line.buffer) < 20
    # While it trickles the instrument hears nothing.
    line.send(b"next\n")
    assert twin.ask("counts")[name]["transactions"] == 1
    assert line.line() == b"a reply of 20 bytes"
    assert time.monotonic() - started >= 9 * slow.trickle_s
    assert line.line() == b"next"
    line.close()


@WIRES
@pytest.mark.parametrize("kind", [FaultKind.LOST_REQUEST, FaultKind.GARBLED_REQUEST])
def test_faults_of_requests(make_twin: MakeTwin, name: str, kind: FaultKind) -> None:
    twin, line = with_fault(make_twin, name, kind)
    line.send(b"aaaaaaaaaaaaaaaaaaaa\n")
    reply = line.some(0.02)
    heard = twin.instruments[name].lines  # type: ignore[attr-defined]
    if kind is FaultKind.LOST_REQUEST:
        assert reply == b""
        assert heard == []
    else:
        assert b"aaaaaaaaaaaaaaaaaaaa" not in heard
    assert twin.ask("faults")[name] == {kind.value: 1}
    line.close()


def test_a_reply_fault_waits_for_a_reply(make_twin: MakeTwin) -> None:
    twin, line = with_fault(make_twin, "heaters", FaultKind.DUPLICATE)
    line.send(b"silent\n")
    until(lambda: twin.ask("counts")["heaters"]["transactions"] == 1)
    assert twin.ask("faults")["heaters"] == {}
    assert line.ask(b"one") == b"one"
    assert line.line() == b"one"
    line.close()


@WIRES
def test_power_cycle(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.POWER_CYCLE, at=1)
    assert line.ask(b"one") == b"one"
    line.send(b"lost\n")
    assert line.line() == b"HELLO"
    assert line.ask(b"two") == b"two"
    twin.inject(name, FaultKind.POWER_CYCLE)
    assert line.line() == b"HELLO"
    assert twin.ask("faults")[name] == {"power-cycle": 2}
    line.close()


@WIRES
def test_unplug_and_replug(make_twin: MakeTwin, name: str) -> None:
    twin = make_twin()
    address, line = twin.addresses[name], connected(twin, name)
    assert line.ask(b"one") == b"one"
    twin.do("unplug", instrument=name)
    with pytest.raises(OSError):  # noqa: PT011 - reset, end of file or EIO by the kind of line
        line.some()
    line.close()
    if name == "heaters":
        assert not Path(address.removeprefix("serial:")).exists()
    else:
        with pytest.raises(OSError), Line(address) as refused:  # noqa: PT011 - now or at a read
            refused.some()
    twin.do("replug", instrument=name)
    assert twin.addresses[name] == address
    line = connected(twin, name)
    assert line.ask(b"two") == b"two"
    line.close()


@WIRES
def test_a_pulled_cable_comes_back(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.UNPLUG)
    line.send(b"one\n")
    with pytest.raises(OSError):  # noqa: PT011
        line.some()
    line.close()
    until(lambda: twin.ask("counts")[name]["plugged"])
    line = connected(twin, name)
    assert line.ask(b"two") == b"two"
    assert twin.ask("faults")[name] == {"unplug": 1}
    line.close()


def test_drawn_faults_are_repeatable_and_as_frequent_as_asked(make_twin: MakeTwin) -> None:
    chances = {FaultKind.DUPLICATE: 0.1, FaultKind.GARBLE: 0.2}

    def conversation(seed: int) -> tuple[list[bytes], dict[str, int]]:
        twin = make_twin(FaultPlan(chances, timing=FaultTiming(garble_mask=0x80), seed=seed))
        line, replies = connected(twin, "heaters"), []
        for number in range(300):
            line.send(b"hello %d\n" % number)
            size = len(b"hello %d\n" % number)
            reply = line.some()
            assert len(reply) in (size, 2 * size)
            replies.append(reply)
        line.close()
        counts: dict[str, int] = twin.ask("faults")["heaters"]
        return replies, counts

    first, counts = conversation(1)
    assert conversation(1) == (first, counts)
    assert conversation(2)[0] != first
    assert 15 <= counts["duplicate"] <= 45
    assert 40 <= counts["garble"] <= 80
    strange = sum(any(byte >= 0x80 for byte in reply) for reply in first)
    assert strange == counts["garble"]


def test_a_plan_is_replaced_while_it_runs(make_twin: MakeTwin) -> None:
    twin = make_twin()
    line = connected(twin, "heaters")
    assert line.ask(b"one") == b"one"
    plan = FaultPlan({FaultKind.DUPLICATE: 1.0}, instruments=("heaters",), most=2)
    twin.do("faults", plan=plan.to_json())
    assert [line.ask(b"a"), line.line(), line.ask(b"b"), line.line()] == [b"a", b"a", b"b", b"b"]
    assert line.ask(b"c") == b"c"
    assert line.ask(b"d") == b"d"
    line.close()


@pytest.mark.parametrize(
    "content",
    [
        {"probabilities": {"fire": 0.1}},
        {"probabilities": {"loss": 0.6, "delay": 0.6}},
        {"probabilities": {"loss": float("nan")}},
        {"probabilities": 3},
        {"schedule": [["heaters", 1]]},
        {"timing": {"delay_s": -1.0}},
        {"timing": {"colour": 1}},
        {"sede": 1},
    ],
)
def test_bad_plans_are_refused_by_name(content: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="faults"):
        FaultPlan.from_json(content)


def test_plans_survive_json() -> None:
    plan = FaultPlan(
        {FaultKind.LOSS: 0.1},
        ("heaters",),
        (Scheduled("detectors", 3, FaultKind.UNPLUG),),
        most=7,
        seed=3,
        timing=QUICK,
    )
    assert FaultPlan.from_json(plan.to_json()) == plan


def test_half_a_request_dies_with_its_client_where_there_are_clients(make_twin: MakeTwin) -> None:
    twin = make_twin()
    with connected(twin, "detectors") as killed:
        assert killed.ask(b"whole") == b"whole"
        killed.send(b"half")
        until(lambda: twin.ask("counts")["detectors"]["bytes_in"] == 10)
    with connected(twin, "detectors") as following:
        assert following.ask(b"mine") == b"mine"
    with connected(twin, "heaters") as killed:  # a serial line knows of none
        killed.send(b"half")
        until(lambda: twin.ask("counts")["heaters"]["bytes_in"] == 4)
    with connected(twin, "heaters") as following:
        assert following.ask(b"mine") == b"halfmine"


@WIRES
def test_instruments_look_at_a_clock_that_runs_by_itself(make_twin: MakeTwin, name: str) -> None:
    twin = make_twin(clock="real")
    running = twin.instruments[name]
    assert isinstance(running, LineInstrument)
    until(lambda: twin.ask("counts") is not None and running.looks >= 3)
    with connected(twin, name) as line:
        assert line.ask(b"still here") == b"still here"
    standing = make_twin(clock="transaction").instruments[name]
    assert isinstance(standing, LineInstrument)
    assert standing.looks == 0


@WIRES
def test_many_faults_of_all_kinds_leave_the_wire_whole(make_twin: MakeTwin, name: str) -> None:
    timing = FaultTiming(
        delay_s=1e-3, pause_s=1e-3, trickle_s=2e-4, trickle_bytes=4, unplugged_s=1e-3
    )
    chances = dict.fromkeys(FaultKind, 0.9 / len(FaultKind))
    twin = make_twin(FaultPlan(chances, seed=11, timing=timing))
    line: Line | None = None
    number = 0
    while sum(twin.ask("faults")[name].values()) < 500:
        number += 1
        try:
            line = connected(twin, name) if line is None else line
            line.send(b"number %d\n" % number)
            line.some(2e-3)
        except OSError:
            if line is not None:
                line.close()
            line = None
    twin.do("faults", plan={})
    until(lambda: twin.ask("counts")[name]["plugged"])
    if line is not None:
        line.close()
    with connected(twin, name) as after:
        after.send(b"\n")  # ends what a garbled line end has left open
        while after.some(0.05):
            pass
        assert [after.ask(b"a"), after.ask(b"b")] == [b"a", b"b"]
    assert twin.failures == []
    assert set(twin.ask("faults")[name]) == {kind.value for kind in FaultKind}
