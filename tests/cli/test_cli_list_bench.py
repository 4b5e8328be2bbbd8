"""``eqp-hw list``: drivers and ports; nothing is sent to anybody who was not asked for."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.drivers.transports import ports
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin

XOR_RIG = Path(__file__).parents[2] / "examples" / "rigs" / "xor_array.toml"


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def listed(*words):
    done = call("list", *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


class FakePort(SimpleNamespace):
    def __lt__(self, other):
        return self.device < other.device


@pytest.fixture
def plugged_in(monkeypatch):
    """Say what is plugged in: serial ports by path, VISA resources by name."""

    def plug(*paths, found_by_search=()):
        fakes = [
            FakePort(
                device=str(path), description="FT232R", vid=0x403, pid=0x6001, serial_number="A1"
            )
            for path in paths
        ]
        monkeypatch.setattr("serial.tools.list_ports.comports", lambda: fakes)
        monkeypatch.setattr(ports, "_plugged_in", set)
        monkeypatch.setattr(ports, "_search_everywhere", lambda pyvisa: set(found_by_search))

    return plug


@pytest.fixture
def twin():
    with Twin(load_rig(XOR_RIG)) as twin:
        yield twin


def test_drivers_are_listed_with_their_options(plugged_in):
    plugged_in()
    found = listed()
    kinds = {entry["name"]: entry for entry in found["instruments"]}
    assert {"qontrol", "scpi-source", "scpi-digitiser", "opendac", "pm100", "sr830"} <= set(kinds)
    assert all(entry["unavailable_because"] is None for entry in kinds.values())
    assert "modules" in kinds["qontrol"]["options"]
    assert "rig" in {entry["name"] for entry in found["substrates"]}
    assert found["ports"] == []
    text = call("list").stdout
    assert "Qontrol" in text
    assert "nothing was sent" in text


def test_looking_sends_nothing(plugged_in, twin):
    path = twin.addresses["heaters"].removeprefix("serial:")
    plugged_in(path)
    before = twin.ask("counts")
    (port,) = listed("ports")["ports"]
    assert port["name"] == f"serial:{path}"
    assert port["options"] == {"usb": "0403:6001", "visa": f"ASRL{path}::INSTR"}
    assert "0403:6001" in port["description"]
    assert twin.ask("counts") == before
    listed("ports", "--probe")
    assert twin.ask("counts") != before


def test_probe_says_who_is_there_and_moves_nothing(plugged_in, twin):
    heaters, digitiser = twin.addresses["heaters"], twin.addresses["digitiser"]
    port = digitiser.rpartition(":")[2]
    plugged_in(
        heaters.removeprefix("serial:"),
        found_by_search={f"TCPIP::127.0.0.1::{port}::SOCKET", "ASRL/dev/ttyUSB7::INSTR"},
    )
    twin.plant.set_voltage("heaters", 3, 2.0)
    found = {port["name"]: port for port in listed("--probe", "--address", digitiser)["ports"]}
    visa = f"visa:TCPIP::127.0.0.1::{port}::SOCKET"
    assert set(found) == {heaters, digitiser, visa}
    assert found[heaters]["options"]["answer"].startswith("id? Q8iv-0001")
    assert found[digitiser]["options"]["answer"] == "*IDN? EQP,VDIG-64,VL0001,1.0"
    assert found[visa]["options"]["answer"] == "*IDN? EQP,VDIG-64,VL0001,1.0"
    assert twin.plant.voltages()["heaters:3"] == 2.0


def test_port_that_cannot_be_used_says_why(plugged_in, tmp_path, monkeypatch):
    gone = tmp_path / "ttyNONE"
    plugged_in(gone)
    (port,) = listed("ports", "--probe")["ports"]
    assert "there is no port" in port["unavailable_because"]
    gone.write_bytes(b"")
    gone.chmod(0o660)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    (port,) = listed("ports")["ports"]
    assert "no permission" in port["unavailable_because"]
    assert "join the group" in port["unavailable_because"]
    text = " ".join(call("list", "ports").stdout.split())
    assert "unavailable because no permission" in text
    assert "no serial port and no VISA resource that could be used" in text


@pytest.mark.parametrize("probe", [[], ["--probe"]])
def test_missing_libraries_are_named(monkeypatch, probe):
    monkeypatch.setitem(sys.modules, "serial.tools.list_ports", None)
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    reasons = {p["name"]: p["unavailable_because"] for p in listed("ports", *probe)["ports"]}
    assert reasons.keys() == {"serial:*", "visa:*"}
    assert all("pip install 'eqp_hw[instruments]'" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ports", "--address", "tcp:127.0.0.1:1"], "--probe"),
        (["instruments", "--probe"], "eqp-hw list ports --probe"),
        (["--probe", "--address", "ttyUSB0"], "serial:PORT, tcp:HOST:PORT, visa:RESOURCE"),
    ],
)
def test_options_that_do_not_fit(plugged_in, words, message):
    plugged_in()
    done = call("list", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
