"""Critical noise: accuracy on Iris against the noise of an averaged read, σ/√N.

Peters and Talatchian (2025): learning by equilibrium propagation collapses above a critical
read-out noise, and what counts is the noise that averaging leaves. Curves for N = 1, 4, 16
reads a state must therefore fall on one curve against σ/√N.

    python benchmarks/critical_noise.py [--seeds 5] [--epochs 40] [--figure critical_noise.svg]

Prints mean test accuracy for each σ/√N and N, the largest difference between the curves beside
the standard error of such a difference, and the noise at which each curve falls below .8. The
nudge is weak (β = .01) so that learning fails where phasors are still long: beyond σ of about 1
rad averaging N phases is no longer an average of N Gaussian errors.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

from eqp_hw.experiment.assemble import Experiment

EXPERIMENT = Path(__file__).parents[1] / "examples" / "iris.toml"
AVERAGED = (0.004, 0.008, 0.016, 0.03, 0.045, 0.065, 0.09, 0.13, 0.18)
READS = (1, 4, 16)
BETA = 0.01
CHANCE = 1 / 3
LEVEL = 0.8


def accuracy(averaged: float, reads: int, seed: int, epochs: int, folder: Path) -> float:
    sigma = averaged * math.sqrt(reads)
    settings = Experiment.load(
        EXPERIMENT,
        [
            "estimator.kind=centred",
            f"estimator.beta={BETA}",
            f"estimator.repeats={reads}",
            f"run.epochs={epochs}",
            f"run.seed={seed}",
            "run.validate_every=0",
            "run.probe_samples=0",
            f'substrate.imperfections=[{{kind="readout-noise", sigma={sigma}}}]',
        ],
    )
    return settings.run(folder / "noise.h5", force=True).test_accuracy


def critical(averaged: np.ndarray, mean: np.ndarray) -> float:
    """Return the noise at which a curve falls below `LEVEL`, on a logarithmic axis."""
    below = np.flatnonzero(mean < LEVEL)
    if not len(below) or below[0] == 0:
        return math.nan
    k = below[0]
    share = (mean[k - 1] - LEVEL) / (mean[k - 1] - mean[k])
    return float(averaged[k - 1] * (averaged[k] / averaged[k - 1]) ** share)


def draw(table: np.ndarray, path: Path) -> None:
    from eqp_hw.views.plots.canvas import PALETTE, encode, new_figure, styled

    with styled():
        figure = new_figure(8.0, 3.6)
        left, right = figure.subplots(1, 2, sharey=True)
        for reads, one, colour in zip(READS, table, PALETTE.values(), strict=False):
            mean, error = one.mean(axis=1), one.std(axis=1, ddof=1) / math.sqrt(one.shape[1])
            single = np.array(AVERAGED) * math.sqrt(reads)
            for axes, noise in ((left, single), (right, np.array(AVERAGED))):
                axes.errorbar(noise, mean, error, label=f"N = {reads}", color=colour, marker="o")
        left.set_xlabel("noise of a single read σ, rad")
        right.set_xlabel("noise of an averaged read σ/√N, rad")
        left.set_ylabel("test accuracy, Iris")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.axhline(CHANCE, color="#8a9099", linewidth=0.8)
            axes.grid(visible=True)
        left.set_title("Three curves …")
        right.set_title("… are one")
        right.legend()
    path.write_bytes(encode(figure, path.suffix[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Critical noise on Iris.")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    table = np.empty((len(READS), len(AVERAGED), arguments.seeds))
    with tempfile.TemporaryDirectory() as folder:
        for i, reads in enumerate(READS):
            for j, averaged in enumerate(AVERAGED):
                for seed in range(arguments.seeds):
                    table[i, j, seed] = accuracy(
                        averaged, reads, seed + 1, arguments.epochs, Path(folder)
                    )
    mean = table.mean(axis=2)
    error = table.std(axis=2, ddof=1) / math.sqrt(arguments.seeds)
    print("sigma/sqrt(N)  " + "".join(f"{f'N = {n}':>14}" for n in READS))
    for j, averaged in enumerate(AVERAGED):
        cells = "".join(f"{mean[i, j]:8.3f}+-{error[i, j]:.3f}" for i in range(len(READS)))
        print(f"{averaged:<14g} {cells}")
    apart = mean.max(axis=0) - mean.min(axis=0)
    worst = int(apart.argmax())
    typical = math.sqrt(2) * np.sqrt((error**2).mean())
    print(
        f"largest distance between the curves {apart[worst]:.3f} at {AVERAGED[worst]:g}, mean "
        f"{apart.mean():.3f}; standard error of a difference {typical:.3f}"
    )
    for i, reads in enumerate(READS):
        middle = critical(np.array(AVERAGED), mean[i])
        print(
            f"N = {reads:2d}: below {LEVEL:g} from sigma/sqrt(N) = {middle:.3f} rad, "
            f"sigma = {middle * math.sqrt(reads):.3f} rad"
        )
    if arguments.figure:
        draw(table, arguments.figure)


if __name__ == "__main__":
    main()
