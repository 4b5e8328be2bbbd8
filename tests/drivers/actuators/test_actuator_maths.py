"""Phases, powers, branches and element curves: round trips and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.drivers.actuators.branches import Wanted, choose_phases
from eqp_hw.drivers.actuators.curves import (
    coupling_of,
    coupling_targets,
    field_of,
    field_targets,
)
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.errors import LimitError
from eqp_hw.errors import CapabilityError, ConfigurationError, ParameterError


def model_of(n, rng, levels=(0.02, 0.004)):
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    crosstalk = np.eye(n)
    for distance, level in enumerate(levels, start=1):
        crosstalk[apart == distance] = level
    return HeaterModel(
        0.025 * rng.uniform(0.8, 1.2, n),
        500 * rng.uniform(0.9, 1.1, n),
        rng.uniform(-3, 3, n),
        crosstalk,
    )


def circular(a, b):
    return np.abs(np.angle(np.exp(1j * (a - b)))).max()


def test_phases_of_powers_follow_the_formula():
    model = HeaterModel(
        np.array([0.02, 0.03]),
        np.array([400.0, 500.0]),
        np.array([0.1, -0.2]),
        np.array([[1.0, 0.05], [0.02, 1.0]]),
    )
    power = np.array([0.01, 0.02])
    expected = [
        0.1 + np.pi / 0.02 * (0.01 + 0.05 * 0.02),
        -0.2 + np.pi / 0.03 * (0.02 * 0.01 + 0.02),
    ]
    assert np.allclose(model.phases(power), expected, rtol=1e-14)
    assert np.allclose(model.powers(model.phases(power)), power, rtol=1e-12)
    assert np.allclose(model.powers_of_voltages(model.voltages(power)), power, rtol=1e-14)


def test_bad_models_are_refused():
    ones, eye = np.ones(2), np.eye(2)
    with pytest.raises(ConfigurationError, match="positive"):
        HeaterModel(-ones, ones, ones, eye)
    with pytest.raises(ConfigurationError, match="inverted"):
        HeaterModel(ones, ones, ones, np.ones((2, 2)))
    with pytest.raises(ConfigurationError, match=r"calibration\.phase_offset"):
        HeaterModel(ones, ones, np.array([0.0, np.nan]), eye)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_chosen_powers_give_back_the_wanted_phases(seed, n):
    rng = np.random.default_rng(seed)
    model = model_of(n, rng)
    limit = np.full(n, 0.1)
    wanted = rng.uniform(-10, 10, n)
    held, power = choose_phases(model, Wanted.phases(wanted), limit)
    assert (power >= 0).all()
    assert (power <= limit).all()
    assert circular(model.phases(power), wanted) < 1e-9
    # A small change of what is wanted stays on its branch, however often it is repeated.
    for _ in range(20):
        wanted = wanted + rng.uniform(-0.02, 0.02, n)
        before = held
        held, power = choose_phases(model, Wanted.phases(wanted), limit, held)
        assert circular(model.phases(power), wanted) < 1e-9
        assert np.abs(held - before).max() < 0.03 or (model.powers(before) < 0.004).any()


def test_branch_moves_up_only_where_the_power_would_be_negative():
    model = HeaterModel(np.full(2, 0.02), np.full(2, 500.0), np.zeros(2), np.eye(2))
    limit = np.full(2, 0.08)
    held, power = choose_phases(model, Wanted.phases(np.array([1.0, 1.0])), limit)
    assert np.allclose(held, 1.0)
    held, power = choose_phases(model, Wanted.phases(np.array([0.1, 1.0])), limit, held)
    assert np.allclose(held, [0.1, 1.0])
    held, power = choose_phases(model, Wanted.phases(np.array([-0.1, 1.0])), limit, held)
    assert np.allclose(held, [2 * np.pi - 0.1, 1.0])
    assert np.allclose(power, held * 0.02 / np.pi)


def test_a_limit_without_room_is_refused_and_names_the_channel():
    model = HeaterModel(np.full(2, 0.02), np.full(2, 500.0), np.zeros(2), np.eye(2))
    with pytest.raises(LimitError, match="heaters:7"):
        choose_phases(
            model,
            Wanted.phases(np.array([1.0, 5.0])),
            np.full(2, 0.02),
            names=["heaters:6", "heaters:7"],
        )


def test_heaters_of_which_nothing_is_wanted_stay():
    model = HeaterModel(np.full(2, 0.02), np.full(2, 500.0), np.zeros(2), np.eye(2))
    held = np.array([2.0, 3.0])
    phases, _ = choose_phases(model, Wanted.phases(np.array([np.nan, 4.0])), np.full(2, 0.08), held)
    assert phases.tolist() == [2.0, 4.0]


def test_heaters_of_which_nothing_is_wanted_give_way_to_their_neighbours_heat():
    """One that stands near zero power cannot hold its phase when a neighbour gets hotter."""
    crosstalk = np.array([[1.0, 0.1], [0.1, 1.0]])
    model = HeaterModel(np.full(2, 0.02), np.full(2, 500.0), np.zeros(2), crosstalk)
    held = np.array([0.05, 0.1])
    limit = np.full(2, 0.08)
    phases, power = choose_phases(model, Wanted.phases(np.array([np.nan, 4.0])), limit, held)
    assert 0.0 <= power[0] < 1e-4  # it had 3e-4 W, and gets 2.5e-3 from its neighbour
    assert np.isclose(model.phases(power)[1], 4.0)
    assert model.phases(power) == pytest.approx(phases)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_couplings_and_fields_come_back_through_any_branch(seed):
    rng = np.random.default_rng(seed)
    n = 12
    model = model_of(3 * n, rng)
    coupling_max, field_max = rng.uniform(1, 3, n), rng.uniform(0.2, 3, n)
    coupling = coupling_max * rng.uniform(-1, 1, n)
    field = field_max * rng.uniform(0, 1, n) * np.exp(1j * rng.uniform(-4, 4, n))
    field[0], coupling[:2] = 0, [coupling_max[0], -coupling_max[1]]
    held = np.full(3 * n, np.nan)
    for _ in range(4):
        strength, angle = field_targets(field, field_max, held[2 * n :])
        wanted = Wanted.join([coupling_targets(coupling, coupling_max), strength, angle])
        held, power = choose_phases(model, wanted, np.full(3 * n, 0.14), held)
        theta = model.phases(power)
        assert np.abs(coupling_of(theta[:n], coupling_max) - coupling).max() < 1e-6
        made = field_of(theta[n : 2 * n], theta[2 * n :], field_max)
        assert np.abs(made - field).max() < 1e-6
        field = field * np.exp(1j * rng.uniform(-0.5, 0.5, n)) * rng.choice([-1, 1], n)
        coupling = coupling * rng.uniform(0.5, 1, n)


def test_a_field_that_changes_sign_moves_its_amplitude_and_not_its_phase():
    model = HeaterModel(np.full(2, 0.02), np.full(2, 500.0), np.zeros(2), np.eye(2))
    limit, maximum = np.full(2, 0.1), np.array([0.5])
    held = None
    seen = []
    for field in (0j, 0.1 * np.exp(0.7j), 0j, -0.1 * np.exp(0.7j), 0j):
        here = np.array([np.nan]) if held is None else held[1:]
        wanted = Wanted.join([*field_targets(np.array([field]), maximum, here)])
        held, power = choose_phases(model, wanted, limit, held)
        assert abs(field_of(model.phases(power)[:1], held[1:], maximum)[0] - field) < 1e-9
        seen.append(held)
    phases = np.array(seen)
    assert np.ptp(phases[1:, 1]) < 1e-9
    assert np.ptp(phases[:, 0]) < 1.0  # through zero at 2 pi, without a jump
    assert (phases[:, 0] > np.pi).all()


def test_values_beyond_an_element_are_refused():
    with pytest.raises(ParameterError, match=r"coupling\[1\] = 3.1"):
        coupling_targets(np.array([0.0, 3.1]), np.full(2, 3.0))
    with pytest.raises(ParameterError):
        coupling_targets(np.array([np.nan]), np.full(1, 3.0))
    with pytest.raises(CapabilityError, match=r"0\.5"):
        field_targets(np.array([0.4 + 0.4j]), np.full(1, 0.5), np.full(1, np.nan))


def test_worst_rounding_error_is_an_upper_bound_and_close():
    rng = np.random.default_rng(3)
    model = model_of(8, rng)
    step = np.full(8, 12 / 65535)
    power = rng.uniform(0.01, 0.06, 8)
    voltage = model.voltages(power)
    worst = model.phase_step(voltage, step)
    largest = np.zeros(8)
    for _ in range(400):
        rounded = voltage + rng.choice([-0.5, 0.5], 8) * step
        error = model.phases(model.powers_of_voltages(rounded)) - model.phases(power)
        largest = np.maximum(largest, np.abs(error))
    assert (largest <= worst * (1 + 1e-9)).all()
    assert (largest > 0.9 * worst).all()
