"""What can be wrong with a rig: found by ``check`` and ``run`` before any output moves."""

import dataclasses
import errno
import fcntl
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin

EXAMPLES = Path(__file__).parents[2] / "examples"
XOR_RIG = EXAMPLES / "rigs" / "xor_array.toml"


@pytest.fixture(scope="module")
def twin():
    with Twin(load_rig(XOR_RIG)) as twin:
        yield twin


@pytest.fixture(autouse=True)
def _no_crash(capfd):
    """See that no child process (twin, guardian) has crashed beside a clean message."""
    yield
    assert "Fatal Python error" not in capfd.readouterr().err


@pytest.fixture
def live(twin, tmp_path, monkeypatch):
    """Return the tables of a rig whose instruments all answer."""
    monkeypatch.chdir(tmp_path)
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    for name, address in twin.addresses.items():
        content["instruments"][name] |= {"address": address, "timeout_s": 0.2}
    return content


def answers(content, *options):
    """Write the rig file; return what ``check`` and ``run`` say, each on one line."""
    Path("rig.toml").write_text(render_toml(content), encoding="utf-8")
    checked = CliRunner().invoke(app, ["check", "rig.toml", *options])
    # Where the instruments must be asked first, `check` reports a failed step (1).
    assert checked.exit_code in {1, 2}
    words = ["run", EXAMPLES / "xor.toml", "--rig", "rig.toml", "-o", "run.h5", *options]
    ran = CliRunner().invoke(app, [str(word) for word in words])
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.count("error:") == 1
    for result in (checked, ran):
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not Path("run.h5").exists()
    return " ".join(checked.output.split()), " ".join(ran.stderr.split())


def moved(twin):
    state = twin.ask("state")
    return max(twin.plant.voltages().values()), [v for k, v in state.items() if "change" in k]


def change(path, value):
    def edit(content):
        *tables, key = path.split(".")
        for name in tables:
            content = content[name]
        content[key] = value

    return edit


def other_kind(kind, **options):
    def edit(content):
        table = content["instruments"]["heaters"]
        content["instruments"]["heaters"] = {"kind": kind, "address": table["address"], **options}

    return edit


def swap_addresses(content):
    one, other = content["instruments"].values()
    one["address"], other["address"] = other["address"], one["address"]


IN_THE_FILE = {
    "unknown dialect": (
        other_kind("scpi-source", dialect="kesight"),
        ["instruments.heaters.dialect = 'kesight'", "keysight, rohde-schwarz"],
    ),
    "unknown driver": (
        other_kind("qontroll"),
        ["instruments.heaters.kind = 'qontroll'", "no such driver", "qontrol, scpi-digitiser"],
    ),
    "a digitiser as a source": (
        other_kind("scpi-digitiser"),
        ["instruments.heaters.kind = 'scpi-digitiser'", "wired as heaters:0", "voltage source"],
    ),
    "unknown option": (
        change("instruments.heaters.modles", 3),
        ["instruments.heaters.modles = 3", "did you mean 'modules'"],
    ),
    "address": (
        change("instruments.heaters.address", "ttyUSB0"),
        ["instruments.heaters.address = 'ttyUSB0'", "serial:PORT, tcp:HOST:PORT, visa:RESOURCE"],
    ),
    "channel wired twice": (
        change("wiring.inputs", ["heaters:9-10"]),
        ["wiring.inputs = 'heaters:9'", "wired already as wiring.couplings"],
    ),
    "too few channels": (
        change("wiring.couplings", ["heaters:0-8"]),
        ["wiring.couplings", "wires 9 channels", "10 channels for this network"],
    ),
    "no such instrument": (
        change("wiring.gain_switch", "heathers:20"),
        ["wiring.gain_switch = 'heathers:20'", "no such instrument", "digitiser, heaters"],
    ),
}
SEEN_ON_CONNECTING = {
    "identity of the source": (
        change("instruments.heaters.identity", "Q8b"),
        ["'Q8iv-0001,", "the rig file wants 'Q8b'", "instruments.heaters.address and .identity"],
    ),
    "identity of the digitiser": (
        change("instruments.digitiser.identity", "VDIG-32"),
        ["EQP,VDIG-64", "the rig file wants 'VDIG-32'", "instruments.digitiser.address"],
    ),
    "cables swapped": (swap_addresses, ["heaters", "nobody answers", "the right address"]),
    "modules of a chain": (
        change("instruments.heaters.modules", 5),
        ["the chain has 4 modules", "instruments.heaters.modules = 5"],
    ),
    "limit of voltage": (
        change("instruments.heaters.limits.voltage_V", 20.0),
        ["instruments.heaters.limits.voltage_V = 20.0", "at most 12 V"],
    ),
    "limit of current": (
        change("instruments.heaters.limits.current_A", 2.0),
        ["instruments.heaters.limits.current_A = 2.0", "at most 0.024 A"],
    ),
    "voltage that leaves no room": (
        change("instruments.heaters.limits.voltage_V", 2.5),
        ["instruments.heaters.limits.voltage_V = 2.5", "heaters:0 less than 2 pi", "at least 5.05"],
    ),
    "current that leaves no room": (
        change("instruments.heaters.limits.current_A", 0.01),
        ["instruments.heaters.limits.current_A = 0.01", "heaters:0 less than 2 pi"],
    ),
    "power that leaves no room": (
        change("instruments.heaters.limits.power_W", 0.06),
        ["instruments.heaters.limits.power_W = 0.06", "heaters:12 less than 3 pi"],
    ),
    "total that holds not even zero couplings": (
        change("instruments.heaters.limits.total_power_W", 0.001),
        ["instruments.heaters.limits.total_power_W = 0.001", "zero need more", "at least 0."],
    ),
    "gain switch above the limit": (
        change("wiring.gain_off_V", 8.5),
        ["wiring.gain_off_V = 8.5", "heaters:20", "limits.voltage_V", "at most 8 V"],
    ),
    "coupling beyond the last channel": (
        change("wiring.couplings", ["heaters:90-99"]),
        ["wiring.couplings = 'heaters:90'", "heaters:0 to heaters:31"],
    ),
    "gain switch beyond the last channel": (
        change("wiring.gain_switch", "heaters:40"),
        ["wiring.gain_switch = 'heaters:40'", "heaters:0 to heaters:31"],
    ),
    "detector beyond the last channel": (
        change("readout.quadrature", ["digitiser:300-302"]),
        ["readout.quadrature = 'digitiser:300'", "digitiser:0 to digitiser:63"],
    ),
    "measured calibration that is not there": (
        change("calibration.file", "measured.h5"),
        ["calibration.file = 'measured.h5'"],
    ),
}


@pytest.mark.parametrize("case", IN_THE_FILE)
def test_wrong_in_the_file(live, twin, case):
    edit, fragments = IN_THE_FILE[case]
    edit(live)
    before = twin.ask("counts")
    checked, ran = answers(live)
    for fragment in fragments:
        assert fragment in checked
        assert fragment in ran
    assert checked.startswith("error: rig.toml: ")
    assert "rig.toml: " in ran
    assert twin.ask("counts") == before  # nobody was even asked


@pytest.mark.parametrize("case", SEEN_ON_CONNECTING)
def test_wrong_as_the_instruments_say(live, twin, case):
    edit, fragments = SEEN_ON_CONNECTING[case]
    edit(live)
    before = moved(twin)
    checked, ran = answers(live)
    for fragment in fragments:
        assert fragment in checked
        assert fragment in ran
    if fragments[0].startswith(("instruments.", "wiring.", "readout.", "calibration.")):
        assert f"rig.toml: {fragments[0]}" in ran  # not the experiment's name
    assert moved(twin) == before
    assert before[0] == 0.0


@pytest.mark.parametrize(
    "case", ["unknown dialect", "unknown driver", "channel wired twice", "unknown option"]
)
def test_wrong_in_the_file_of_a_twin(live, case):
    edit, fragments = IN_THE_FILE[case]
    edit(live)
    for said in answers(live, "--virtual-lab"):
        assert fragments[0] in said
        assert "rig.toml: " in said


def test_port_in_use(live, twin):
    path = twin.addresses["heaters"].removeprefix("serial:")
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for said in answers(live):
            assert "is in use (held by this program" in said
    finally:
        os.close(port)


def test_no_permission(live, tmp_path, monkeypatch):
    port = tmp_path / "ttyUSB0"
    port.write_bytes(b"")
    port.chmod(0o660)
    live["instruments"]["heaters"]["address"] = f"serial:{port}"
    opened = os.open

    def refuse(path, *arguments, **keywords):
        if path == str(port):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr("os.open", refuse)
    for said in answers(live):
        assert "no permission to open" in said
        assert "join the group" in said
        assert "usermod -aG" in said


@pytest.mark.parametrize(
    ("module", "scheme", "words"),
    [("serial", None, "a serial port needs pyserial"), ("pyvisa", "visa", "needs pyvisa")],
)
def test_missing_package(live, twin, monkeypatch, module, scheme, words):
    monkeypatch.setitem(sys.modules, module, None)
    if scheme == "visa":
        port = twin.addresses["digitiser"].rpartition(":")[2]
        live["instruments"]["digitiser"]["address"] = f"visa:TCPIP::127.0.0.1::{port}::SOCKET"
    for said in answers(live):
        assert words in said
        assert "pip install 'eqp_hw[instruments]'" in said


@pytest.mark.parametrize(
    ("figure", "row", "words"),
    [
        ("half_wave_power_W", 3, "channel heaters:3"),
        ("crosstalk", 12, "channel heaters:12"),
        ("readout_amplitude_V", 1, "element 1"),
    ],
)
def test_calibration_without_a_channel(twin, figure, row, words):
    whole = nominal_calibration(twin.rig)
    holed = getattr(whole, figure).copy()
    holed[row] = np.nan
    short = getattr(whole, figure)[:-1]
    for values, problem in ((holed, words), (short, "some channels have none")):
        calibration = dataclasses.replace(whole, **{figure: values})
        with pytest.raises(ConfigurationError, match=problem) as caught:
            RigSubstrate.open(twin.rig, calibration, guarded=False)
        assert caught.value.field == f"calibration.{figure}"
    assert moved(twin)[0] == 0.0
