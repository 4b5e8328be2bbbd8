"""Lock-in: what a finite frequency costs, its alarm, and the refusal of one that is too fast."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_substrates import Around, QuasiStatic
from estimator_bench import (
    N_SAMPLES,
    NETWORK,
    controller,
    emulator,
    estimate,
    exact,
    free_round,
    log_slope,
    measured,
    relative,
    setting,
)
from typing_extensions import override

from eqp_hw.errors import CapabilityError
from eqp_hw.learning.estimators import Centred, LockIn
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import OscillatingReading, Oscillation, StateToken

BETA = 0.05
FREQUENCIES = (4e-3, 8e-3, 1.6e-2)


def _run(frequency: float, **options: object) -> np.ndarray:
    return measured(controller(LockIn(frequency, **options), BETA)).gradient.flatten()


def test_in_phase_error_grows_as_the_square_of_the_frequency() -> None:
    static = estimate("lock-in", BETA, substrate=QuasiStatic(emulator()))
    errors = [relative(_run(frequency), static) for frequency in FREQUENCIES]
    assert log_slope(FREQUENCIES, errors) == pytest.approx(2, abs=0.1)
    # And no more than the slowest mode explains.
    one = free_round(controller(Centred(), BETA))
    slowest = min(
        np.linalg.eigvalsh(jacobian(NETWORK, setting()[0], row).toarray())[0]
        for row in one.free.phases
    )
    assert errors[-1] < (FREQUENCIES[-1] / slowest) ** 2


def test_the_alarm_is_the_lag_of_the_phases() -> None:
    """First order in ω; in the limit |H⁻²τ|/|H⁻¹τ| of the worst sample times ω."""
    alarms = []
    for frequency in FREQUENCIES:
        alarms.append(measured(controller(LockIn(frequency), 1e-3)).alarm_max)
    assert log_slope(FREQUENCIES, alarms) == pytest.approx(1, abs=0.02)
    one = free_round(controller(Centred(), 1e-3))
    lags = []
    for row, outputs in zip(one.free.phases, one.field, strict=True):
        hessian = jacobian(NETWORK, setting()[0], row).toarray()
        torque = np.zeros(len(NETWORK.free))
        at = NETWORK.free_index[NETWORK.outputs]
        torque[at] = (np.exp(-1j * row[NETWORK.outputs]) * outputs).imag
        once = np.linalg.solve(hessian, torque)
        lags.append(np.linalg.norm(np.linalg.solve(hessian, once)) / np.linalg.norm(once))
    assert alarms[0] / FREQUENCIES[0] == pytest.approx(max(lags), rel=1e-3)
    assert np.isnan(measured(controller(Centred(), BETA)).alarm_max)


def test_the_order_survives_a_finite_frequency() -> None:
    """On the true flow, slow enough: harmonics lift the order of the bias."""
    one, three = (relative(_run(1e-4, harmonics=h), exact()) for h in (1, 3))
    assert one < 5e-3
    assert three < one / 100


def test_a_frequency_too_fast_is_refused_with_the_one_that_would_do() -> None:
    made = controller(LockIn(0.5), BETA)
    with pytest.raises(CapabilityError, match="too fast for the measured relaxation") as info:
        made.estimator.check(free_round(made))
    assert (info.value.field, info.value.value) == ("estimator.angular_frequency", 0.5)
    assert info.value.allowed is not None
    assert info.value.allowed.startswith("at most ")
    largest = float(info.value.allowed.removeprefix("at most "))
    LockIn(largest).check(free_round(made))
    with pytest.raises(CapabilityError):
        LockIn(1.3 * largest).check(free_round(made))
    # The error that was allowed is the error that is made.
    single = _single_sample_error(largest)
    assert 0.002 < single < 0.02


def _single_sample_error(frequency: float) -> float:
    """The largest relative error of one sample's first harmonic against the slow limit."""
    one = free_round(controller(Centred(), BETA))
    fast, slow = (LockIn(w).measure(one) for w in (frequency, frequency / 64))
    scale = np.ones(1)
    errors = []
    for sample in range(N_SAMPLES):
        rows = np.arange(N_SAMPLES) == sample
        a, b = (e.gradient(NETWORK, rows, scale).flatten() for e in (fast, slow))
        errors.append(relative(a, b))
    return max(errors)


@pytest.mark.parametrize(("limit", "passes"), [(1e-3, False), (1e-1, True)])
def test_the_limit_is_an_option(limit: float, passes: bool) -> None:
    made = controller(LockIn(0.03, settling_error=limit), BETA)
    if passes:
        made.estimator.check(free_round(made))
        return
    with pytest.raises(CapabilityError, match=r"allows 0\.1%"):
        made.estimator.check(free_round(made))


def test_read_noise_is_not_taken_for_lag() -> None:
    """Quasi-static, so nothing lags: what differs between two frequencies is noise alone."""
    sigma = 3e-3
    made = controller(LockIn(0.5, periods=4), BETA, substrate=QuasiStatic(emulator(), sigma))
    one = free_round(made)
    response = LockIn(0.5).measure(one).displacement.min()
    assert sigma / response > 0.02  # without allowance for noise, more than the limit of 1 %
    made.estimator.check(one)
    assert LockIn(0.5).measure(one).alarm.max() == 0.0


def test_periods_are_averaged_and_counted_in_the_error() -> None:
    """Repeats multiply the periods that are read, and the standard error falls as 1/√."""
    sigma, spread, stated = 1e-2, {}, {}
    for repeats in (1, 16):
        runs = []
        for seed in range(12):
            substrate = QuasiStatic(emulator(), sigma, seed)
            found = measured(controller(LockIn(), BETA, substrate=substrate, repeats=repeats))
            runs.append(found.gradient.flatten())
        spread[repeats] = np.sqrt(np.var(runs, axis=0, ddof=1).sum())
        stated[repeats] = np.linalg.norm(found.standard_error.flatten())
    for repeats in (1, 16):
        assert stated[repeats] == pytest.approx(spread[repeats], rel=0.25)
    assert stated[1] / stated[16] == pytest.approx(4, rel=0.2)


def test_a_sample_that_hops_is_not_settled() -> None:
    """A nudge strong enough to turn an output over; and one that only the reads betray."""
    made = controller(LockIn(), 30.0)
    one = free_round(made)
    found = made.estimator.measure(one)
    assert not found.settled.all()
    assert not found.good.all()
    one = free_round(
        controller(LockIn(), BETA, substrate=_Astray(emulator(), oscillating_nudge=True))
    )
    assert LockIn().measure(one).good.tolist() == [True, False, True, True]


class _Astray(Around):
    """Reads one sample as in another basin, and says that all is well."""

    @override
    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        calm = QuasiStatic(self.inner).measure_oscillating(free, field, oscillation)
        phases = calm.phases.copy()
        phases[:, 1, NETWORK.outputs[0]] += 2.0
        return dataclasses.replace(calm, phases=phases)
