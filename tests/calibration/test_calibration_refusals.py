"""Bad input: a clear sentence, nothing moves, and the former calibration stays in force."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pytest
from calibration_samples import SAMPLE_STEPS, Detectors
from planted_faults import XOR, call, heaters, in_force, lab, largest_V, varied, words_of, xor_rig

from eqp_hw.calibration import procedure
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.sim_backends.virtual_lab.twin import Twin

REAL_STEPS = (
    ResistanceStep(levels=5, repeats=2),
    ReadoutStep(drives=40),
    NetworkStep(equations_per_figure=6, samples=16),
)
CROSSED = ["heaters:1", "heaters:0", "heaters:2-9"]
SHUFFLED = [f"heaters:{k}" for k in (9, 3, 5, 0, 1, 8, 2, 4, 7, 6)]


@dataclass(frozen=True)
class Bench:
    """A rig with a good calibration, its twin, and another rig of the same make."""

    rig: Path
    twin: Twin
    foreign: Path
    former: Path
    incomplete: Path

    @property
    def folder(self) -> Path:
        return self.former.parent


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "elsewhere").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        lab(folder) as (rig, twin),
        lab(folder, name="foreign.toml", seed=9) as (foreign, _),
    ):
        patch.setattr(procedure, "STEPS", SAMPLE_STEPS)
        former = Path(json.loads(call("calibrate", rig, "--json").stdout)["file"])
        part = varied(rig, "part.toml", calibration={"folder": "elsewhere"})
        begun = json.loads(call("calibrate", part, "--only", "resistances", "--json").stdout)
        yield Bench(rig, twin, foreign, former, Path(begun["file"]))


@pytest.fixture(autouse=True)
def sample_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "STEPS", SAMPLE_STEPS)


def run(rig: Path, calibration: object) -> list[object]:
    """Return the words of a training; it would write a file beside the rig's."""
    output = rig.with_name("never.h5")
    return ["run", XOR, "--rig", rig, "--calibration", calibration, "--output", output]


def calibrated(rig: Path, *words: object) -> list[object]:
    return ["calibrate", rig, *words]


def named(bench: Bench, name: str, spoil: Callable[[Path], object]) -> list[object]:
    """Return a training with a spoilt copy of the former calibration."""
    path = Path(shutil.copy(bench.former, bench.former.parents[1] / name))
    spoil(path)
    return run(bench.rig, path)


def attribute(place: str, name: str, value: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[place].attrs[name] = value

    return write


def limited(bench: Bench, **limits: float) -> Path:
    table = heaters(limits=limits)
    for name, address in bench.twin.addresses.items():
        table[name]["address"] = address
    return varied(bench.rig, "limits.toml", instruments=table)


Case = tuple[Callable[[Bench], list[object]], tuple[str, ...]]
REFUSED: dict[str, Case] = {
    "of another rig, by its path": (
        lambda b: run(b.foreign, b.former),
        ("with other instruments than this rig", "VL000003 then, EQP,VDIG-64,VL000009 now"),
    ),
    "of another rig, latest": (
        lambda b: run(b.foreign, "latest"),
        ("there is no calibration to use", "VL000003 then", "eqp-hw calibrate"),
    ),
    "of another rig, compared": (
        lambda b: ["compare", b.foreign, XOR, "--calibration", b.former],
        ("calibration.file", "VL000003 then"),
    ),
    "incomplete": (
        lambda b: run(b.rig, b.incomplete),
        ("it is incomplete (missing: detectors)", "eqp-hw calibrate --resume"),
    ),
    "too old": (
        lambda b: run(varied(b.rig, "old.toml", calibration={"max_age_h": 1e-9}), "latest"),
        ("calibration.max_age_h = 1e-09", "its oldest step, resistances", "calibrate anew"),
    ),
    "drifted": (
        lambda b: run(varied(b.rig, "drift.toml", calibration={"max_drift": 1e-9}), "latest"),
        ("phases drift by", "calibration.max_drift = 1e-09"),
    ),
    "dated in the future, and to be judged by its age": (
        lambda b: run(varied(b.rig, "dated.toml", calibration={"max_age_h": 24.0}), future(b)),
        ("in the future", "calibration.max_age_h = 24 cannot be judged"),
    ),
    "contradictory wiring": (
        lambda b: run(varied(b.rig, "wired.toml", wiring={"couplings": CROSSED}), "latest"),
        ("measured on another wiring", "couplings[0]: heaters:0 then, heaters:1 now"),
    ),
    "continued on another wiring": (
        lambda b: calibrated(
            varied(b.rig, "gain.toml", wiring={"gain_switch": "heaters:21"}),
            *("--resume", "--output", b.incomplete),
        ),
        ("begun on another rig or wiring", "gain_switch: heaters:20 then, heaters:21 now"),
    ),
    "cut short": (
        lambda b: named(b, "short.h5", lambda p: p.write_bytes(p.read_bytes()[:5000])),
        ("short.h5: the calibration file cannot be read", "truncated"),
    ),
    "empty": (lambda b: named(b, "empty.h5", lambda p: p.write_bytes(b"")), ("not an HDF5 file",)),
    "without its times": (
        lambda b: named(b, "times.h5", attribute("steps/detectors", "ended", "yesterday")),
        ("damaged calibration file", "yesterday"),
    ),
    "sweeps beyond the limit of a channel": (
        lambda b: calibrated(low_power(b)),
        ("instruments.heaters.limits", "leave heaters:0 less than a calibration has to sweep"),
    ),
    "sweeps beyond the limit of the sum": (
        lambda b: calibrated(limited(b, total_power_W=0.05)),
        ("instruments.heaters.limits.total_power_W = 0.1", "at most 0.05 W"),
    ),
    "switches the gain beyond a limit": (
        lambda b: calibrated(varied(b.rig, "off.toml", wiring={"gain_off_V": 9.0})),
        ("wiring.gain_off_V = 9.0", "at most 8 V"),
    ),
    "has no such channel": (
        lambda b: calibrated(varied(b.rig, "far.toml", wiring={"nudge_phase": ["heaters:32"]})),
        ("wiring.nudge_phase = 'heaters:32'", "heaters:0 to heaters:31"),
    ),
    "a step without its grounds": (
        lambda b: calibrated(
            varied(b.rig, "alone.toml", calibration={"folder": "none"}), "--only", "detectors"
        ),
        ("--only = 'detectors': it builds on resistances", "allowed: resistances,detectors"),
    ),
    "no step": (lambda b: calibrated(b.rig, "--only", ","), ("--only = ',': names no step",)),
    "a misspelt step": (
        lambda b: calibrated(b.rig, "--only", "resistance"),
        ("--only = 'resistance': there is no such step", "resistances, detectors"),
    ),
    "no temperature": (
        lambda b: calibrated(b.rig, "--temperature-C", "nan"),
        ("--temperature-C = nan", "above -273.15"),
    ),
    "another seed than begun with": (
        lambda b: calibrated(b.rig, "--resume", "--seed", "5"),
        ("--seed = 5", "keeps the one that it was begun with"),
    ),
    "a file that exists": (
        lambda b: calibrated(b.rig, "--output", b.former),
        ("no calibration is ever overwritten", "another --output"),
    ),
    "a name that latest passes over": (
        lambda b: calibrated(b.rig, "--output", b.folder / "c.hdf5"),
        ("--output", "a name that ends in .h5"),
    ),
    "a page of somebody else": (
        lambda b: calibrated(b.rig, "--report", foreign_page(b)),
        ("thesis.html: a file of this name exists, is not a report",),
    ),
    "the report of a run": (
        lambda b: ["calibrate", "report", run_file(b), "-o", b.folder / "x.html"],
        ("not a calibration of eqp_hw", "`eqp-hw show` looks at runs"),
    ),
    "a page of another kind": (
        lambda b: ["calibrate", "report", b.former, "-o", b.folder / "x.pdf"],
        ("--output", "a name that ends in .html"),
    ),
}


def future(bench: Bench) -> Path:
    path = Path(shutil.copy(bench.former, bench.rig.with_name("future.h5")))
    for step in ("resistances", "detectors"):
        attribute(f"steps/{step}", "ended", "2126-01-01T00:00:00+00:00")(path)
    return path


def low_power(bench: Bench) -> Path:
    return varied(limited(bench, power_W=0.005), "low.toml", wiring={"gain_off_V": 1.5})


def foreign_page(bench: Bench) -> Path:
    page = bench.rig.with_name("thesis.html")
    page.write_text("<html>chapter 1</html>", encoding="utf-8")
    return page


def run_file(bench: Bench) -> Path:
    path = bench.rig.with_name("run.h5")
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "eqp_hw run"
    return path


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_moves_nothing_and_the_former_stays(bench: Bench, what: str) -> None:
    make, parts = REFUSED[what]
    words = make(bench)
    files = sorted(bench.folder.iterdir())
    moved_s = bench.twin.plant.state()["changed_s"]
    done = call(*words)
    said = words_of(done.stderr)
    assert done.exit_code == 2, done.output
    for part in parts:
        assert part in said
    assert bench.twin.plant.state()["changed_s"] == moved_s
    assert largest_V(bench.twin) == 0.0
    assert sorted(bench.folder.iterdir()) == files
    assert not bench.rig.with_name("never.h5").exists()
    assert in_force(bench.rig) == str(bench.former)


AMPLITUDE = {**xor_rig()["calibration"], "readout_amplitude_V": 1e-4}
WIRING = {**xor_rig()["wiring"], "couplings": SHUFFLED}


def numerical(*_: object) -> None:
    raise ValueError("array must not contain infs or NaNs")


@pytest.mark.parametrize(
    ("true", "step", "said"),
    [
        ({"calibration": AMPLITUDE}, "network", ("fault digitiser:0", "FAIL network node 2: ")),
        ({"wiring": WIRING}, "network", ("do not fit the wiring: residuals of", "mrad remain")),
        ({}, "detectors", ("the fit did not converge", "infs or NaNs", "raw data are kept")),
    ],
    ids=["a fringe without contrast", "a fit of another network", "a fit that breaks off"],
)
def test_what_gives_no_figures_does_not_displace_the_former(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    true: dict[str, Any],
    step: str,
    said: tuple[str, ...],
) -> None:
    (tmp_path / "calibrations").mkdir()
    kept = Path(shutil.copy(bench.former, tmp_path / "calibrations"))
    if step == "network":
        monkeypatch.setattr(procedure, "STEPS", REAL_STEPS)
    else:
        monkeypatch.setattr(Detectors, "fit", numerical)
    with lab(tmp_path, true=true) as (rig, twin):
        done = call("calibrate", rig)
        assert largest_V(twin) == 0.0
        assert in_force(rig) == str(kept)
    assert done.exit_code == 1
    shown = words_of(done.stdout)
    for part in (f"FAIL {step}", f"incomplete, not to be used: {step} missing in", *said):
        assert part in shown
    assert f"latest: stays {kept.name}" in shown


def test_latest_passes_over_what_cannot_be_read_whole_and_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "calibrations"
    folder.mkdir()
    rig = varied(bench.rig, "rubbish.toml", calibration={"folder": str(folder)})
    kept = Path(shutil.copy(bench.former, folder))
    (folder / "zero.h5").write_bytes(b"")
    (folder / "cut.h5").write_bytes(kept.read_bytes()[:9000])
    (folder / "text.h5").write_text("12 V", encoding="utf-8")
    (folder / "gone.h5").symlink_to(folder / "nowhere")
    later = Path(shutil.copy(kept, folder / "later.h5"))
    attribute("/", "started", "2026-12-01T00:00:00+00:00")(later)
    with h5py.File(later, "r+") as file:  # its heading is whole, its numbers are not
        file["steps/resistances/data/voltage_V"][0, 0] = 99.0
    clock = Path(shutil.copy(future(bench), folder / "clock.h5"))
    attribute("/", "started", "2126-01-01T00:00:00+00:00")(clock)
    done = call("calibrate", "status", rig, "--ask", "--calibration", "latest")
    assert done.exit_code == 0
    assert f"in force {kept}" in words_of(done.stdout)
    warned = "".join(done.stderr.split())  # the log breaks long words
    for name in ("zero.h5", "cut.h5", "text.h5", "gone.h5", "later.h5"):
        assert warned.count(f"leftout:{folder}/{name}") == 1
    # By its path it is used, and what is strange about it is said.
    dated = call("calibrate", "status", rig, "--ask", "--calibration", clock)
    assert dated.exit_code == 0
    assert "was measured in the future: is the clock right?" in words_of(dated.stderr)
    assert "dated in the future: see the clock" in words_of(dated.stdout)


def test_another_name_is_the_same_rig_where_its_instruments_say_so(bench: Bench) -> None:
    renamed = varied(bench.rig, "renamed.toml", rig={"name": "bench two"})
    assert in_force(renamed) == str(bench.former)
    offline = call("calibrate", "status", renamed, "--calibration", "latest")
    assert offline.exit_code == 1
    said = words_of(offline.stdout)
    assert "it is of the rig 'xor-array', and this one is 'bench two'" in said
    assert "--ask" in said
