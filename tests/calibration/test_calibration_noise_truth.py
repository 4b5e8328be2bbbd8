"""Noise of the read-out against the noise that is there: conversions, rounding, averages."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from memory_session import EXAMPLES, SPREADS, MemorySession

from eqp_hw.calibration.fits.noise import noise_floor, noise_scaling
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import Rig, make_rig

NOISE_V = 2e-3
STEP_V = 4e-3
"""Of a coarse converter, two standard deviations of the noise before it."""


def rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))


def test_errors_of_allan_deviations_are_those_of_many_series() -> None:
    """Neighbouring differences of white noise are correlated by −½, their squares by ¼."""
    samples = NOISE_V * np.random.default_rng(0).normal(size=(256, 3000))
    found = noise_scaling(samples)
    true = NOISE_V / np.sqrt(found.averaged)[:, None]
    for level, size in enumerate(found.averaged):
        groups = 256 // size
        if groups < 32:
            continue  # of a few the deviation itself is no normal number
        # Squares are unbiased, and err twice as much, relatively.
        relative = 2 * (found.error[level] / found.deviation[level]).mean()
        in_sigma = ((found.deviation[level] / true[level]) ** 2 - 1) / relative
        assert rms(in_sigma) == pytest.approx(1.0, abs=0.06)
        inside = np.abs(found.deviation[level] - true[level]) < found.error[level]
        assert inside.mean() == pytest.approx(0.68, abs=0.03)


def test_errors_of_the_exponent_are_those_of_many_series() -> None:
    rng, in_sigma = np.random.default_rng(1), []
    for _ in range(300):
        found = noise_scaling(NOISE_V * rng.normal(size=(512, 4)))
        in_sigma.append((found.exponent + 0.5) / found.exponent_error)
    assert 0.8 < rms(np.array(in_sigma)) < 1.25


def test_a_floor_that_is_not_there_shows_by_chance_only() -> None:
    rng = np.random.default_rng(2)
    found = [noise_floor(noise_scaling(rng.normal(size=(512, 4)))).significance for _ in range(300)]
    assert 0.7 < np.std(found) < 1.4


def _rig(samples: int) -> Rig:
    content = tomllib.loads((EXAMPLES / "xor_array.toml").read_text())
    content["virtual_lab"] |= SPREADS | {"detector_noise_V": NOISE_V}
    content["readout"]["samples"] = samples
    return make_rig(content)


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("coarse", [False, True], ids=["fine", "coarse"])
def test_the_noise_of_a_read_is_that_of_the_hidden_detectors(samples: int, coarse: bool) -> None:
    """One read averages ``samples`` conversions of I and Q, each rounded by the converter."""
    ratio, worst = [], []
    for seed in range(24):
        session = MemorySession(
            _rig(samples),
            seed,
            detectors=(lambda v, _: np.round(v / STEP_V) * STEP_V) if coarse else None,
        )
        fit = session.take(ReadoutStep(drives=40))
        hidden = session.plant.truths.figures.readout_amplitude_V
        conversion = np.hypot(NOISE_V, STEP_V / np.sqrt(12) if coarse else 0.0)
        true = conversion / np.sqrt(samples) * np.sqrt((1 / hidden**2).mean(axis=0))
        ratio.append(fit.figures["phase_noise"] / true)
        assert float(fit.figures["readout_noise"]) == fit.figures["phase_noise"].max()
        worst.append(float(fit.figures["readout_noise"]) / true.max())
    # 72 nodes; of 32 averages of 16 one node's noise is known to 11 %.
    assert rms(np.array(ratio)) == pytest.approx(1.0, abs=0.05)
    # The largest of three estimates is high by as much as they scatter.
    assert 0.95 < np.mean(worst) < 1.15


def test_noise_that_does_not_average_out_is_in_the_noise_of_a_read() -> None:
    """Hum of four reads' length: its Allan deviation there is its standard deviation."""
    samples, hum_V, rng = 16, 1.5e-3, np.random.default_rng(4)
    angle = 2 * np.pi / (4 * samples)

    def hum(voltage: FloatArray, _: float) -> FloatArray:
        turned = angle * np.arange(len(voltage)) + rng.uniform(-np.pi, np.pi)
        return np.asarray(voltage + hum_V * np.sin(turned)[:, None])

    averaged_V = hum_V / np.sqrt(2) * np.sin(samples * angle / 2) / (samples * np.sin(angle / 2))
    ratio = []
    for seed in range(16):
        session = MemorySession(_rig(samples), seed, detectors=hum)
        fit = session.take(ReadoutStep(drives=40))
        hidden = session.plant.truths.figures.readout_amplitude_V
        one_V = np.hypot(NOISE_V / np.sqrt(samples), averaged_V)
        ratio.append(fit.figures["phase_noise"] / (one_V * np.sqrt((1 / hidden**2).mean(axis=0))))
    assert rms(np.array(ratio)) == pytest.approx(1.0, abs=0.05)
