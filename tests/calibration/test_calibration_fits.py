"""The pure fits by themselves, on synthetic data with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits.dynamics import (
    best_nudge,
    drift_of,
    nudge_response,
    relaxation_time,
)
from eqp_hw.calibration.fits.ellipse import Detection, fit_ellipse
from eqp_hw.calibration.fits.fringe import fit_fringe
from eqp_hw.calibration.fits.noise import noise_scaling, reads_for, usable_bits
from eqp_hw.calibration.fits.resistance import fit_resistances
from eqp_hw.network.graph import FloatArray

DRAWS = 250


def inside(in_sigma: FloatArray) -> float:
    return float((np.abs(in_sigma) < 1).mean())


def honest(in_sigma: FloatArray) -> None:
    assert inside(in_sigma) == pytest.approx(0.68, abs=0.1)
    assert np.sqrt((in_sigma**2).mean()) < 1.4


# -- resistance ----------------------------------------------------------------------------------
def resistors(rng: np.random.Generator, alpha: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    true = rng.uniform(450, 550, 8)
    voltage = np.linspace(0, 6, 9)[:, None] * np.ones(8)
    power = voltage**2 / true
    current = voltage / (true * (1 + alpha * power)) + 5e-6 * rng.normal(size=8)
    return true, voltage, current + 4e-7 * rng.normal(size=current.shape)


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_resistances_are_found_with_honest_errors(alpha: float) -> None:
    in_sigma = []
    for seed in range(DRAWS // 8):
        true, voltage, current = resistors(np.random.default_rng(seed), alpha)
        fit = fit_resistances(voltage, voltage, current, np.full(8, 500.0))
        half = true * (1 + alpha * 18.0 / true)
        in_sigma.append((fit.resistance_ohm - half) / fit.error_ohm)
        if alpha:
            assert np.abs((fit.slope_per_W - alpha) / fit.slope_error).max() < 5
    if not alpha:
        honest(np.concatenate(in_sigma))


def test_a_resistance_needs_four_levels() -> None:
    with pytest.raises(FitError, match="four or more"):
        fit_resistances(*(np.ones((3, 2)),) * 3, np.ones(2))


# -- ellipse -------------------------------------------------------------------------------------
TRUE = np.array([0.02, -0.03, 1.1, 0.93, 0.08])


def quadratures(rng: np.random.Generator, noise: float, n: int = 80) -> FloatArray:
    phase = rng.uniform(-np.pi, np.pi, n)
    voltage = np.stack(
        [TRUE[0] + TRUE[2] * np.cos(phase), TRUE[1] + TRUE[3] * np.sin(phase + TRUE[4])], axis=1
    )
    noisy: FloatArray = voltage + noise * rng.normal(size=voltage.shape)
    return noisy


def test_ellipses_are_found_with_honest_errors() -> None:
    in_sigma = []
    for seed in range(DRAWS):
        voltage = quadratures(np.random.default_rng(seed), 2e-3)
        fit = fit_ellipse(voltage[:, 0], voltage[:, 1])
        in_sigma.append((fit.values - TRUE) / np.sqrt(np.diag(fit.covariance)))
        assert fit.noise_V == pytest.approx(2e-3, rel=0.4)
    for column in np.array(in_sigma).T:
        honest(column)


def test_derivatives_of_phases_by_the_detectors_are_right() -> None:
    voltage = quadratures(np.random.default_rng(1), 0.0, 12)
    values = TRUE[:, None]
    by_phase, by_radius = Detection(values).derivatives(voltage)
    for k in range(5):
        step = np.zeros((5, 1))
        step[k] = 1e-6
        up, down = Detection(values + step), Detection(values - step)
        phase = (up.phases(voltage)[0] - down.phases(voltage)[0]) / 2e-6
        radius = (up.phases(voltage)[1] - down.phases(voltage)[1]) / 2e-6
        assert by_phase[k] == pytest.approx(phase, abs=1e-8)
        assert by_radius[k] == pytest.approx(radius, abs=1e-8)


def test_a_short_arc_is_no_ellipse() -> None:
    phase = np.linspace(0, 0.8, 40)
    noise = 1e-3 * np.random.default_rng(0).normal(size=(2, 40))
    with pytest.raises(FitError, match=r"ellipse"):
        fit_ellipse(np.cos(phase) + noise[0], np.sin(phase) + noise[1])


# -- fringes -------------------------------------------------------------------------------------
def fringe(rng: np.random.Generator, power: FloatArray) -> tuple[FloatArray, FloatArray]:
    true = np.array([np.pi / (0.025 * rng.uniform(0.8, 1.2)), rng.uniform(-np.pi, np.pi)])
    signal = 0.1 + 0.9 * np.cos(true[1] + true[0] * power)
    return true, signal + 5e-3 * rng.normal(size=len(power))


def test_fringes_are_found_with_honest_errors() -> None:
    power, in_sigma = np.linspace(0, 0.075, 25), []
    for seed in range(DRAWS):
        true, signal = fringe(np.random.default_rng(seed), power)
        fit = fit_fringe(power, signal, 0.025)
        away = np.array([fit.half_wave_power_W - np.pi / true[0], fit.phase - true[1]])
        away[1] = np.angle(np.exp(1j * away[1]))
        in_sigma.append(away / [fit.half_wave_error_W, fit.phase_error])
    for column in np.array(in_sigma).T:
        honest(column)


def test_clipped_fringes_are_fitted_without_the_clipped_part() -> None:
    power = np.linspace(0, 0.075, 60)
    true, signal = fringe(np.random.default_rng(4), power)
    fit = fit_fringe(power, np.clip(signal, -0.5, 0.7), 0.025)
    assert fit.clipped.sum() > 10
    assert fit.half_wave_power_W == pytest.approx(np.pi / true[0], rel=0.01)
    assert np.angle(np.exp(1j * (fit.phase - true[1]))) == pytest.approx(0.0, abs=0.02)


def test_a_fringe_without_contrast_is_refused() -> None:
    power, rng = np.linspace(0, 0.075, 25), np.random.default_rng(0)
    with pytest.raises(FitError, match="contrast"):
        fit_fringe(power, 0.3 + 1e-3 * rng.normal(size=25), 0.025)
    with pytest.raises(FitError, match="half a fringe"):
        fit_fringe(power / 10, np.cos(100 * power / 10), 0.025)


# -- noise ---------------------------------------------------------------------------------------
def test_white_noise_falls_with_the_root_of_the_reads() -> None:
    samples = 2e-3 * np.random.default_rng(0).normal(size=(1024, 6))
    found = noise_scaling(samples)
    assert found.exponent == pytest.approx(-0.5, abs=4 * found.exponent_error)
    assert found.deviation[0] == pytest.approx(np.full(6, 2e-3), rel=0.15)
    in_sigma = (found.deviation - 2e-3 / np.sqrt(found.averaged)[:, None]) / found.error
    assert inside(in_sigma) == pytest.approx(0.68, abs=0.2)


def test_slow_noise_is_not_averaged_away() -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=(1024, 3)), axis=0)
    assert noise_scaling(walk).exponent > 0


def test_bits_and_reads() -> None:
    assert usable_bits(2 * np.pi / 2**10 / np.sqrt(12)) == pytest.approx(10)
    assert reads_for(4e-3, 1e-3) == 16
    assert reads_for(1e-4, 1e-3) == 1


# -- dynamics ------------------------------------------------------------------------------------
def test_drift_rates_are_honest() -> None:
    in_sigma = []
    time = np.linspace(0, 10, 40)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rate = rng.normal(0, 1e-3, 4)
        phases = np.outer(time, rate) + 1e-3 * rng.normal(size=(40, 4))
        found = drift_of(time, phases, np.full(4, 1e-3))
        in_sigma.append((found.rate - rate) / found.rate_error)
    honest(np.concatenate(in_sigma))


def test_what_all_phases_do_alike_is_told_from_what_each_does() -> None:
    rng, time = np.random.default_rng(0), np.arange(100.0)
    common = np.cumsum(rng.normal(0, 3e-3, 100))[:, None]
    noise = 1e-3 * rng.normal(size=(100, 5))
    alike = drift_of(time, common + noise, np.full(5, 1e-3))
    assert alike.common_rms > 5 * alike.own_rms
    assert alike.walk == pytest.approx(np.full(5, 3e-3), rel=0.3)
    each = drift_of(time, np.cumsum(3e-3 * rng.normal(size=(100, 5)), 0) + noise, np.full(5, 1e-3))
    assert each.common_rms < each.own_rms
    still = drift_of(time, noise, np.full(5, 1e-3))
    assert abs(still.significance) < 4
    assert not still.walk.any()


def test_relaxation_times() -> None:
    time = np.linspace(0, 5, 30)
    assert relaxation_time(time, 0.3 * np.exp(-time / 0.7), 1e-3) == pytest.approx(0.7)
    assert np.isnan(relaxation_time(time, np.full(30, 1e-4), 1e-3))


def test_the_best_nudge_balances_noise_and_curvature() -> None:
    amplitude = np.array([0.1, 0.2, 0.3, 0.4])
    half = (0.5 * amplitude - 0.2 * amplitude**3)[:, None]
    response = nudge_response(amplitude, half, np.array([1e-4]))
    assert response.susceptibility == pytest.approx(np.array([0.5]))
    assert response.cubic == pytest.approx(np.array([-0.2]))
    best, _ = best_nudge([response], np.array([1e-3]))
    trial = np.geomspace(best / 3, best * 3, 2001)
    cost = (0.2 / 0.5 * trial**2) ** 2 + (1e-3 / (np.sqrt(2) * 0.5 * trial)) ** 2
    assert trial[np.argmin(cost)] == pytest.approx(best, rel=5e-3)
