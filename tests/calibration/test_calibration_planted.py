"""Planted faults are found and named by the program, over real bytes, and displace nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from planted_faults import Broken, call, heaters, in_force, lab, largest_V, words_of

from eqp_hw.calibration import procedure
from eqp_hw.calibration.fits import network_solve
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.sim_backends.virtual_lab.plant import formulas, plant
from eqp_hw.sim_backends.virtual_lab.plant.truths import Truths
from eqp_hw.sim_backends.virtual_lab.twin import Twin

STEPS = (
    ResistanceStep(levels=5, repeats=2),
    ReadoutStep(drives=40),
    NetworkStep(equations_per_figure=6, samples=16),
)
DRIFT = 0.01
"""Of the reference, rad/s."""


@dataclass(frozen=True)
class Fault:
    """Something broken, and what has to be said of it.

    Attributes
    ----------
    told
        Of the rig file.
    true
        Of the bench, where that differs.
    truths
        Changes those that are hidden.
    found
        Subject and text of findings of level "fault", by step.
    shown
        Look at the page as well; pictures take time.
    left_V
        What no program can set to zero.
    """

    found: Mapping[str, tuple[str, str]]
    told: Mapping[str, Any] = field(default_factory=dict)
    true: Mapping[str, Any] = field(default_factory=dict)
    broken: Broken = field(default_factory=Broken)
    truths: Callable[[Truths], Truths] | None = None
    complete: bool = True
    shown: bool = False
    left_V: float = 0.0


def one_sided(truths: Truths) -> Truths:
    reciprocity = truths.reciprocity.copy()
    reciprocity[8] = 0.2
    return replace(truths, reciprocity=reciprocity)


def crossed(one: int, two: int) -> Broken:
    return Broken(wired={("heaters", one): ("heaters", two), ("heaters", two): ("heaters", one)})


FAULTS = {
    "dead heater": Fault(
        {
            "resistance": ("heaters:7", "draws no current: dead heater, or an open cable"),
            "network": ("heaters:7", "has no effect on any phase"),
        },
        true={"virtual_lab": {"dead_channels": ["heaters:7"]}},
        shown=True,
    ),
    "open detector": Fault(
        {"readout": ("digitiser:4", "dead or open detector: it stays at")},
        true={"virtual_lab": {"dead_channels": ["digitiser:4"]}},
        complete=False,
        shown=True,
    ),
    "swapped channels": Fault(
        {"network": ("heaters:13", "swapped with heaters:16: exchange them")},
        broken=crossed(13, 16),
    ),
    "stuck output": Fault(
        {
            "resistance": ("heaters:4", "stuck: the output measures 2.500 V"),
            "network": ("heaters:4", "has no effect on any phase"),
        },
        told={"instruments": heaters(verify=False)},
        broken=Broken(stuck={("heaters", 4): 2.5}),
        left_V=2.5,
    ),
    "stuck detector": Fault(
        {"readout": ("digitiser:2", "dead or open detector: it stays at 0.7300 V")},
        broken=Broken(frozen={2: 0.73}),
        complete=False,
    ),
    "non-reciprocal bond": Fault(
        {"network": ("bond 8 (2-4)", "not reciprocal: J_ij/J_ji = 1.22")}, truths=one_sided
    ),
    "drifting reference": Fault(
        {"network": ("reference", "the reference drifts: all phases turned alike")}
    ),
}


def turning(twin: Twin) -> Callable[..., Any]:
    """Return detectors whose local oscillator runs away from that of the inputs."""
    plain, clock = formulas.quadratures, twin.plant.clock
    return lambda phases, *figures: plain(phases + DRIFT * clock.now_s, *figures)


@pytest.fixture(scope="module", autouse=True)
def quick_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(procedure, "STEPS", STEPS)
        yield


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good calibration of the bench before anything broke."""
    with lab(tmp_path_factory.mktemp("sound")) as (rig, _):
        done = call("calibrate", rig, "--json", "--seed", "1")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["latest"] == found["file"]
    return Path(found["file"])


def with_former(former: Path, folder: Path) -> Path:
    """Return a copy in the folder of a new rig file."""
    (folder / "calibrations").mkdir()
    return Path(shutil.copy(former, folder / "calibrations"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(
    name: str, former: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, kept, page = FAULTS[name], with_former(former, tmp_path), tmp_path / "page.html"
    change = fault.truths
    if change is not None:
        draw = plant.draw_truths
        monkeypatch.setattr(plant, "draw_truths", lambda rig, seed: change(draw(rig, seed)))
    virtual = {"virtual_lab": fault.true.get("virtual_lab", {})}
    with lab(tmp_path, told=fault.told, true=virtual, broken=fault.broken) as (rig, twin):
        if name == "drifting reference":
            monkeypatch.setattr(formulas, "quadratures", turning(twin))
        done = call("calibrate", rig, "--json", *(("--report", page) if fault.shown else ()))
        assert largest_V(twin) == pytest.approx(fault.left_V, abs=1e-3)
        assert done.exit_code == 1, done.output
        shown = call("calibrate", "status", rig, "--ask", "--calibration", "latest").stdout
    outcome = json.loads(done.stdout)
    assert outcome["complete"] == fault.complete
    assert outcome["latest"] == str(kept)
    findings = {
        (step["name"], finding["subject"]): finding["text"]
        for step in outcome["steps"]
        for finding in step["findings"]
        if finding["level"] == "fault"
    }
    named = {(step, subject) for step, (subject, _) in fault.found.items()}
    assert named <= set(findings)
    # Nothing that is whole is accused: all that is named is the one thing that is broken.
    assert {subject for _, subject in findings} == {s for s, _ in fault.found.values()}
    html = page.read_text(encoding="utf-8") if fault.shown else None
    for step, (subject, text) in fault.found.items():
        assert text in findings[step, subject]
        assert html is None or (subject in html and text in html)
    # Neither the file with the fault nor an incomplete one takes the place of the former.
    assert f"in force {kept}" in words_of(shown)
    if fault.complete:
        subject = next(iter(fault.found.values()))[0]
        assert f"it has found broken: {subject}" in words_of(shown)


def test_an_output_that_does_not_obey_stops_a_driver_that_verifies(
    former: Path, tmp_path: Path
) -> None:
    kept, broken = with_former(former, tmp_path), Broken(stuck={("heaters", 4): 2.5})
    with lab(tmp_path, broken=broken) as (rig, _):
        done = call("calibrate", rig)
        assert done.exit_code == 2
        said = words_of(done.stderr)
        assert "heaters: channel 4 drives 2.5" in said
        assert "where 0.0000 V was written" in said
        assert in_force(rig) == str(kept)
        # What was acknowledged and is not so is no safe output.
        off = call("safe-off", rig)
        assert off.exit_code == 1
        assert "channel 4 drives 2.500 V after all were set to zero" in words_of(off.stdout)


def test_a_faulty_calibration_is_used_where_it_is_named_or_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedure, "STEPS", STEPS[:1])
    dead = {"virtual_lab": {"dead_channels": ["heaters:7"]}}
    with lab(tmp_path, true=dead) as (rig, _):
        done = call("calibrate", rig)
        assert done.exit_code == 1
        said = words_of(done.stdout)
        assert "1 fault to be mended: heaters:7 " in said
        assert "latest: this one, from now on" in said
        (path,) = (tmp_path / "calibrations").glob("*.h5")
        assert in_force(rig) == str(path)
        named = call("check", rig, "--calibration", path, "--json")
        steps = {step["name"]: step for step in json.loads(named.stdout)["steps"]}
        assert steps["calibration"]["passed"]


def test_a_fit_that_does_not_converge_leaves_the_former_in_force(
    former: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = network_solve.fit_network
    monkeypatch.setattr(
        network_solve,
        "fit_network",
        lambda *given, **more: plain(*given, **{**more, "steps": 2 if more.get("local") else 0}),
    )
    kept = with_former(former, tmp_path)
    with lab(tmp_path) as (rig, _):
        done = call("calibrate", rig, "--json")
        assert done.exit_code == 1, done.output
        assert in_force(rig) == str(kept)
    outcome = json.loads(done.stdout)
    assert not outcome["complete"]
    assert outcome["latest"] == str(kept)
    (step,) = (one for one in outcome["steps"] if not one["passed"])
    assert step["name"] == "network"
    assert "the fit did not converge: after 0 steps" in step["detail"]
    assert "calibration.half_wave_power_W" in step["detail"]
