"""Read path: noise, offsets, converters, and the order in which they act."""

import numpy as np
import pytest
from imperfection_bench import (
    INPUTS,
    LAYERED,
    exact_phases,
    imperfect,
    random_parameters,
    raw_reads,
    ready,
    table,
    wrapped,
)
from scipy import stats

from eqp_hw.errors import CapabilityError

FREE = LAYERED.free


def within_chi_square(samples, sigma, probability=1e-4):
    """Whether the variance about 0 fits N(0, σ²), two-sided."""
    total = (np.asarray(samples) ** 2).sum() / sigma**2
    low, high = stats.chi2.interval(1 - probability, np.size(samples))
    return low < total < high


def test_read_noise_is_white_and_of_the_size_asked_for():
    with imperfect(table("readout-noise", sigma=0.05)) as substrate:
        ready(substrate)
        noise = wrapped(raw_reads(substrate, 400) - exact_phases()[:, FREE])
    assert within_chi_square(noise, 0.05)
    assert not within_chi_square(noise, 0.052)  # the test is sharp enough to tell
    flat = noise.reshape(400, -1)
    correlations = np.corrcoef(flat.T)[np.triu_indices(flat.shape[1], 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(400)
    successive = (flat[1:] * flat[:-1]).mean() / 0.05**2
    assert abs(successive) < 5 / np.sqrt(flat.size)


def test_common_mode_noise_is_one_number_a_read():
    with imperfect(table("readout-noise", common_mode=0.1)) as substrate:
        ready(substrate)
        noise = wrapped(raw_reads(substrate, 300) - exact_phases()[:, FREE])
    np.testing.assert_allclose(noise, np.broadcast_to(noise[:, :, :1], noise.shape), atol=1e-12)
    assert within_chi_square(noise[:, :, 0], 0.1)


def test_averages_and_standard_errors_follow_from_the_noise():
    with imperfect(table("readout-noise", sigma=0.05)) as substrate:
        ready(substrate)
        assert substrate.capabilities.readout_noise == 0.05
        single = substrate.read_phases()
        many = substrate.read_phases(900)
    assert np.isnan(single.standard_error[:, FREE]).all()
    assert (single.standard_error[:, LAYERED.inputs] == 0).all()
    np.testing.assert_array_equal(single.phases[:, LAYERED.inputs], INPUTS)
    assert many.count == 900
    np.testing.assert_allclose(many.standard_error[:, FREE], 0.05 / 30, rtol=0.15)
    errors = wrapped(many.phases - exact_phases())[:, FREE]
    assert within_chi_square(errors, 0.05 / 30)


def test_read_noise_of_two_tables_adds_in_squares():
    tables = table("readout-noise", sigma=0.03), table("readout-noise", sigma=0.04)
    with imperfect(*tables) as substrate:
        ready(substrate)
        assert substrate.capabilities.readout_noise == pytest.approx(0.05)
        noise = wrapped(raw_reads(substrate, 300) - exact_phases()[:, FREE])
    assert within_chi_square(noise, 0.05)


def test_offsets_are_constant_and_hidden():
    with imperfect(table("readout-offset", sigma=0.2)) as substrate:
        ready(substrate)
        first, second = raw_reads(substrate, 2)
        (hidden,) = substrate.truth().draws
        assert substrate.capabilities.readout_noise == 0
    np.testing.assert_array_equal(first, second)
    shift = wrapped(first - exact_phases()[:, FREE])
    np.testing.assert_allclose(shift, np.tile(hidden["offset"][FREE], (3, 1)), atol=1e-12)
    assert 0.05 < np.abs(shift).max() < 1


def test_a_static_draw_has_the_standard_deviation_asked_for():
    offsets = []
    for seed in range(60):
        with imperfect(table("readout-offset", sigma=0.2), seed=seed) as substrate:
            offsets.append(substrate.truth().draws[0]["offset"])
    assert within_chi_square(offsets, 0.2)


@pytest.mark.parametrize("bits", [1, 3, 6])
def test_converters_return_the_nearest_level(bits):
    with imperfect(table("phase-bits", bits=bits)) as substrate:
        ready(substrate)
        read = substrate.read_phases()
        assert substrate.capabilities.readout_bits == bits
    step = 2 * np.pi / 2**bits
    levels = read.phases[:, FREE] / step
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)
    error = wrapped(read.phases - exact_phases())[:, FREE]
    assert 0 < np.abs(error).max() <= step / 2 + 1e-12
    np.testing.assert_array_equal(read.phases[:, LAYERED.inputs], INPUTS)


def test_dither_makes_coarse_converters_unbiased():
    n, step = 4000, 2 * np.pi / 16
    exact = exact_phases()[:, FREE]
    mean_error = {}
    for dither in ("none", "uniform"):
        with imperfect(table("phase-bits", bits=4, dither=dither)) as substrate:
            ready(substrate)
            reading = substrate.read_phases(n)
            mean_error[dither] = wrapped(reading.phases[:, FREE] - exact)
            if dither == "uniform":
                assert (reading.standard_error[:, FREE] <= step / 2 / np.sqrt(n) * 1.1).all()
    # A dithered read has a variance of at most (step/2)²; phasor averages of such broad
    # distributions add a bias of order step³ to that.
    allowed = 5 * step / 2 / np.sqrt(n) + step**3 / 20
    assert np.abs(mean_error["uniform"]).max() < allowed
    assert np.abs(mean_error["none"]).max() > 5 * allowed


def test_input_converters_clamp_what_they_say():
    coarse, exact = table("phase-bits", bits=4, where="inputs"), random_parameters()
    with imperfect(coarse) as substrate, imperfect() as plain:
        ready(substrate, exact)
        reading = substrate.read_phases()
        quantised = reading.phases[:, LAYERED.inputs]
        ready(plain, exact, quantised)
        np.testing.assert_allclose(reading.phases, plain.read_phases().phases, atol=1e-9)
    np.testing.assert_allclose(quantised, np.rint(INPUTS * 8 / np.pi) * np.pi / 8, atol=1e-12)
    assert np.abs(quantised - INPUTS).max() > 0.01


def test_nudge_converters_turn_the_field_to_a_level():
    field = np.full((3, len(LAYERED.free)), 0.1 * np.exp(1j * 0.3))
    with imperfect(table("phase-bits", bits=3, where="nudge")) as substrate, imperfect() as plain:
        for one, sent in ((substrate, field), (plain, np.full_like(field, 0.1))):
            ready(one)
            one.apply_nudge(sent[:, : len(one.capabilities.nudge_nodes)])
            one.settle()
        nudged = substrate.read_phases().phases
        np.testing.assert_allclose(nudged, plain.read_phases().phases, atol=1e-9)


def test_order_decides_whether_noise_is_converted():
    noise, bits = table("readout-noise", sigma=0.05), table("phase-bits", bits=5)
    step = 2 * np.pi / 32
    with imperfect(noise, bits) as noisy_first, imperfect(bits, noise) as bits_first:
        ready(noisy_first)
        ready(bits_first)
        on_grid = raw_reads(noisy_first, 400) / step
        off_grid = raw_reads(bits_first, 400) / step
    assert np.abs(on_grid - np.rint(on_grid)).max() < 1e-9
    assert np.abs(off_grid - np.rint(off_grid)).max() > 0.3
    # Noise before the converter dithers it; behind it, it leaves the converter's error alone.
    exact = exact_phases()[:, FREE]
    left = [
        np.abs(wrapped(np.angle(np.exp(1j * step * levels).mean(axis=0)) - exact)).mean()
        for levels in (on_grid, off_grid)
    ]
    assert left[0] < 0.6 * left[1]


def test_complex_phases_pass_noise_but_no_converter():
    field = np.full((3, len(LAYERED.free)), 1.0 + 0j)
    with imperfect(table("readout-noise", sigma=1e-3)) as noisy, imperfect() as plain:
        n_sites = len(plain.capabilities.nudge_nodes)
        readings = []
        for one in (noisy, plain):
            ready(one)
            one.apply_nudge(field[:, :n_sites], 0.05j)
            one.settle()
            readings.append(one.read_phases(4).complex_phases)
        error = (readings[0] - readings[1])[:, FREE]
        assert within_chi_square(error.real, 1e-3 / 2)
        assert within_chi_square(error.imag, 1e-3 / 2)
    with imperfect(table("phase-bits", bits=8)) as substrate:
        ready(substrate)
        assert not substrate.capabilities.complex_nudge
        with pytest.raises(CapabilityError, match="complex nudge"):
            substrate.apply_nudge(field[:, :n_sites], 0.05j)
