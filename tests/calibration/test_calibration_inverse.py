"""The drivers' choice of branches against the exact one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from eqp_hw.calibration.inverse import least_power_phases
from eqp_hw.drivers.actuators.branches import Wanted, choose_phases
from eqp_hw.drivers.actuators.curves import coupling_targets
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray


def array_of(n: int, seed: int) -> HeaterModel:
    rng = np.random.default_rng(seed)
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    crosstalk = np.eye(n) + 0.02 * (apart == 1) + 0.004 * (apart == 2)
    return HeaterModel(
        0.025 * rng.uniform(0.9, 1.1, n),
        np.full(n, 500.0),
        rng.uniform(-np.pi, np.pi, n),
        crosstalk,
    )


def limits(n: int) -> FloatArray:
    return np.full(n, 0.1)


def same(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(np.angle(np.exp(1j * (one - other)))).max())


@pytest.mark.parametrize("seed", range(5))
def test_least_power_is_that_of_all_choices_tried_one_by_one(seed: int) -> None:
    n = 3
    model, rng = array_of(n, seed), np.random.default_rng(seed + 50)
    wanted = rng.uniform(-np.pi, np.pi, n)
    phases, power = least_power_phases(model, Wanted.phases(wanted), limits(n))
    assert same(phases, wanted) < 1e-8
    assert same(model.phases(power), wanted) < 1e-6
    best = np.inf
    for turns in product(range(-1, 3), repeat=n):
        target = model.powers(wanted + 2 * np.pi * np.array(turns))
        # Bounded least squares tells which choices can be reached at all.
        found = lsq_linear(model.crosstalk, model.crosstalk @ target, (0.0, 0.1))
        if np.abs(found.x - target).max() < 1e-9:
            best = min(best, float(target.sum()))
    assert power.sum() == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_the_drivers_choice_is_not_far_above_the_least(seed: int) -> None:
    n = 12
    model, rng = array_of(n, seed), np.random.default_rng(seed + 99)
    wanted = coupling_targets(rng.uniform(-3, 3, n), np.full(n, 3.0))
    _, least = least_power_phases(model, wanted, limits(n))
    phases, chosen = choose_phases(model, wanted, limits(n))
    assert (chosen >= 0).all()
    assert same(model.phases(chosen), phases) < 1e-9
    assert least.sum() <= chosen.sum() * (1 + 1e-9)
    # It keeps a margin above zero power, so that small changes need no jump to another branch:
    # at most one turn of a few heaters, and less than a half-wave power each on average.
    assert (chosen.sum() - least.sum()) / n < 0.5 * 0.025


def test_limits_of_the_sum_are_kept() -> None:
    model = array_of(6, 1)
    wanted = Wanted.phases(np.full(6, 1.0))
    _, power = least_power_phases(model, wanted, limits(6))
    with pytest.raises(LimitError, match="within the limits"):
        least_power_phases(model, wanted, limits(6), total_limit_W=0.9 * float(power.sum()))
    _, again = least_power_phases(model, wanted, limits(6), total_limit_W=1.1 * float(power.sum()))
    assert again.sum() == pytest.approx(power.sum())


def test_heaters_of_which_nothing_is_wanted_stay_cold() -> None:
    model = array_of(5, 2)
    wanted = np.array([1.0, np.nan, -2.0, np.nan, 0.5])
    phases, power = least_power_phases(model, Wanted.phases(wanted), limits(5))
    held = ~np.isnan(wanted)
    assert same(phases[held], wanted[held]) < 1e-8
    assert power[~held] == pytest.approx(0.0, abs=1e-6)
