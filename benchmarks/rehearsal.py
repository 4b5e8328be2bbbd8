"""From an unknown rig to a rehearsed one: calibrate, compare gradients, rehearse, train.

    python benchmarks/rehearsal.py                        # Iris on examples/rigs/heater_array.toml
    python benchmarks/rehearsal.py --seeds 3 4 --epochs 20
    python benchmarks/rehearsal.py --task xor

For every truth seed a virtual rig with hidden truths (spreads below) is calibrated; then the
gradient fidelity is measured with the nominal figures and with the calibration; then the same
experiment is trained on the twin, on the virtual rig and on the ideal emulator. Held to: cosine
against finite differences >= .98 after calibration; twin and emulator within .02 of the virtual
rig's test accuracy, in the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from eqp_hw.experiment.toml_file import render_toml

EXAMPLES = Path(__file__).parents[1] / "examples"
JOBS = {"iris": "heater_array", "xor": "xor_array"}
SPREADS = {
    "half_wave_power_spread": 0.1,
    "resistance_spread": 0.05,
    "phase_offset_spread": 1.0,
    "crosstalk_spread": 0.3,
    "coupling_spread": 0.1,
    "splitting_imbalance": 0.1,
    "quadrature_error": 0.05,
    "detector_offset_V": 0.03,
}
LIMIT = 2.2
"""On couplings and bias fields: with these spreads the weakest channel makes little more."""
COSINE, ACCURACY = 0.98, 0.02
DIFFERENCES = "finite differences"


def eqp(*words: object) -> dict[str, Any]:
    """Run a command with --json; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "eqp_hw", *(str(word) for word in words), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise SystemExit(f"eqp-hw {' '.join(map(str, words))}\n{done.stderr}{done.stdout}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cosines(found: dict[str, Any]) -> dict[str, float]:
    return {row["reference"]: row["cosine"] for row in found["rows"] if row["group"] == "all"}


def one_seed(task: str, seed: int, epochs: int | None, folder: Path) -> dict[str, float]:
    content = tomllib.loads((EXAMPLES / "rigs" / f"{JOBS[task]}.toml").read_text(encoding="utf-8"))
    content["virtual_lab"] |= SPREADS
    rig = folder / f"rig{seed}.toml"
    rig.write_text(render_toml(content), encoding="utf-8")
    experiment = EXAMPLES / f"{task}.toml"
    lab: tuple[object, ...] = ("--virtual-lab", "--truth-seed", seed)
    calibration = folder / f"calibration{seed}.h5"
    started = time.perf_counter()
    made = eqp("calibrate", rig, *lab, "--output", calibration)
    if not made["complete"]:
        raise SystemExit(f"seed {seed}: the calibration is incomplete: {made['missing']}")
    print(f"seed {seed}: calibrated in {time.perf_counter() - started:.0f} s", flush=True)
    for name, chosen in (("nominal", "nominal"), ("calibrated", calibration)):
        try:
            found = cosines(eqp("compare", rig, experiment, *lab, "--calibration", chosen))
        except SystemExit as error:
            print(f"  {name}: {str(error).splitlines()[-1]}")
            continue
        print(f"  {name}: cosine {found}", flush=True)
    figures = {"cosine": found.get(DIFFERENCES, 0.0)}
    settings: list[object] = ["--set", f"run.seed={seed}"]
    settings += ["--set", f"run.coupling_limit={LIMIT}", "--set", f"run.bias_limit={LIMIT}"]
    if epochs is not None:
        settings += ["--set", f"run.epochs={epochs}"]
    on_rig = ("--rig", rig, "--calibration", calibration)
    ways: dict[str, tuple[object, ...]] = {
        "emulator": (),
        "twin": (*on_rig, "--rehearse"),
        "rig": (*on_rig, *lab),
    }
    for name, words in ways.items():
        started = time.perf_counter()
        run = eqp("run", experiment, *words, *settings, "-o", folder / f"{name}{seed}.h5")
        figures[name] = run["test_accuracy"]
        print(
            f"  {name}: test accuracy {run['test_accuracy']:.3f}, distance "
            f"{run['test_distance']:.4f}, train cost {run['train_cost']:.4f}, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", choices=JOBS, default="iris")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [one_seed(chosen.task, seed, chosen.epochs, Path(folder)) for seed in chosen.seeds]
    mean = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
    print("mean " + ", ".join(f"{name} {value:.4f}" for name, value in mean.items()))
    good = min(one["cosine"] for one in found) >= COSINE
    good &= abs(mean["twin"] - mean["rig"]) <= ACCURACY
    good &= abs(mean["emulator"] - mean["rig"]) <= ACCURACY
    print("as held to" if good else "MISSED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
