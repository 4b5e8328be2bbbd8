"""When phases count as settled, on made-up approaches with a made-up clock."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.drivers.rig.settling import StabilityRule, wait_until_stable


class Approach:
    """Phases that relax exponentially; every look takes some time."""

    def __init__(self, size, time_s, look_s, noise=0.0, seed=0):
        self.size, self.time_s, self.look_s, self.noise = size, time_s, look_s, noise
        self.now_s = 0.0
        self.rng = np.random.default_rng(seed)

    def look(self):
        self.now_s += self.look_s
        rest = self.size * np.exp(-self.now_s / self.time_s)
        return np.array([rest, 0.3]) + self.noise * self.rng.normal(size=2)

    def now(self):
        return self.now_s

    @property
    def rest(self):
        return abs(self.size) * np.exp(-self.now_s / self.time_s)


@settings(deadline=None, max_examples=200)
@given(st.floats(0.001, 3.0), st.floats(0.01, 30.0))
def test_what_is_still_to_come_is_within_the_tolerance(size, looks_a_time):
    """However fast or slow the looks are: a slow drift is not taken for rest."""
    bench = Approach(size, 1.0, 1.0 / looks_a_time)
    found = wait_until_stable(bench.look, StabilityRule(0.002, 0.0, 0.0, 2), 1e3, bench.now)
    assert found.stable
    assert bench.rest <= 0.00201


def test_a_rule_of_small_changes_alone_would_be_fooled():
    bench = Approach(1.0, 1.0, 0.001)
    first, second = bench.look(), bench.look()
    assert abs(second - first).max() < 0.002
    assert bench.rest > 0.99


def test_noise_does_not_keep_it_waiting_for_ever():
    for seed in range(50):
        bench = Approach(0.5, 1.0, 0.5, noise=0.01, seed=seed)
        rule = StabilityRule(0.002, 0.01, 0.0, 2)
        found = wait_until_stable(bench.look, rule, 100.0, bench.now)
        assert found.stable
        assert bench.rest < 0.07 + 0.002


def test_what_never_rests_ends_at_the_time_limit():
    bench = Approach(0.5, 1.0, 0.1, noise=0.05)
    found = wait_until_stable(bench.look, StabilityRule(0.002, 0.001, 0.0, 2), 5.0, bench.now)
    assert not found.stable
    assert found.duration_s == pytest.approx(5.0, abs=0.2)
    assert found.looks > 40


def test_more_looks_must_agree_when_asked():
    for agreeing in (2, 3, 5):
        bench = Approach(1e-6, 1.0, 0.1)
        rule = StabilityRule(0.002, 0.0, 1e-5, agreeing)
        assert wait_until_stable(bench.look, rule, 10.0, bench.now).looks == agreeing


def test_the_cut_at_pi_is_no_jump():
    phases = iter([[np.pi - 1e-4], [-np.pi + 1e-4], [np.pi - 1e-4]])
    rule = StabilityRule(0.002, 0.0, 1e-3, 2)
    found = wait_until_stable(lambda: np.array(next(phases)), rule, 1.0, lambda: 0.0)
    assert found.looks == 2
