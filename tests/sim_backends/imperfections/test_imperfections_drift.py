"""Drift: its laws on the simulated clock, where it acts, and that a resumed run drifts on."""

import numpy as np
import pytest
from imperfection_bench import (
    INPUTS,
    LAYERED,
    Hardware,
    around,
    exact_phases,
    imperfect,
    random_parameters,
    ready,
    table,
    wrapped,
)
from scipy import stats

from eqp_hw.errors import SubstrateError
from eqp_hw.substrate import Substrate

FREE = LAYERED.free


def fits(samples, sigma):
    samples = np.ravel(samples)
    low, high = stats.chi2.interval(1 - 1e-4, len(samples))
    return low < (samples**2).sum() / sigma**2 < high


def drifts(shape, settle_s, n_settles, rate=0.01, seeds=60, **options):
    """(seeds, N) read-out drift after some settlings."""
    found = []
    for seed in range(seeds):
        tables = (
            table("drift", shape=shape, rate=rate, **options),
            table("clock", settle_s=settle_s),
        )
        with imperfect(*tables, seed=seed) as substrate:
            ready(substrate)
            for _ in range(n_settles - 1):
                substrate.settle()
            if n_settles > 2:
                substrate.read_phases()  # in between: the law does not mind
            substrate.read_phases()
            found.append(substrate.truth().draws[0]["drift"])
    return np.array(found)


def test_linear_drift_grows_with_time():
    def read(settles):
        with imperfect(table("drift", rate=0.01), table("clock", settle_s=2.0)) as substrate:
            ready(substrate)
            for _ in range(settles - 1):
                substrate.settle()
            return wrapped(substrate.read_phases().phases - exact_phases())[0, FREE]

    once = read(1)
    np.testing.assert_allclose(read(3), 3 * once, atol=1e-9)
    assert np.abs(once).max() > 1e-3
    assert fits(drifts("linear", 2.0, 1), 0.02)


@pytest.mark.parametrize(("settle_s", "n"), [(4.0, 1), (2.0, 2), (0.5, 8)])
def test_random_walks_spread_as_the_root_of_time_in_however_many_steps(settle_s, n):
    walked = drifts("random-walk", settle_s, n)
    assert fits(walked, 0.01 * 2.0)
    assert not fits(walked, 0.01 * 2.0 * 1.2)


@pytest.mark.parametrize(("settle_s", "n"), [(5.0, 1), (0.5, 10)])
def test_one_over_f_is_stationary(settle_s, n):
    assert fits(drifts("one-over-f", settle_s, n, rate=0.05), 0.05)


def test_one_over_f_has_equal_power_in_each_octave():
    rate, n, seeds = 0.05, 2048, 6
    spectra = []
    for seed in range(seeds):
        tables = (
            table("drift", shape="one-over-f", rate=rate, shortest_s=1.0, longest_s=1000.0),
            table("clock", settle_s=0.0, read_s=1.0),
        )
        with imperfect(*tables, seed=seed) as substrate:
            ready(substrate)
            series = [substrate.read_phases().phases[0, FREE] for _ in range(n)]
        series = wrapped(np.array(series) - series[0])
        spectra.append((np.abs(np.fft.rfft(series, axis=0)) ** 2).mean(axis=1))
    power = np.mean(spectra, axis=0)
    frequency = np.fft.rfftfreq(n, 1.0)
    band = (frequency > 1 / 250) & (frequency < 1 / 12)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -1.2 < slope < -0.8


def test_correlation_falls_with_the_correlation_time():
    rate, apart = 0.05, []
    for seed in range(80):
        tables = (
            table("drift", shape="one-over-f", rate=rate, shortest_s=2.0, longest_s=2.0001),
            table("clock", settle_s=1.0),
        )
        with imperfect(*tables, seed=seed) as substrate:
            ready(substrate)
            substrate.read_phases()
            first = substrate.truth().draws[0]["drift"]
            substrate.settle()
            substrate.read_phases()
            apart.append(substrate.truth().draws[0]["drift"] - first)
    # E[(x(t+1) − x(t))²] = 2σ²(1 − exp(−1/2)).
    assert fits(apart, rate * np.sqrt(2 * (1 - np.exp(-0.5))))


def test_common_drift_moves_all_nodes_alike():
    with imperfect(table("drift", shape="random-walk", rate=0.1, common=True)) as substrate:
        ready(substrate)
        shift = wrapped(substrate.read_phases().phases - exact_phases())[:, FREE]
    np.testing.assert_allclose(shift, shift[0, 0], atol=1e-9)
    assert abs(shift[0, 0]) > 1e-3


def test_read_out_drifts_within_one_estimate_and_reads_have_time_stamps():
    tables = table("drift", rate=0.01), table("clock", settle_s=2.0, read_s=0.5)
    with imperfect(*tables) as substrate:
        ready(substrate)
        assert substrate.capabilities.settle_s == 2.0
        token = substrate.store_state()
        first = substrate.read_phases(3)
        assert (first.started_s, first.ended_s) == (2.0, 3.0)
        field = np.zeros((3, len(substrate.capabilities.nudge_nodes)), complex)
        nudged = substrate.measure_nudged(token, [(field, 1.0), (field, -1.0)], 2)
        slope = substrate.truth().draws[0]["drift"] / 9.0  # the clock of the last read
        times = [(m.reading.started_s, m.reading.ended_s) for m in nudged]
        assert times == [(5.5, 6.0), (8.5, 9.0)]
        for measurement, mean_s in zip(nudged, (5.75, 8.75), strict=True):
            shift = wrapped(measurement.reading.phases - exact_phases())[:, FREE]
            np.testing.assert_allclose(shift, np.tile(mean_s * slope[FREE], (3, 1)), atol=1e-8)


def test_fused_and_single_verbs_keep_the_same_time_and_drift():
    tables = (
        table("drift", shape="random-walk", rate=0.01),
        table("clock", settle_s=2.0, read_s=0.5),
    )

    def measured(call):
        with imperfect(*tables) as substrate:
            ready(substrate)
            token = substrate.store_state()
            ones = np.ones((3, len(substrate.capabilities.nudge_nodes)), complex)
            return call(substrate, token, [(ones, 0.01), (ones, -0.01), (ones, 0.0)], 4)

    fused = measured(lambda substrate, *rest: substrate.measure_nudged(*rest))
    single = measured(Substrate.measure_nudged)
    for one, other in zip(fused, single, strict=True):
        assert (one.reading.started_s, one.reading.ended_s) == (
            other.reading.started_s,
            other.reading.ended_s,
        )
        np.testing.assert_allclose(one.reading.phases, other.reading.phases, atol=1e-9)
        np.testing.assert_allclose(
            one.reading.standard_error, other.reading.standard_error, atol=1e-9
        )


@pytest.mark.parametrize("target", ["coupling", "bias"])
def test_parameters_drift_between_the_phases_of_an_estimate(target):
    with imperfect(table("drift", target=target, shape="random-walk", rate=0.02)) as substrate:
        asked = random_parameters()
        effective = ready(substrate, asked)
        np.testing.assert_array_equal(effective.flatten(), asked.flatten())
        seen = [substrate.truth().parameters.flatten()]
        free, token = substrate.read_phases().phases, substrate.store_state()
        field = np.zeros((3, len(substrate.capabilities.nudge_nodes)), complex)
        for measurement in substrate.measure_nudged(token, [(field, 1.0)] * 2):
            seen.append(measurement.reading.phases)
            assert np.abs(wrapped(measurement.reading.phases - free)).max() > 1e-4
        assert np.abs(wrapped(seen[1] - seen[2])).max() > 1e-4
        drift = substrate.truth().draws[0]["drift"]
        moved = substrate.truth().parameters.flatten() - asked.flatten()
        assert np.isin(np.round(drift, 12), np.round(moved, 12)).all()
        assert (moved[LAYERED.n_couplings :] != 0).any() == (target == "bias")


def test_slow_hardware_drifts_from_sample_to_sample():
    hardware = Hardware(noise=0.0)
    drift = table("drift", target="coupling", shape="random-walk", rate=0.02)
    with around(hardware, drift) as substrate:
        ready(substrate, inputs=INPUTS[:1])
        before = substrate.truth().parameters.coupling
        for _ in range(3):
            substrate.settle()
        np.testing.assert_array_equal(substrate.truth().parameters.coupling, before)
        assert hardware.programmed == 1
        substrate.set_inputs(INPUTS[1:2])
        assert hardware.programmed == 2
        assert np.abs(substrate.truth().parameters.coupling - before).max() > 1e-3


MOVING = [
    table("clock", settle_s=1.5, read_s=0.25),
    table("drift", shape="random-walk", rate=0.02),
    table("drift", shape="one-over-f", rate=0.02),
    table("drift", shape="linear", rate=0.01),
    table("drift", target="coupling", shape="random-walk", rate=0.02),
    table("drift", target="bias", shape="one-over-f", rate=0.02),
    table("readout-noise", sigma=0.01),
]


def one_step(substrate, step):
    """What a trainer does in one step; returns all that was read."""
    substrate.write_parameters(random_parameters(seed=step))
    substrate.set_inputs(INPUTS)
    substrate.reset(1000 + step)
    substrate.settle()
    token = substrate.store_state()
    ones = np.ones((3, len(substrate.capabilities.nudge_nodes)), complex)
    readings = [substrate.read_phases(2)]
    readings += [m.reading for m in substrate.measure_nudged(token, [(ones, 0.1), (ones, -0.1)])]
    return np.array([reading.phases for reading in readings])


def test_a_resumed_run_drifts_on_to_the_bit():
    with imperfect(*MOVING) as substrate:
        one_step(substrate, 0)
        one_step(substrate, 1)
        memory = {key: np.array(value) for key, value in substrate.store_memory().items()}
        without_break = one_step(substrate, 2)
        assert not np.array_equal(without_break, one_step(substrate, 2))  # it does drift on
    with imperfect(*MOVING) as substrate:
        substrate.write_parameters(random_parameters(seed=1))  # as a resumed run might do first
        substrate.restore_memory(memory)
        np.testing.assert_array_equal(one_step(substrate, 2), without_break)
    with imperfect(*MOVING) as substrate:
        assert not np.array_equal(one_step(substrate, 2), without_break)


def test_the_memory_of_other_imperfections_is_refused():
    with imperfect(*MOVING) as one, imperfect(*MOVING[:3]) as other:
        one_step(one, 0)
        with pytest.raises(SubstrateError, match="other imperfections"):
            other.restore_memory(one.store_memory())
