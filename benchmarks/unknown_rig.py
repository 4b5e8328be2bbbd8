"""An unknown rig, calibrated or not: gradient fidelity, training, rehearsal on its twin.

    python benchmarks/unknown_rig.py                          # Iris on the heater array, five rigs
    python benchmarks/unknown_rig.py --seeds 3 --epochs 25    # one rig, quick
    python benchmarks/unknown_rig.py --task xor
    python benchmarks/unknown_rig.py --without uncalibrated   # that one hops much, and takes long

For every truth seed the virtual rig of examples/rigs/ (hidden truths differ from the nominal
figures by the spreads in that file) is calibrated; gradients are compared and the same experiment
is trained, without and with the calibration; then it is trained on the calibrated twin and on the
ideal emulator. The run's seed is the truth seed. Held to: cosine against finite differences >= .98
after calibration; with calibration the mean test accuracy is within .02 of the emulator's and of
the twin's; without it it is not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"
JOBS = {"iris": "heater_array", "xor": "xor_array"}
COSINE, ACCURACY = 0.98, 0.02
DIFFERENCES = "finite differences"


class CommandError(Exception):
    """A command ended with an error; the text is its last line."""


def eqp(*words: object) -> dict[str, Any]:
    """Run a command with --json; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "eqp_hw", *(str(word) for word in words), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise CommandError(" ".join(done.stderr.split())[-300:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cosine(rig: Path, experiment: Path, *words: object) -> float:
    """Print the cosines of the rig's gradient; return that with finite differences."""
    found = {
        row["reference"]: row["cosine"]
        for row in eqp("compare", rig, experiment, *words)["rows"]
        if row["group"] == "all"
    }
    print(f"    cosine {found}", flush=True)
    return float(found.get(DIFFERENCES, "nan"))


def train(experiment: Path, *words: object) -> dict[str, Any]:
    started = time.perf_counter()
    run = eqp("run", experiment, *words)
    print(
        f"    test accuracy {run['test_accuracy']:.3f}, distance {run['test_distance']:.4f}, "
        f"train accuracy {run['train_accuracy']:.3f}, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return run


def one_seed(
    task: str, seed: int, epochs: int | None, without: list[str], folder: Path
) -> dict[str, float]:
    experiment = EXAMPLES / f"{task}.toml"
    rig = EXAMPLES / "rigs" / f"{JOBS[task]}.toml"
    lab: tuple[object, ...] = ("--virtual-lab", "--truth-seed", seed)
    calibration = folder / f"calibration{seed}.h5"
    made = eqp("calibrate", rig, *lab, "--output", calibration)
    if not made["complete"]:
        raise SystemExit(f"seed {seed}: the calibration is incomplete: {made['missing']}")
    print(f"truth seed {seed}: calibrated", flush=True)
    settings: list[object] = ["--set", f"run.seed={seed}"]
    if epochs is not None:
        settings += ["--set", f"run.epochs={epochs}"]
    ways: dict[str, tuple[object, ...]] = {
        "emulator": (),
        "calibrated": ("--rig", rig, *lab, "--calibration", calibration),
        "twin": ("--rig", rig, "--rehearse", "--calibration", calibration),
        "uncalibrated": ("--rig", rig, *lab, "--calibration", "nominal"),
    }
    figures: dict[str, float] = {}
    for name, words in ways.items():
        if name in without:
            continue
        print(f"  {name}", flush=True)
        try:
            if "--virtual-lab" in words:
                figures[f"cosine, {name}"] = cosine(rig, experiment, *lab, *words[-2:])
            run = train(experiment, *words, *settings, "-o", folder / f"{name}{seed}.h5")
            figures[name] = run["test_accuracy"]
        except CommandError as error:
            if name != "uncalibrated":
                raise
            # A rig that does something else than it is told may well ask for the impossible.
            print(f"    stopped: {error}", flush=True)
            figures.setdefault(name, 0.0)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", choices=JOBS, default="iris")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--without", choices=["uncalibrated", "twin"], nargs="+", default=[], help="leave out"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [
            one_seed(chosen.task, seed, chosen.epochs, chosen.without, Path(folder))
            for seed in chosen.seeds
        ]
    names = [n for n in ("emulator", "calibrated", "twin", "uncalibrated") if n in found[0]]
    mean = {name: sum(one[name] for one in found) / len(found) for name in names}
    print("mean " + ", ".join(f"{name} {value:.4f}" for name, value in mean.items()))
    good = min(one["cosine, calibrated"] for one in found) >= COSINE
    good &= abs(mean["calibrated"] - mean["emulator"]) <= ACCURACY
    if "twin" in mean:
        good &= abs(mean["calibrated"] - mean["twin"]) <= ACCURACY
    if "uncalibrated" in mean:
        good &= mean["uncalibrated"] < mean["emulator"] - ACCURACY
    print("as held to" if good else "MISSED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
