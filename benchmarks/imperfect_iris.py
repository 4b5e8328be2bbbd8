"""Iris on imperfect hardware: automatic settings against none, on the same seeds.

    python benchmarks/imperfect_iris.py [--seeds 5] [--epochs 60]

The hardware is that of examples/iris_imperfect.toml: 6-bit couplings and read-out, noise of .05
rad, 10 % coupling disorder, 2 % dead bonds. Prints test accuracy seed by seed.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np

from eqp_hw.experiment.assemble import Experiment

EXPERIMENT = Path(__file__).parents[1] / "examples" / "iris_imperfect.toml"
NONE = ("estimator.kind=centred", "estimator.beta=0.05", "estimator.repeats=1")
SETTINGS = {
    "automatic": (),
    "centred, beta .05, one read, float masters": NONE,
    "one-sided, beta .05, one read, float masters": (*NONE, "estimator.kind=one-sided"),
    "one-sided, beta .05, one read, direct rounding": (
        *NONE,
        "estimator.kind=one-sided",
        "optimiser.master=direct",
    ),
}
BOUND = 0.92


def main() -> None:
    parser = argparse.ArgumentParser(description="Iris on imperfect hardware.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    logging.getLogger("eqp_hw").setLevel(logging.ERROR)
    means = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in SETTINGS.items():
            found = [
                Experiment.load(
                    EXPERIMENT,
                    [f"run.seed={seed + 1}", f"run.epochs={arguments.epochs}", *overrides],
                )
                .run(Path(folder) / "run.h5", force=True)
                .test_accuracy
                for seed in range(arguments.seeds)
            ]
            means[name] = float(np.mean(found))
            print(f"{name:<48} {means[name]:.3f}   {' '.join(f'{one:.3f}' for one in found)}")
    met = "met" if means["automatic"] >= BOUND else "MISSED"
    print(f"bound of the automatic settings {BOUND:g}: {met}")


if __name__ == "__main__":
    main()
