"""Settling on raw voltages: what still moves is not settled, what only flickers is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.calibration.settling import MOST_CONVERSIONS, NoiseMeter, wait_for_detectors


class Bench:
    """Detectors that follow a course of time; each conversion takes ``every_s``."""

    def __init__(self, course, noise_V=0.0, every_s=1e-4, between_s=1e-3, seed=0):
        self.t = 0.0
        self.course, self.noise_V = course, noise_V
        self.every_s, self.between_s = every_s, between_s
        self.rng = np.random.default_rng(seed)

    def read(self, n):
        self.t += self.between_s
        found = []
        for _ in range(n):
            self.t += self.every_s
            value = np.asarray(self.course(self.t), dtype=float)
            found.append(value + self.rng.normal(0, self.noise_V, value.shape))
        return np.array(found)

    def settle(self, tolerance_V=1e-3, agreeing=3, timeout_s=1.0, samples=1):
        return wait_for_detectors(
            self.read,
            NoiseMeter(len(np.asarray(self.course(0.0)))),
            tolerance_V=tolerance_V,
            agreeing=agreeing,
            samples=samples,
            timeout_s=timeout_s,
            now=lambda: self.t,
        )


@settings(deadline=None, max_examples=30)
@given(
    tau=st.floats(1e-4, 1e-2),  # of looks some milliseconds apart
    size=st.floats(0.05, 1.0),
    noise=st.sampled_from([0.0, 1e-4, 1e-3, 2e-3]),
    seed=st.integers(0, 1000),
)
def test_an_exponential_approach_ends_within_tolerance_and_noise(tau, size, noise, seed):
    bench = Bench(lambda t: np.full(8, size * np.exp(-t / tau)), noise, seed=seed)
    found = bench.settle()
    assert found.stable
    allowed = 2e-3 + 5 * noise * np.sqrt(2 / MOST_CONVERSIONS)
    assert size * np.exp(-bench.t / tau) <= allowed


@settings(deadline=None, max_examples=30)
@given(noise=st.sampled_from([1e-4, 1e-3, 2e-2]), seed=st.integers(0, 1000))
def test_noise_alone_is_settled_soon_and_measured(noise, seed):
    bench = Bench(lambda t: np.linspace(-1, 1, 26), noise, seed=seed)
    found = bench.settle()
    assert found.stable
    assert found.looks <= 6
    for _ in range(30):
        found = bench.settle()
    assert np.median(found.noise_V) == pytest.approx(noise, rel=0.5)


def test_a_drift_beyond_the_noise_is_never_settled():
    found = Bench(lambda t: np.array([0.0, 5.0 * t]), 1e-4).settle(timeout_s=0.3)
    assert not found.stable
    assert found.duration_s >= 0.3


def test_an_oscillation_is_not_settled_at_its_turning_points():
    bench = Bench(lambda t: np.array([np.cos(2 * np.pi * t / 7.7e-3)]))
    assert not bench.settle(timeout_s=0.3).stable


def test_one_detector_of_many_that_moves_is_enough():
    course = np.zeros(64)

    def move(t):
        now = course.copy()
        now[40] = np.exp(-t / 0.02)
        return now

    bench = Bench(move, 1e-4)
    assert bench.settle().stable
    assert np.exp(-bench.t / 0.02) < 0.01


def test_mean_of_the_looks_that_agreed():
    found = Bench(lambda t: np.array([0.25, -0.5])).settle()
    np.testing.assert_allclose(found.voltage_V, [0.25, -0.5])
    assert found.looks == 3


def test_a_meter_before_anything_was_seen():
    assert NoiseMeter(3).noise_V.tolist() == [0, 0, 0]
