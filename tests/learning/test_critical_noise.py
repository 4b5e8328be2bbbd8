"""What decides whether learning survives read-out noise is σ/√N (Peters and Talatchian 2025).

The whole curves: benchmarks/critical_noise.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eqp_hw.experiment.assemble import Experiment

IRIS = Path(__file__).parents[2] / "examples" / "iris.toml"
SEEDS = range(1, 7)


def _accuracy(sigma: float, reads: int, folder: Path) -> float:
    found = []
    for seed in SEEDS:
        experiment = Experiment.load(
            IRIS,
            [
                "estimator.beta=0.01",
                f"estimator.repeats={reads}",
                "run.epochs=15",
                f"run.seed={seed}",
                "run.validate_every=0",
                "run.probe_samples=0",
                "substrate.threads=1",
                f'substrate.imperfections=[{{kind="readout-noise", sigma={sigma}}}]',
            ],
        )
        found.append(experiment.run(folder / "run.h5", force=True).test_accuracy)
    return float(np.mean(found))


@pytest.mark.slow
def test_averaging_reads_moves_the_critical_noise_with_the_root_of_their_number(
    tmp_path: Path,
) -> None:
    weak, strong = 0.01, 0.1
    alone_weak, alone_strong = _accuracy(weak, 1, tmp_path), _accuracy(strong, 1, tmp_path)
    averaged_weak = _accuracy(weak * 4, 16, tmp_path)
    averaged_strong = _accuracy(strong * 4, 16, tmp_path)
    # Noise passes the critical value: learning collapses ...
    assert alone_weak > 0.85
    assert alone_strong < 0.7
    # ... and four times the noise at sixteen times the reads is the same.
    assert averaged_weak == pytest.approx(alone_weak, abs=0.1)
    assert averaged_strong == pytest.approx(alone_strong, abs=0.15)
    # At the same noise of a single read, 16 reads learn where one does not.
    assert averaged_weak > _accuracy(weak * 4, 1, tmp_path) + 0.1
