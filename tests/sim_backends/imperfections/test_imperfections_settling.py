"""Incomplete settling, update bias, and both through every way of measuring."""

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

from eqp_hw.errors import ConfigurationError
from eqp_hw.registry import make_substrate
from eqp_hw.substrate import Oscillation, Substrate

FREE = LAYERED.free
LATE = table("incomplete-settling", remaining=0.2)


def nudges(substrate, beta=0.1, count=2):
    sites = substrate.capabilities.nudge_nodes
    field = np.zeros((3, len(sites)), complex)
    field[:, [sites.index(7), sites.index(8)]] = 1j
    return [(field, beta * (-1) ** k) for k in range(count)]


def start_of(seed, batch=3):
    """The emulator's random start."""
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (batch, len(FREE)))


def exact_nudged():
    with imperfect() as plain:
        ready(plain)
        free, token = plain.read_phases().phases, plain.store_state()
        measured = plain.measure_nudged(token, nudges(plain))
        return [free[:, FREE]] + [m.reading.phases[:, FREE] for m in measured]


def test_a_share_of_the_way_from_the_start_remains():
    with imperfect(LATE) as substrate:
        ready(substrate, seed=7)
        first = substrate.read_phases().phases
        substrate.settle()
        second = substrate.read_phases().phases
        assert not substrate.capabilities.complex_nudge
    rest = exact_phases()
    way = wrapped(start_of(7) - rest[:, FREE])
    np.testing.assert_allclose(wrapped(first - rest)[:, FREE], 0.2 * way, atol=1e-9)
    np.testing.assert_allclose(wrapped(second - rest)[:, FREE], 0.04 * way, atol=1e-9)
    np.testing.assert_array_equal(first[:, LAYERED.inputs], INPUTS)


@pytest.mark.parametrize("fused", [True, False])
def test_nudged_states_lag_behind_from_the_stored_state(fused):
    free, plus, minus = exact_nudged()
    with imperfect(LATE) as substrate:
        ready(substrate, seed=7)
        token = substrate.store_state()
        call = (
            substrate.measure_nudged
            if fused
            else lambda *rest: Substrate.measure_nudged(substrate, *rest)
        )
        late = [m.reading.phases[:, FREE] for m in call(token, nudges(substrate))]
        back = substrate.read_phases().phases[:, FREE]
    before = free + 0.2 * wrapped(start_of(7) - free)
    np.testing.assert_allclose(wrapped(back - before), 0, atol=1e-9)
    for exact, read in zip((plus, minus), late, strict=True):
        np.testing.assert_allclose(wrapped(read - exact), 0.2 * wrapped(before - exact), atol=1e-9)
    # The common rest of the way cancels from the centred difference, not from the one-sided.
    centred = wrapped(late[0] - late[1])
    np.testing.assert_allclose(centred, 0.8 * wrapped(plus - minus), atol=1e-9)
    one_sided = wrapped(late[0] - back)
    response = wrapped(plus - free)
    assert np.abs(one_sided - response).max() > np.abs(response).max()


def test_clamped_outputs_are_where_they_are_held():
    with imperfect(LATE) as substrate:
        ready(substrate)
        held = np.full((3, 2), 0.4)
        substrate.clamp_outputs(held)
        substrate.settle()
        clamped = substrate.read_phases().phases
        np.testing.assert_allclose(clamped[:, LAYERED.outputs], held, atol=1e-12)
    with imperfect() as plain:
        ready(plain)
        plain.clamp_outputs(held)
        plain.settle()
        exact = plain.read_phases().phases
    assert np.abs(wrapped(clamped - exact)[:, LAYERED.hidden]).max() > 0.01


def test_a_langevin_substrate_has_true_dynamics_instead():
    with pytest.raises(ConfigurationError, match=r"imperfections\[1\].kind.*true dynamics"):
        make_substrate("langevin", LAYERED, {"imperfections": [table("clock"), LATE]})


def test_phases_that_move_between_reads_are_read_each_time():
    options = {"temperature": 0.0, "settle_time": 2.0, "read_interval": 1.0}
    seen = []
    for tables in ([], [table("readout-offset", sigma=0.1)]):
        with make_substrate("langevin", LAYERED, {**options, "imperfections": tables}) as one:
            one.write_parameters(random_parameters())
            one.set_inputs(INPUTS)
            one.reset(4)
            one.settle()
            seen.append(one.read_phases(4))
            if tables:
                offset = one.truth().draws[0]["offset"][FREE]
    shift = wrapped(seen[1].phases - seen[0].phases)[:, FREE]
    np.testing.assert_allclose(shift, np.tile(offset, (3, 1)), atol=1e-9)
    np.testing.assert_allclose(
        seen[1].standard_error[:, FREE], seen[0].standard_error[:, FREE], atol=1e-9
    )
    assert seen[0].standard_error[:, FREE].max() > 1e-3


def test_update_bias_is_a_constant_difference_that_the_null_contrast_shows():
    with imperfect(table("update-bias", sigma=0.05)) as substrate:
        ready(substrate)
        skew = substrate.truth().draws[0]["skew"][FREE]
        token = substrate.store_state()
        free = substrate.read_phases().phases[:, FREE]
        null = substrate.measure_nudged(token, nudges(substrate, 0.0))
        nudged = substrate.measure_nudged(token, nudges(substrate))
        single = Substrate.measure_nudged(substrate, token, nudges(substrate))
    np.testing.assert_allclose(free, exact_phases()[:, FREE], atol=1e-9)
    differences = [
        wrapped(pair[0].reading.phases - pair[1].reading.phases)[:, FREE]
        for pair in (null, nudged, single)
    ]
    np.testing.assert_allclose(differences[0], np.tile(skew, (3, 1)), atol=1e-9)
    _, plus, minus = exact_nudged()
    for found in differences[1:]:
        np.testing.assert_allclose(found - differences[0], wrapped(plus - minus), atol=1e-9)
    assert 0.01 < np.abs(skew).max() < 0.3


def test_update_bias_alternates_on_hardware_that_restores_nothing():
    with around(Hardware(noise=0.0), table("update-bias", sigma=0.05)) as substrate:
        ready(substrate, inputs=INPUTS[:1])
        skew = substrate.truth().draws[0]["skew"][FREE]
        free = substrate.read_phases().phases[:, FREE]
        shifts = []
        for field, _ in nudges(substrate, count=3):
            substrate.apply_nudge(0 * field[:1])
            substrate.settle()
            shifts.append(wrapped(substrate.read_phases().phases[:, FREE] - free)[0])
            substrate.apply_nudge(None)
            substrate.settle()
            np.testing.assert_allclose(substrate.read_phases().phases[:, FREE], free, atol=1e-9)
    np.testing.assert_allclose(shifts, np.outer([0.5, -0.5, 0.5], skew), atol=1e-9)


def test_skew_has_the_size_asked_for():
    skews = []
    for seed in range(60):
        with imperfect(table("update-bias", sigma=0.05), seed=seed) as substrate:
            skews.append(substrate.truth().draws[0]["skew"])
    low, high = stats.chi2.interval(1 - 1e-4, np.size(skews))
    assert low < (np.square(skews) / 0.05**2).sum() < high


def test_replicas_are_read_at_the_same_time_on_their_own_channels():
    tables = (
        table("update-bias", sigma=0.05),
        table("drift", rate=0.01),
        table("clock", settle_s=2.0, read_s=0.5),
        table("readout-noise", sigma=0.01),
    )
    with imperfect(*tables) as substrate:
        ready(substrate)
        token = substrate.store_state()
        measured, free = substrate.measure_together(token, nudges(substrate), 200)
        skew = substrate.truth().draws[0]["skew"][FREE]
    assert [(r.started_s, r.ended_s) for r in free] == [(2.0, 101.5)] * 2
    assert [(m.reading.started_s, m.reading.ended_s) for m in measured] == [(104.0, 203.5)] * 2
    mismatch = wrapped(free[0].phases - free[1].phases)[:, FREE]
    np.testing.assert_allclose(mismatch, np.tile(skew, (3, 1)), atol=5 * 0.01 * np.sqrt(2 / 200))
    assert np.abs(mismatch - skew).max() > 1e-6  # each replica has noise of its own
    _, plus, minus = exact_nudged()
    difference = wrapped(measured[0].reading.phases - measured[1].reading.phases)[:, FREE]
    np.testing.assert_allclose(
        difference - mismatch, wrapped(plus - minus), atol=5 * 0.01 * np.sqrt(4 / 200)
    )


class Follows(Hardware):
    """Hardware whose phases follow an oscillating nudge without delay."""

    def measure_oscillating(self, free, field, oscillation):
        from eqp_hw.substrate import OscillatingReading

        count = oscillation.periods * oscillation.reads_per_period
        angles = 2 * np.pi * np.arange(count) / oscillation.reads_per_period
        self.sent = np.array(field)
        still = self._emulator.read_phases().phases
        phases = np.array([still + 0.1 * np.cos(angle) for angle in angles])
        phases[:, :, LAYERED.inputs] = still[:, LAYERED.inputs]
        return OscillatingReading(angles, phases, np.zeros_like(phases), np.ones(1, bool))


def test_reads_of_an_oscillating_nudge_pass_the_read_path_at_their_own_times():
    tables = (
        table("drift", rate=0.01),
        table("readout-noise", sigma=1e-4),
        table("phase-bits", bits=2, where="nudge"),
    )
    hardware = Follows(noise=0.0, oscillating_nudge=True)
    oscillation = Oscillation(0.5, lead_periods=3, periods=4, reads_per_period=8)
    with around(hardware, *tables) as substrate:
        ready(substrate, inputs=INPUTS[:1])
        still, token = substrate.read_phases().phases, substrate.store_state()
        field = np.full((1, len(substrate.capabilities.nudge_nodes)), np.exp(0.2j))
        reading = substrate.measure_oscillating(token, field, oscillation)
        last_read_s = 1.0 + 6 * np.pi / 0.5 + reading.angles[-1] / 0.5
        slope = substrate.truth().draws[0]["drift"] / last_read_s
        later = substrate.read_phases()
        assert later.started_s == pytest.approx(1.0 + 7 * 2 * np.pi / 0.5)
    np.testing.assert_allclose(hardware.sent, 1.0, atol=1e-12)
    assert np.isnan(reading.standard_error[:, :, FREE]).all()
    times_s = 6 * np.pi / 0.5 + reading.angles / 0.5
    drift = times_s[:, None] * slope[FREE]
    moved = wrapped(reading.phases - still)[:, 0, FREE]
    np.testing.assert_allclose(moved, drift + 0.1 * np.cos(reading.angles)[:, None], atol=1e-3)
    assert np.abs(drift).max() > 0.05
    np.testing.assert_array_equal(reading.phases[-1][:, LAYERED.inputs], INPUTS[:1])


def test_late_phases_of_another_batch_are_forgotten():
    with imperfect(LATE) as substrate:
        ready(substrate)
        substrate.set_inputs(INPUTS[:1])
        substrate.reset(9)
        substrate.settle()
        read = substrate.read_phases().phases
        effective = random_parameters()
    with imperfect() as plain:
        ready(plain, effective, INPUTS[:1], 9)
        rest = plain.read_phases().phases
    way = wrapped(start_of(9, 1) - rest[:, FREE])
    np.testing.assert_allclose(wrapped(read - rest)[:, FREE], 0.2 * way, atol=1e-9)
