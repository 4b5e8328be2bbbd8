"""The formulas against closed forms and an independent integrator."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.sim_backends.virtual_lab.plant import formulas


def test_half_wave_power_turns_by_pi() -> None:
    resistance, half_wave = np.array([500.0, 470.0]), np.array([0.025, 0.03])
    power = formulas.power_W(np.sqrt(half_wave * resistance), resistance)
    phase = formulas.heating_phase(power, half_wave, np.eye(2))
    np.testing.assert_allclose(phase, np.pi, rtol=1e-14)


def test_crosstalk_heats_the_neighbour_in_its_own_units() -> None:
    half_wave, crosstalk = np.array([0.02, 0.04]), np.array([[1.0, 0.1], [0.05, 1.0]])
    phase = formulas.heating_phase(np.array([0.01, 0.0]), half_wave, crosstalk)
    np.testing.assert_allclose(phase, [np.pi / 2, np.pi * 0.05 * 0.01 / 0.04], rtol=1e-14)


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_low_pass_is_the_solution_of_its_equation(pieces: int) -> None:
    target, start, time_s, duration = np.array([1.0, -2.0]), np.array([0.3, 5.0]), 1e-3, 2.5e-3
    state = start
    for _ in range(pieces):
        state = formulas.low_pass(state, target, duration / pieces, time_s)
    independent = solve_ivp(
        lambda _, s: (target - s) / time_s,
        (0.0, duration),
        start,
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    )
    np.testing.assert_allclose(state, independent.y[:, -1], atol=1e-10)


def test_low_pass_without_lag_follows_at_once() -> None:
    target = np.array([1.0])
    np.testing.assert_array_equal(formulas.low_pass(np.zeros(1), target, 0.0, 0.0), target)


def test_coupler_covers_both_signs() -> None:
    theta = np.array([0.0, np.pi / 3, np.pi / 2, np.pi])
    np.testing.assert_allclose(
        formulas.coupling(np.full(4, 3.0), theta), [3.0, 1.5, 0.0, -3.0], atol=1e-15
    )


def test_negative_injection_is_one_turned_by_pi() -> None:
    amplitude, phase = np.array([0.7, 2.0]), np.array([0.4, -1.0])
    negative = formulas.injection(np.full(2, 2.0), -amplitude, phase)
    turned = formulas.injection(np.full(2, 2.0), amplitude, phase + np.pi)
    np.testing.assert_allclose(negative, turned, atol=1e-15)
    full = formulas.injection(np.array([2.0]), np.array([np.pi]), np.array([0.3]))
    np.testing.assert_allclose(full, 2.0 * np.exp(0.3j))


def test_directed_pair_keeps_the_mean_and_the_sign() -> None:
    value, ratio = np.array([-1.5, 2.0]), np.array([0.2, -0.1])
    forward, reverse = formulas.directed_pair(value, ratio)
    np.testing.assert_allclose(np.log(forward / reverse), ratio)
    np.testing.assert_allclose(forward * reverse, value**2)
    assert (np.sign(forward) == np.sign(value)).all()


def test_four_steps_give_the_phase_back() -> None:
    phases = np.linspace(-3.0, 3.0, 13)
    frames = [
        formulas.interference(phases, k * np.pi / 2, np.array([0.8]), np.array([0.1]))
        for k in range(4)
    ]
    found = np.arctan2(frames[3] - frames[1], frames[0] - frames[2])
    np.testing.assert_allclose(found, phases, atol=1e-14)


def test_quadrature_error_turns_q_alone() -> None:
    phases, error = np.array([0.3, 2.0]), np.array([0.1, -0.05])
    gain, offset = np.array([[1.0, 0.9], [1.1, 0.8]]), np.array([[0.1, 0.2], [0.3, 0.4]])
    i, q = formulas.quadratures(phases, gain, offset, error)
    np.testing.assert_allclose(i, offset[0] + gain[0] * np.cos(phases))
    np.testing.assert_allclose(q, offset[1] + gain[1] * np.sin(phases + error))
