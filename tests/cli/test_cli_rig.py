"""``run --rig``, ``check`` and ``safe-off``: what they do, and how they refuse."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin

EXAMPLES = Path(__file__).parents[2] / "examples"
XOR_RIG = EXAMPLES / "rigs" / "xor_array.toml"


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def rig_like(folder, **tables):
    """Write the XOR rig with some keys replaced."""
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    for name, table in tables.items():
        content[name] = content[name] | table
    path = folder / "rig.toml"
    path.write_text(render_toml(content), encoding="utf-8")
    return path


def with_addresses(folder, twin):
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    for name, address in twin.addresses.items():
        content["instruments"][name]["address"] = address
    path = folder / "rig.toml"
    path.write_text(render_toml(content), encoding="utf-8")
    return path


def test_xor_is_learnt_on_the_virtual_lab_as_on_the_emulator(tmp_path):
    """A hundred epochs of large steps instead of a thousand small ones."""
    short = [
        *("--set", "run.epochs=100", "--set", "run.seed=4", "--set", "run.evaluation_starts=3"),
        *("--set", "optimiser.learning_rate=0.3", "--set", "run.validate_every=0", "--json"),
    ]
    rig = ("--rig", XOR_RIG, "--virtual-lab", "--truth-seed", 3)
    found = {}
    for name, options in (("emulator", ()), ("rig", rig)):
        done = call("run", EXAMPLES / "xor.toml", *options, *short, "-o", tmp_path / f"{name}.h5")
        assert done.exit_code == 0, done.output
        found[name] = json.loads(done.stdout)
    assert found["rig"]["engine"] == "rig xor-array"
    assert found["rig"]["steps"] == found["emulator"]["steps"] == 100
    assert found["rig"]["unsettled"] == 0
    assert {name: result["test_accuracy"] for name, result in found.items()} == {
        "emulator": 1.0,
        "rig": 1.0,
    }
    # A network that says nothing is at 0.5.
    assert max(result["test_distance"] for result in found.values()) < 0.1


def test_iris_learns_on_the_virtual_lab_as_on_the_emulator(tmp_path):
    """Six epochs instead of 120: of 30 test samples three may differ, not one as in a full run."""
    short = [
        *("--set", "run.epochs=6", "--set", "run.evaluation_starts=1"),
        *("--set", "run.validate_every=0", "--json"),
    ]
    rig = ("--rig", EXAMPLES / "rigs" / "heater_array.toml", "--virtual-lab")
    found = {}
    for name, options in (("emulator", ()), ("rig", rig)):
        path = tmp_path / f"{name}.h5"
        done = call("run", EXAMPLES / "iris.toml", *options, *short, "-o", path)
        assert done.exit_code == 0, done.output
        found[name] = json.loads(done.stdout)
    assert found["rig"]["engine"] == "rig heater-array"
    assert found["rig"]["steps"] == found["emulator"]["steps"] == 36
    assert found["rig"]["unsettled"] == 0
    accuracy = {name: result["test_accuracy"] for name, result in found.items()}
    assert min(accuracy.values()) >= 0.86
    assert abs(accuracy["rig"] - accuracy["emulator"]) < 0.101
    # It starts at 1.0 and is at 0.5 by now on the emulator.
    assert found["rig"]["train_cost"] < 0.8


def test_check_names_every_step_and_passes(tmp_path):
    done = call("check", XOR_RIG, "--virtual-lab", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["passed"]
    names = {step["name"] for step in found["steps"]}
    assert {
        "heaters: connection",
        "digitiser: connection",
        "heaters: round trip",
        "read-out noise",
        "settle time",
        "equilibrium",
        "nudge",
        "safe outputs",
    } <= names
    del tmp_path


@pytest.mark.parametrize(
    ("table", "step", "words"),
    [
        ({"virtual_lab": {"dead_channels": ["heaters:4"]}}, "heaters: round trip", "heaters:4"),
        ({"virtual_lab": {"detector_noise_V": 0.05}}, "read-out noise", "readout_noise"),
    ],
)
def test_check_names_what_is_wrong(tmp_path, table, step, words):
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    content["virtual_lab"] |= table["virtual_lab"]
    content["settle"]["tolerance"] = 0.5
    path = tmp_path / "rig.toml"
    path.write_text(render_toml(content), encoding="utf-8")
    done = call("check", path, "--virtual-lab", "--json")
    assert done.exit_code == 1, done.output
    failed = {s["name"]: s["detail"] for s in json.loads(done.stdout)["steps"] if not s["passed"]}
    assert words in failed[step]


def test_check_of_a_bench_that_is_not_there_says_so(tmp_path):
    path = tmp_path / "rig.toml"
    text = XOR_RIG.read_text(encoding="utf-8")
    path.write_text(text.replace("192.168.0.20", "127.0.0.1").replace("ttyUSB0", "ttyNONE"))
    done = call("check", path, "--json")
    assert done.exit_code == 1
    steps = json.loads(done.stdout)["steps"]
    assert [step["name"] for step in steps] == ["heaters: connection", "digitiser: connection"]
    assert not any(step["passed"] for step in steps)
    assert "ttyNONE" in steps[0]["detail"]


def test_safe_off_makes_outputs_safe_and_is_not_held_up(tmp_path):
    with Twin(load_rig(XOR_RIG)) as twin:
        path = with_addresses(tmp_path, twin)
        for channel in range(5):
            twin.plant.set_voltage("heaters", channel, 3.0)
            twin.instruments["heaters"].feed(f"V{channel}=3\n".encode())
        assert max(twin.plant.voltages().values()) > 2.9
        done = call("safe-off", path)
        assert done.exit_code == 0, done.output
        assert max(twin.plant.voltages().values()) == 0.0
    gone = call("safe-off", path, "--json")
    assert gone.exit_code == 1
    assert "by hand" in json.loads(gone.stdout)["steps"][0]["detail"]


def driven_up(twin):
    twin.plant.set_voltage("heaters", 3, 3.0)
    twin.instruments["heaters"].feed(b"V3=3\n")
    assert max(twin.plant.voltages().values()) > 2.9


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tolerance = 0.002 ", "tolerence = 0.002 ", "settle.tolerence"),
        ('inputs = ["heaters:10-11"]', 'inputs = ["heaters:9-10"]', "wired already"),
        ("timeout_s = 2.0", "timeout_s = = 2.0", "is not TOML"),
        ("modules = 4 ", "modles = 4 ", "instruments.heaters.modles = 4"),
        ("voltage_V = 8.0", 'voltage_V = "8"', "limits.voltage_V"),
        ("voltage_V = 8.0", "voltage_V = 80.0", "limits.voltage_V = 80.0"),
        ('kind = "scpi-digitiser"', 'kind = "scpi-digi"', "digitiser"),
    ],
)
def test_safe_off_is_not_stopped_by_what_else_is_wrong(tmp_path, old, new, said):
    with Twin(load_rig(XOR_RIG)) as twin:
        text = XOR_RIG.read_text(encoding="utf-8").replace(old, new)
        assert new in text
        for name, stated in (("heaters", "ttyUSB0"), ("digitiser", "192.168.0.20:5025")):
            address = twin.addresses[name]
            text = text.replace(f"{address.partition(':')[0]}:/dev/{stated}", address)
            text = text.replace(f"tcp:{stated}", address)
        path = tmp_path / "rig.toml"
        path.write_text(text, encoding="utf-8")
        driven_up(twin)
        done = call("safe-off", path, "--json")
        assert max(twin.plant.voltages().values()) == 0.0
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["heaters"]["passed"], done.output
    assert said in " ".join((done.stderr + steps["heaters"]["detail"] + str(steps)).split())
    # An instrument of an unknown kind may have outputs: that is left to do by hand.
    assert done.exit_code == ("digitiser" in steps)


def test_safe_off_reaches_what_is_left_of_a_chain(tmp_path):
    with Twin(load_rig(XOR_RIG)) as twin:
        path = with_addresses(tmp_path, twin)
        path.write_text(path.read_text().replace("modules = 4", "modules = 5"))
        driven_up(twin)
        done = call("safe-off", path, "--json")
        assert max(twin.plant.voltages().values()) == 0.0
    (step,) = json.loads(done.stdout)["steps"]
    assert not step["passed"]  # the fifth may be up still
    assert "the chain has 4 modules" in step["detail"]


def test_safe_off_without_any_instrument_refuses(tmp_path):
    path = tmp_path / "rig.toml"
    path.write_text("[rig]\nname = 3\n", encoding="utf-8")
    done = call("safe-off", path)
    assert done.exit_code == 2
    assert "rig.toml" in done.output


HOLDER = """
import fcntl, signal, sys
if sys.argv[2] == "hung":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
port = open(sys.argv[1], "rb+", buffering=0)
fcntl.flock(port, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell")
@pytest.mark.parametrize(("kind", "number"), [("live", 15), ("hung", 9)])
def test_safe_off_takes_over_when_told_to(tmp_path, monkeypatch, kind, number):
    monkeypatch.setattr("eqp_hw.drivers.safety.take_over.end_processes.__defaults__", (0.2,))
    with Twin(load_rig(XOR_RIG)) as twin:
        path = with_addresses(tmp_path, twin)
        driven_up(twin)
        port = twin.addresses["heaters"].removeprefix("serial:")
        command = [sys.executable, "-c", HOLDER, port, kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout.readline() == b"held\n"
            refused = call("safe-off", path, "--json")
            assert refused.exit_code == 1
            detail = json.loads(refused.stdout)["steps"][0]["detail"]
            assert f"process {holder.pid})" in detail
            assert "--take-over" in detail
            assert holder.poll() is None
            assert max(twin.plant.voltages().values()) > 2.9
            done = call("safe-off", path, "--take-over", "--json")
            assert done.exit_code == 0, done.output
            assert f"process {holder.pid} was ended" in done.stdout
            assert max(twin.plant.voltages().values()) == 0.0
            assert holder.wait(timeout=20.0) == -number


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--virtual-lab"], "--rig"),
        (["--rig", XOR_RIG, "--truth-seed", "3"], "--virtual-lab"),
        (["--rig", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, message):
    done = call("run", EXAMPLES / "xor.toml", *words)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_an_experiment_on_another_network_is_refused_before_anything_is_opened(tmp_path):
    done = call(
        "run", EXAMPLES / "iris.toml", "--rig", XOR_RIG, "--virtual-lab", "-o", tmp_path / "r.h5"
    )
    assert done.exit_code == 2
    assert "another network" in done.output
    assert not (tmp_path / "r.h5").exists()
