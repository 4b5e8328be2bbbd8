"""The twin in this process, in its own, its truth port, and its command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.errors import ConfigurationError, SubstrateError
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.virtual_lab.faults import FaultKind, FaultPlan
from eqp_hw.sim_backends.virtual_lab.instruments import SimulatorFactory
from eqp_hw.sim_backends.virtual_lab.process import TwinProcess
from eqp_hw.sim_backends.virtual_lab.truth_port import TruthClient
from eqp_hw.sim_backends.virtual_lab.twin import Twin

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")

OF_THE_TWIN = ["-P", "-m", "eqp_hw.sim_backends.virtual_lab.twin"]


@pytest.fixture(scope="module")
def twin(
    make_tiny_rig: Callable[..., Rig], line_simulators: dict[str, SimulatorFactory]
) -> Iterator[Twin]:
    with Twin(make_tiny_rig(), simulators=line_simulators) as running:
        yield running


@pytest.fixture(scope="module")
def process(tiny_rig_path: Path) -> Iterator[TwinProcess]:
    with TwinProcess(tiny_rig_path, truth_seed=3) as running:
        yield running


def tcp(twin: Twin, name: str) -> socket.socket:
    host, _, port = twin.addresses[name].removeprefix("tcp:").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10.0)


def test_bytes_move_the_physics_and_the_truths_show_it(twin: Twin) -> None:
    with open(twin.addresses["heaters"].removeprefix("serial:"), "r+b", buffering=0) as heaters:
        for channel in range(21):
            heaters.write(b"set %d 2.5\n" % channel)
            assert heaters.read(3) == b"OK\n"
    twin.do("elapse", seconds=1.0)
    with tcp(twin, "detectors") as detectors, detectors.makefile("rb") as replies:
        detectors.sendall(b"read 0,1,2,3,4,5,6,7\n")
        seen = json.loads(replies.readline())
    with TruthClient(twin.truth_address) as truth:
        phases = np.array(truth.ask("phases"))[twin.rig.network.free]
        voltages = truth.ask("voltages")
        bias = truth.ask("bias")
        couplings = truth.ask("couplings")
        state = truth.ask("state")
    np.testing.assert_allclose(seen, np.concatenate([np.cos(phases), np.sin(phases)]), atol=1e-9)
    assert voltages == {f"heaters:{n}": 2.5 if n < 21 else 0.0 for n in range(22)}
    np.testing.assert_array_equal(bias["re"], twin.plant.bias().real)
    np.testing.assert_array_equal(couplings["parameters"], twin.plant.coupling_parameters())
    assert state["settled"]
    assert state["largest_voltage_V"] == 2.5
    assert state["now_s"] == pytest.approx(1.22)


def test_truths_without_gain_are_null(twin: Twin) -> None:
    twin.plant.set_voltage("heaters", 21, 5.0)
    try:
        with TruthClient(twin.truth_address) as truth:
            assert truth.ask("phases")[2:] == [None] * 4
            assert truth.ask("state")["gain"] is False
    finally:
        twin.plant.set_voltage("heaters", 21, 0.0)


def test_several_clients_ask_at_once(twin: Twin) -> None:
    clients = [TruthClient(twin.truth_address) for _ in range(5)]
    answers = [client.ask("truths")["half_wave_power_W"] for client in clients]
    assert answers == [[0.025] * 21] * 5
    for client in clients:
        client.close()
        client.close()


def test_plant_time_passes_on_order(twin: Twin) -> None:
    with TruthClient(twin.truth_address) as truth:
        before = truth.ask("state")["now_s"]
        truth.do("elapse", seconds=1.5)
        assert truth.ask("state")["now_s"] == pytest.approx(before + 1.5)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"ask": "weather"}, "voltages"),
        ({}, "ask = "),
        ({"do": "fault", "instrument": "oven", "kind": "loss"}, "'oven'.*heaters, detectors"),
        ({"do": "fault", "instrument": "heaters", "kind": "fire"}, "'fire'.*delay"),
        ({"do": "elapse", "seconds": "long"}, "seconds = 'long'"),
        ({"do": "elapse"}, "seconds = None"),
        ({"do": "faults", "plan": [1]}, "plan"),
        ({"do": "unplug", "instrument": "heaters", "for_s": -1}, "for_s = -1"),
    ],
)
def test_bad_requests_are_refused_by_name(twin: Twin, request_: dict[str, Any], named: str) -> None:
    kind = "do" if "do" in request_ else "ask"
    details = {key: value for key, value in request_.items() if key != kind}
    with (
        TruthClient(twin.truth_address) as truth,
        pytest.raises(SubstrateError, match=named),
    ):
        getattr(truth, kind)(request_.get(kind), **details)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60).filter(lambda line: b"\n" not in line))
def test_no_line_upsets_the_truth_port(twin: Twin, line: bytes) -> None:
    host, _, port = twin.truth_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10.0) as client:
        client.sendall(line + b"\n")
        with client.makefile("rb") as file:
            assert json.loads(file.readline())["ok"] is False
            client.sendall(b'{"ask": "inputs"}\n')
            assert json.loads(file.readline())["ok"] is True
    assert twin.failures == []


def test_a_kind_without_simulator_is_refused(make_tiny_rig: Callable[..., Rig]) -> None:
    with pytest.raises(ConfigurationError, match=r"instruments\.heaters\.kind = 'qontrol'"):
        Twin(make_tiny_rig(), simulators={})


def test_nothing_is_left_after_close(
    make_tiny_rig: Callable[..., Rig], line_simulators: dict[str, SimulatorFactory]
) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(os.listdir(descriptors)) if descriptors.exists() else None
    twin = Twin(make_tiny_rig(), simulators=line_simulators)
    with twin:
        path = Path(twin.addresses["heaters"].removeprefix("serial:"))
        truth = twin.truth_address
        client = tcp(twin, "detectors")
    assert not path.parent.exists()
    client.close()
    with pytest.raises(SubstrateError, match="no truth port"):
        TruthClient(truth)
    if before is not None:
        # Fewer where the twin of the other tests has closed one in the meantime.
        assert len(os.listdir(descriptors)) <= before


# -- in a process of its own ------------------------------------------------------------------


def test_a_process_serves_what_it_announced(process: TwinProcess, tiny_rig_path: Path) -> None:
    assert set(process.addresses) == set(process.visa) == {"heaters", "detectors"}
    assert process.announced["pid"] == process.pid
    with process.truth() as truth:
        assert truth.ask("truths")["source"] == "truth of seed 3"
        assert truth.ask("failures") == []


def test_a_rig_made_in_python_and_faults_travel_too(make_tiny_rig: Callable[..., Rig]) -> None:
    rig = make_tiny_rig(virtual_lab={"resistance_spread": 0.1})
    faults = FaultPlan({FaultKind.LOSS: 0.5}, seed=2)
    with TwinProcess(rig, truth_seed=1, clock="real", speed=3.0, faults=faults) as process:
        with process.truth() as truth:
            resistances = truth.ask("truths")["resistance_ohm"]
            first = truth.ask("state")["now_s"]
            assert truth.ask("state")["now_s"] > first
        assert len(set(resistances)) == len(resistances)
        pid = process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(SubstrateError, match="start it first"):
        process.addresses  # noqa: B018


def test_a_wrong_rig_is_the_users_error(tmp_path: Path, tiny_rig_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(tiny_rig_path.read_text().replace("heaters:9-10", "heaters:9"))
    with pytest.raises(ConfigurationError, match=r"wrong\.toml: wiring\.inputs.*2 channels"):
        TwinProcess(wrong).start()


def test_the_twin_ends_when_its_owner_is_killed(tiny_rig_path: Path, tmp_path: Path) -> None:
    owner = (
        "import sys\n"
        "from eqp_hw.sim_backends.virtual_lab.process import TwinProcess\n"
        "twin = TwinProcess(sys.argv[1]).start()\n"
        "print(twin.pid, twin.truth_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", owner, str(tiny_rig_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        _, address = child.stdout.readline().split()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20.0) as witness:
            child.kill()
            # The twin's own end closes its sockets: that is what we wait for.
            assert witness.recv(1) == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_prints_one_line_and_ends_on_a_signal(
    tiny_rig_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, *OF_THE_TWIN, str(tiny_rig_path), "--truth-seed", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        announced = json.loads(child.stdout.readline())
        assert announced["pid"] == child.pid
        child.send_signal(number)
        assert child.stdout.read() == ""
        assert child.wait(timeout=20.0) == 0
    assert not Path(announced["addresses"]["heaters"].removeprefix("serial:")).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_twin_whose_owner_lives(
    tiny_rig_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its thread still waits on the owner's pipe when the interpreter ends."""
    with TwinProcess(tiny_rig_path) as process:
        os.kill(process.pid, number)
        assert process.wait() == 0
    assert capfd.readouterr().err == ""


def test_a_twin_that_refuses_its_rig_ends_in_order(
    tmp_path: Path, tiny_rig_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(tiny_rig_path.read_text().replace('"scpi-digitiser"', '"scpi-digi"'))
    command = [sys.executable, *OF_THE_TWIN, "--order"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"path": str(wrong)}).encode() + b"\n")
        child.stdin.flush()
        assert "scpi-digi" in json.loads(child.stdout.readline())["error"]
        assert child.wait(timeout=20.0) == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_shows_where_the_instruments_are(tiny_rig_path: Path, as_json: bool) -> None:
    # A suite that was started in the background hands down an ignored SIGINT.
    heeding = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); "
    heeding += "os.execv(sys.argv[1], sys.argv[1:])"
    program = [sys.executable, "-P", "-m", "eqp_hw", "virtual-lab", str(tiny_rig_path)]
    command = [sys.executable, "-c", heeding, *program]
    with subprocess.Popen(
        [*command, "--json"] if as_json else command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        if as_json:
            assert set(json.loads(lines[0])["addresses"]) == {"heaters", "detectors"}
        else:
            while "Ctrl-C" not in lines[-1]:
                lines.append(child.stdout.readline())
                assert lines[-1]
            shown = "".join(lines)
            assert "TCPIP::127.0.0.1::" in shown
            assert "heaters::INSTR" in shown
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=20.0) == 0
