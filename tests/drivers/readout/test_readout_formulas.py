"""Phase formulas against closed forms, and circular statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.drivers.readout.formulas import (
    Quadratures,
    correct_quadratures,
    fit_quadrature_ellipse,
    five_step_phase,
    n_step_amplitude,
    n_step_phase,
    stepped_phase,
)
from eqp_hw.errors import DataError
from eqp_hw.physics.averaging import phasor_average, wrap

PHASES = np.linspace(-np.pi + 1e-6, np.pi, 101)


def fringes(phase, step, a=0.7, b=0.4):
    return a + b * np.cos(phase[None, :] + np.asarray(step)[:, None])


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_equal_steps(n):
    signal = fringes(PHASES, 2 * np.pi * np.arange(n) / n)
    assert np.abs(wrap(n_step_phase(signal) - PHASES)).max() < 1e-12
    assert np.allclose(n_step_amplitude(signal), 0.4)


def test_four_steps_equal_the_textbook_formula():
    signal = fringes(PHASES, np.pi / 2 * np.arange(4))
    textbook = np.arctan2(signal[3] - signal[1], signal[0] - signal[2])
    assert np.abs(wrap(n_step_phase(signal) - textbook)).max() < 1e-12


def test_five_steps_forgive_a_step_error_that_four_do_not():
    off = 1.05
    five = five_step_phase(fringes(PHASES, off * np.pi / 2 * np.arange(-2, 3)))
    four = n_step_phase(fringes(PHASES, off * np.pi / 2 * np.arange(4)))
    assert np.abs(wrap(five - PHASES)).max() < 2e-3
    # The four-step formula also turns all phases; its ripple about that is what hurts.
    error = wrap(four - PHASES)
    assert np.ptp(error) > 0.03


def test_known_unequal_steps():
    step = np.array([0.0, 1.1, 2.9, 4.0])
    phase, amplitude = stepped_phase(fringes(PHASES, step), step)
    assert np.abs(wrap(phase - PHASES)).max() < 1e-12
    assert np.allclose(amplitude, 0.4)
    with pytest.raises(DataError, match="do not tell"):
        stepped_phase(fringes(PHASES, [0.0, 2 * np.pi, 1.0]), np.array([0.0, 2 * np.pi, 1.0]))
    with pytest.raises(DataError, match="3 or more"):
        n_step_phase(np.ones((2, 1)))
    with pytest.raises(DataError, match="five"):
        five_step_phase(np.ones((4, 1)))


def test_phase_noise_of_n_steps_is_as_stated():
    rng = np.random.default_rng(1)
    phase, sigma = np.full(40_000, 0.3), 0.01
    signal = fringes(phase, np.pi / 2 * np.arange(4)) + sigma * rng.normal(size=(4, len(phase)))
    expected = sigma * np.sqrt(2 / 4) / 0.4
    assert abs(wrap(n_step_phase(signal) - 0.3).std() / expected - 1) < 0.02


def pair(phase, known):
    return (
        known.offset_I + known.amplitude_I * np.cos(phase),
        known.offset_Q + known.amplitude_Q * np.sin(phase + known.error),
    )


figure = st.floats(-0.4, 0.4)


@settings(deadline=None, max_examples=60)
@given(figure, figure, st.floats(0.5, 2), st.floats(0.5, 2), figure)
def test_imbalance_is_corrected_and_the_ellipse_fit_finds_it(o_i, o_q, g_i, g_q, error):
    known = Quadratures(*(np.asarray(x) for x in (o_i, o_q, g_i, g_q, error)))
    phase, radius = correct_quadratures(*pair(PHASES, known), known)
    assert np.abs(wrap(phase - PHASES)).max() < 1e-10
    assert np.allclose(radius, 1.0)
    fitted = fit_quadrature_ellipse(*pair(PHASES[::5], known))
    for name in ("offset_I", "offset_Q", "amplitude_I", "amplitude_Q", "error"):
        assert abs(getattr(fitted, name) - getattr(known, name)) < 1e-7


def test_uncorrected_imbalance_shows_in_phase_and_radius():
    known = Quadratures(*(np.asarray(x) for x in (0.05, 0.0, 1.1, 0.9, 0.1)))
    ideal = Quadratures(*(np.asarray(x) for x in (0.0, 0.0, 1.0, 1.0, 0.0)))
    phase, radius = correct_quadratures(*pair(PHASES, known), ideal)
    assert np.abs(wrap(phase - PHASES)).max() > 0.1
    assert np.abs(radius - 1).max() > 0.1


def test_points_on_no_ellipse_are_refused():
    with pytest.raises(DataError, match="ellipse"):
        fit_quadrature_ellipse(np.arange(8.0), np.arange(8.0))
    with pytest.raises(DataError, match="5 or more"):
        fit_quadrature_ellipse(np.arange(4.0), np.arange(4.0))


def test_phasors_are_averaged_across_the_cut():
    mean, error = phasor_average(np.array([[np.pi - 0.1], [-np.pi + 0.1]]))
    assert abs(abs(mean[0]) - np.pi) < 1e-12
    assert abs(error[0] - 0.1) < 1e-12
    assert np.isnan(phasor_average(np.zeros((1, 3)))[1]).all()


def test_standard_error_is_that_of_the_mean():
    rng = np.random.default_rng(5)
    reads = 3.1 + 0.02 * rng.normal(size=(400, 3000))
    mean, error = phasor_average(reads)
    assert abs(error.mean() / (0.02 / 20) - 1) < 0.02
    assert abs(wrap(mean - 3.1).std() / (0.02 / 20) - 1) < 0.05
