"""Both kinds of wire carry the same bytes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from dummy_simulators import LineInstrument
from wire_lines import WIRES, MakeTwin, connected, until

from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.virtual_lab.instruments import SimulatorFactory
from eqp_hw.sim_backends.virtual_lab.twin import Twin

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")


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
