"""Stated errors from both sides: neither too small nor too large for how figures scatter."""

from __future__ import annotations

import numpy as np
import pytest
from memory_session import MemorySession, rig_of

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits.crosstalk import expected_crosstalk
from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.fringe import fit_fringe
from eqp_hw.calibration.fits.network_fit import NetworkFit
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.resistance import fit_resistances
from eqp_hw.calibration.fits.sweep import fit_sweep
from eqp_hw.calibration.steps.network import _figures
from eqp_hw.calibration.steps.sweeps import SweepStep
from eqp_hw.network.graph import FloatArray


def honest(in_sigma: FloatArray, points: float = 0.10) -> None:
    """Share within one standard error, and the root of the mean square, from both sides."""
    assert (np.abs(in_sigma) < 1).mean() == pytest.approx(0.68, abs=points)
    assert 0.85 < np.sqrt((in_sigma**2).mean()) < 1.2


# -- resistance ----------------------------------------------------------------------------------
def _resistor(true_ohm: FloatArray, alpha: float, voltage_V: FloatArray) -> FloatArray:
    """Return currents through R = R₀(1 + αP), P = V²/R, solved exactly."""
    ohm = (true_ohm + np.sqrt(true_ohm**2 + 4 * true_ohm * alpha * voltage_V**2)) / 2
    return np.asarray(voltage_V / ohm)


def test_resistors_of_the_tests_obey_their_law() -> None:
    voltage, true = np.array([3.0]), np.array([500.0])
    ohm = voltage / _resistor(true, 0.05, voltage)
    assert ohm == pytest.approx(500 * (1 + 0.05 * voltage**2 / ohm), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.1, -0.1])
def test_a_resistance_that_grows_with_power_is_that_at_half_the_power(alpha: float) -> None:
    voltage = np.linspace(0, 6, 9)[:, None] * np.ones(8)
    in_sigma, shift = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = rng.uniform(450, 550, 8)
        current = _resistor(true, alpha, voltage) + 5e-6 * rng.normal(size=8)
        current = current + 1e-6 * rng.normal(size=current.shape)
        fit = fit_resistances(voltage, voltage, current, np.full(8, 500.0))
        assert (fit.slope_per_W != 0).all()
        at_half = np.full(8, 6 / np.sqrt(2))
        half = at_half / _resistor(true, alpha, at_half)
        in_sigma.append((fit.resistance_ohm - half) / fit.error_ohm)
        shift.append((half / true - 1) / (fit.error_ohm / half))
        assert (fit.slope_per_W / alpha) == pytest.approx(np.ones(8), abs=0.2)
    # At no power, or at all of it, resistances would be off by many of their errors.
    assert np.abs(shift).min() > 8
    honest(np.concatenate(in_sigma))


# -- crosstalk of the joint fit ------------------------------------------------------------------
@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.8])
def test_the_error_of_crosstalk_counts_how_both_slopes_err_together(correlation: float) -> None:
    """X = S_hj/S_hh: against the scatter of the ratio over slopes drawn with the covariance."""
    session = MemorySession(rig_of(), 3)
    model, nominal = NetworkModel(session.rig), session.known
    elements = Elements.of(session.plant.truths.figures, model.n_edges)
    elements.slope[4, 3] = 0.4 * elements.slope[4, 4]  # enough for the sign to matter
    n = model.n_free
    rows = {
        "offset": np.array([4]),
        "slope": np.array([[4, 3], [4, 4]]),
        "maximum": np.array([4, 5]),
        "ratio": np.zeros(0, dtype=np.int64),
        "detection": np.arange(n),
        "turn": np.zeros(0, dtype=np.int64),
    }
    layout, end = {}, 0
    for name, some in rows.items():
        count = len(some) * (5 if name == "detection" else 1)
        layout[name] = slice(end, end + count)
        end += count
    covariance = 1e-8 * np.eye(end)
    size = 0.01 * elements.slope[4, 4] * np.array([0.5, 1.0])
    both = np.outer(size, size) * [[1, correlation], [correlation, 1]]
    covariance[layout["slope"], layout["slope"]] = both
    fit = NetworkFit(
        elements,
        Detection.of(nominal),
        np.eye(end),
        layout,
        rows,
        np.zeros((9, n)),
        np.zeros((9, n)),
        1.0,
        np.ones((9, n)),
        np.zeros(0),
        stated=covariance,
    )
    _, errors = _figures(fit, model, nominal)
    mean = np.array([elements.slope[4, 3], elements.slope[4, 4]])
    drawn = np.random.default_rng(0).multivariate_normal(mean, both, 40_000)
    assert errors["crosstalk"][4, 3] == pytest.approx((drawn[:, 0] / drawn[:, 1]).std(), rel=0.03)
    half_wave = np.pi / drawn[:, 1]
    assert errors["half_wave_power_W"][4] == pytest.approx(half_wave.std(), rel=0.03)


# -- sweeps --------------------------------------------------------------------------------------
def test_errors_of_sweeps_are_honest_where_the_calibration_is_exact() -> None:
    """Slopes, the curve of phases, and its bend, which is none."""
    slopes, curve, bends = [], [], []
    for seed in range(1, 9):
        session = MemorySession(rig_of(), seed)
        hidden = session.known = session.plant.truths.figures
        rig, model = session.rig, NetworkModel(session.rig)
        step = SweepStep()
        data = session.measure(step)
        fit = step.fit(data, hidden, rig)
        away = fit.figures["sweep_half_wave_power_W"] - hidden.half_wave_power_W
        slopes.append((away / fit.uncertainties["sweep_half_wave_power_W"])[model.seen])
        told = fit.uncertainties["sweep_crosstalk"] > 0
        away = fit.figures["sweep_crosstalk"] - hidden.crosstalk
        slopes.append(away[told] / fit.uncertainties["sweep_crosstalk"][told])
        elements, detection = Elements.of(hidden, model.n_edges), Detection.of(hidden)
        noise = 2e-3 / np.sqrt(32) * np.sqrt((1 / hidden.readout_amplitude_V**2).mean(axis=0))
        power = data["setpoint_V"] ** 2 / hidden.resistance_ohm
        near = expected_crosstalk(rig)
        for heater in np.flatnonzero(model.seen):
            part = slice(heater * step.levels, (heater + 1) * step.levels)
            rows = np.append(heater, np.flatnonzero(near[:, heater] & model.seen))
            made = fit_sweep(
                model,
                elements,
                detection,
                int(heater),
                rows,
                power[part],
                data["detector_V"][part],
                noise,
            )
            curve.append((made.theta - elements.theta(power[part])[:, heater]) / made.theta_error)
            bends.append(made.bend / made.bend_error)
    honest(np.concatenate(slopes))
    honest(np.concatenate(curve))
    # Three degrees of freedom beside the curve: a misfit by chance raises the error, never lowers.
    assert 0.62 < (np.abs(bends) < 1).mean() < 0.88
    assert 0.65 < np.sqrt(np.mean(np.square(bends))) < 1.2


# -- fringes -------------------------------------------------------------------------------------
@pytest.mark.parametrize("noise", [5e-3, 2e-2])
def test_the_half_wave_power_of_half_a_fringe_is_honest(noise: float) -> None:
    """Wherever on the circle it lies, and with a nominal power that is off."""
    power, in_sigma = np.linspace(0, 0.025 * 1.2, 25), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        phase = rng.uniform(-np.pi, np.pi)
        signal = 0.1 + 0.9 * np.cos(phase + np.pi * power / 0.025) + noise * rng.normal(size=25)
        fit = fit_fringe(power, signal, 0.025 * rng.uniform(0.8, 1.15))
        in_sigma.append((fit.half_wave_power_W - 0.025) / fit.half_wave_error_W)
    honest(np.array(in_sigma))


@pytest.mark.parametrize("nominal_W", [0.025, 0.02, 0.014])
def test_less_than_half_a_fringe_is_refused_whatever_was_expected(nominal_W: float) -> None:
    """Of a quarter, half-wave powers are off by up to seven of their errors."""
    power, rng = np.linspace(0, 0.025 * 0.7, 25), np.random.default_rng(0)
    signal = np.cos(1.0 + np.pi * power / 0.025) + 2e-3 * rng.normal(size=25)
    with pytest.raises(FitError, match="less than half a fringe"):
        fit_fringe(power, signal, nominal_W)
