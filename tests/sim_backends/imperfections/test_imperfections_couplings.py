"""Write path: converters, ranges, disorder, crosstalk, directions; what is known of them."""

import numpy as np
import pytest
from imperfection_bench import (
    INPUTS,
    LAYERED,
    TIED,
    Hardware,
    around,
    imperfect,
    random_parameters,
    ready,
    table,
)
from scipy import stats

from eqp_hw.errors import ConfigurationError, ParameterError, ZeroModeError
from eqp_hw.learning.rounding import stochastically_rounded
from eqp_hw.network.graph import Network
from eqp_hw.physics.energy import force
from eqp_hw.physics.parameters import Parameters

HIDDEN = [
    table("coupling-disorder", relative=0.1),
    table("coupling-disorder", absolute=0.05),
    table("coupling-disorder", bias_relative=0.3),
    table("coupling-disorder", bias_absolute=0.05),
    table("coupling-crosstalk", strength=0.2),
    table("nonreciprocity", relative=0.2),
    table("nonreciprocity", absolute=0.1),
]


def couplings_within(low, high, network=LAYERED, seed=0):
    rng = np.random.default_rng(seed)
    return Parameters(
        rng.uniform(low, high, network.n_couplings), np.zeros(network.n_nodes, complex)
    )


@pytest.mark.parametrize("bits", [1, 2, 6, 12])
def test_couplings_are_programmed_at_the_nearest_level_and_say_so(bits):
    asked = couplings_within(-0.7, 1.3)
    with imperfect(table("coupling-bits", bits=bits, low=-0.7, high=1.3)) as substrate:
        effective = substrate.write_parameters(asked)
        assert substrate.capabilities.coupling_bits == bits
        assert substrate.capabilities.coupling_range == (-0.7, 1.3)
        held = substrate.truth().parameters
    levels = np.linspace(-0.7, 1.3, 2**bits)
    nearest = levels[np.abs(asked.coupling[:, None] - levels).argmin(axis=1)]
    np.testing.assert_allclose(effective.coupling, nearest, atol=1e-12)
    np.testing.assert_array_equal(held.coupling, effective.coupling)
    assert np.abs(effective.coupling - asked.coupling).max() > 0.2 * (2 / 2**bits)


def test_both_ends_of_a_range_are_levels():
    with imperfect(table("coupling-bits", bits=6, low=-0.3, high=0.7)) as substrate:
        ends = np.where(np.arange(LAYERED.n_couplings) % 2, -0.3, 0.7)
        effective = substrate.write_parameters(Parameters(ends, np.zeros(9, complex)))
        np.testing.assert_array_equal(effective.coupling, ends)
        np.testing.assert_array_equal(
            substrate.write_parameters(effective).coupling, effective.coupling
        )


@pytest.mark.parametrize("bits", [None, 6])
def test_couplings_out_of_range_are_refused_by_name_and_the_old_ones_stay(bits):
    options = {} if bits is None else {"bits": bits}
    with imperfect(table("coupling-bits", low=-0.5, high=0.5, **options)) as substrate:
        before = substrate.write_parameters(couplings_within(-0.5, 0.5))
        asked = couplings_within(-0.5, 0.5, seed=1)
        asked.coupling[4] = 0.6
        with pytest.raises(ParameterError) as error:
            substrate.write_parameters(asked)
        assert (error.value.field, error.value.value) == ("coupling[4]", 0.6)
        assert error.value.allowed == "-0.5 to 0.5"
        np.testing.assert_array_equal(substrate.truth().parameters.coupling, before.coupling)
        if bits is None:
            inside = couplings_within(-0.5, 0.5)
            np.testing.assert_array_equal(
                substrate.write_parameters(inside).coupling, inside.coupling
            )


@pytest.mark.parametrize(("bits", "low", "high"), [(4, -1.5, 1.0), (2, -2.0, 2.0), (5, -0.3, 2.0)])
def test_stochastic_rounding_through_a_converter_is_right_in_the_mean(bits, low, high):
    """The grid told is the grid made, also where the substrate inside goes farther."""
    draws, rng = 1500, np.random.default_rng(6)
    asked = couplings_within(low, high)
    asked.bias[LAYERED.free] = 0.3
    with around(Hardware(), table("coupling-bits", bits=bits, low=low, high=high)) as substrate:
        able, held = substrate.capabilities, []
        assert (able.coupling_range, able.coupling_bits) == ((low, high), bits)
        for _ in range(draws):
            rounded = stochastically_rounded(asked, able, rng)
            held.append(substrate.write_parameters(rounded).coupling)
            np.testing.assert_allclose(held[-1], rounded.coupling, atol=1e-12)
    step = (high - low) / (2**bits - 1)
    part = (asked.coupling - low) / step % 1
    error = step * np.sqrt(part * (1 - part) / draws)
    assert (np.abs(np.mean(held, axis=0) - asked.coupling) < 4.5 * error + 1e-12).all()


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-3.0, 3.0, "low = -3.0.*-2 to 2, or no bits"), (-1.0, 2.5, "high = 2.5.*-2 to 2")],
)
def test_levels_beyond_the_range_of_the_substrate_are_refused(low, high, words):
    """Those within are no whole range of 2^bits levels: nobody could round to them."""
    with pytest.raises(ConfigurationError, match=rf"imperfections\[0\].{words}"):
        around(Hardware(), table("coupling-bits", bits=4, low=low, high=high))
    with around(Hardware(), table("coupling-bits", low=low, high=high)) as substrate:
        able = substrate.capabilities
        assert (able.coupling_range, able.coupling_bits) == ((max(low, -2.0), min(high, 2.0)), None)


@pytest.mark.parametrize(("low", "high", "told"), [(-2.0, 2.0, 8), (-1.0, 1.0, 7), (0.0, 0.3, 4)])
def test_part_of_a_range_has_no_finer_steps_than_the_whole(low, high, told):
    """2^8 levels over −2 to 2 within: over less of it there are fewer."""
    inner = Hardware(coupling_bits=8)
    with around(inner, table("coupling-bits", low=low, high=high)) as substrate:
        able = substrate.capabilities
        assert able.coupling_bits == told
        assert (high - low) / (2**told - 1) > 4 / 255 * (1 - 1e-9)
        assert (high - low) / (2 ** (told + 1) - 1) < 4 / 255
    with around(Hardware(coupling_bits=8), table("coupling-bits", bits=3)) as substrate:
        assert substrate.capabilities.coupling_bits == 3


def test_zero_modes_are_refused_though_no_level_is_zero():
    with (
        imperfect(table("coupling-bits", bits=4)) as substrate,
        pytest.raises(ZeroModeError),
    ):
        substrate.write_parameters(Parameters.zeros(LAYERED))


def test_bias_converters_keep_zero_and_refuse_what_is_too_large():
    asked = random_parameters(bias=0.2)
    asked.bias[5] = 0.0
    with imperfect(table("bias-bits", bits=4, maximum=0.7)) as substrate:
        effective = substrate.write_parameters(asked)
        step = 0.7 / 7
        for part in (effective.bias.real, effective.bias.imag):
            np.testing.assert_allclose(part / step, np.rint(part / step), atol=1e-9)
        assert np.abs((effective.bias - asked.bias).real).max() <= step / 2 + 1e-12
        assert not np.array_equal(effective.bias, asked.bias)
        assert effective.bias[5] == 0
        assert (effective.bias[LAYERED.inputs] == 0).all()
        asked.bias[6] = 0.1 + 0.8j
        with pytest.raises(ParameterError, match=r"bias\[6\].*-0.7 to 0.7"):
            substrate.write_parameters(asked)


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda one: "-".join(map(str, one.values())))
def test_hidden_errors_act_on_the_phases_and_nobody_is_told(hidden):
    with imperfect(hidden) as substrate:
        asked = random_parameters()
        effective = ready(substrate, asked)
        np.testing.assert_array_equal(effective.flatten(), asked.flatten())
        phases, truth = substrate.read_phases().phases, substrate.truth()
    assert np.abs(force(truth.network, truth.parameters, phases)).max() < 1e-9
    assert np.abs(force(LAYERED, asked, phases)).max() > 1e-3


def many_draws(kind_table, seeds=80):
    drawn = []
    for seed in range(seeds):
        with imperfect(kind_table, seed=seed) as substrate:
            substrate.write_parameters(Parameters(np.full(20, 0.5), np.zeros(9, complex)))
            truth = substrate.truth()
            drawn.append((truth.parameters, truth.lag))
    return drawn


def fits(samples, sigma):
    samples = np.ravel(samples)
    low, high = stats.chi2.interval(1 - 1e-4, len(samples))
    return low < (samples**2).sum() / sigma**2 < high


@pytest.mark.parametrize(
    ("hidden", "sigma"),
    [
        (table("coupling-disorder", relative=0.1), 0.05),
        (table("coupling-disorder", absolute=0.1), 0.1),
        (table("coupling-disorder", relative=0.06, absolute=0.04), 0.05),
    ],
)
def test_disorder_has_the_size_asked_for_and_is_the_same_both_ways(hidden, sigma):
    drawn = [parameters for parameters, _ in many_draws(hidden)]
    assert all(parameters.coupling_reverse is None for parameters in drawn)
    assert fits([parameters.coupling - 0.5 for parameters in drawn], sigma)


@pytest.mark.parametrize(
    ("hidden", "sigma"),
    [
        (table("nonreciprocity", relative=0.2), 0.1),
        (table("nonreciprocity", absolute=0.2), 0.2),
    ],
)
def test_antisymmetric_parts_have_the_size_asked_for(hidden, sigma):
    drawn = [parameters for parameters, _ in many_draws(hidden)]
    forward = np.array([parameters.coupling for parameters in drawn])
    reverse = np.array([parameters.coupling_reverse for parameters in drawn])
    np.testing.assert_allclose(forward + reverse, 1.0, atol=1e-12)
    assert fits(forward - 0.5, sigma)


def test_phase_lags_reach_the_network_with_mean_and_spread():
    hidden = table("nonreciprocity", phase_lag_mean=0.3, phase_lag_spread=0.1)
    lags = np.array([lag for _, lag in many_draws(hidden)])
    assert fits(lags - 0.3, 0.1)
    assert lags.shape == (80, LAYERED.n_edges, 2)
    with imperfect(hidden) as substrate:
        asked = random_parameters()
        ready(substrate, asked)
        assert not substrate.capabilities.complex_nudge
        phases, lag = substrate.read_phases().phases, substrate.truth().lag
        more = 0.05 * np.ones_like(lag)
        substrate.set_coupling_lag(more)
        np.testing.assert_allclose(substrate.truth().lag, lag + more)
    torque = np.zeros_like(phases)
    for (i, j), coupling, (ij, ji) in zip(LAYERED.edges, asked.coupling, lag, strict=True):
        torque[:, i] += coupling * np.sin(phases[:, j] - phases[:, i] + ij)
        torque[:, j] += coupling * np.sin(phases[:, i] - phases[:, j] + ji)
    torque += (np.exp(-1j * phases) * asked.bias).imag
    assert np.abs(torque[:, LAYERED.free]).max() < 1e-9
    assert np.abs(force(LAYERED, asked, phases)[:, LAYERED.free]).max() > 0.01


def test_crosstalk_is_the_sum_over_neighbours_that_decays_with_distance():
    asked = random_parameters()
    with imperfect(table("coupling-crosstalk", strength=0.2, range=0.5)) as substrate:
        substrate.write_parameters(asked)
        really = substrate.truth().parameters.coupling
    middle = LAYERED.positions[LAYERED.edges].mean(axis=1)
    gap = np.linalg.norm(middle[:, None] - middle[None], axis=2)
    kernel = 0.2 * np.exp(-gap / 0.5) * (1 - np.eye(len(gap)))
    expected = asked.coupling + kernel @ np.abs(asked.coupling)
    np.testing.assert_allclose(really, expected, atol=1e-3)
    assert np.abs(really - asked.coupling).max() > 0.05


def test_crosstalk_goes_by_channel_where_bonds_are_at_one_place():
    flat = Network.create(
        4, [(0, 1), (0, 2), (0, 3), (1, 2)], inputs=[0], outputs=[3], positions=np.zeros((4, 3))
    )
    with imperfect(table("coupling-crosstalk", strength=0.1), network=flat) as substrate:
        substrate.write_parameters(Parameters(np.array([0, 1.0, -0.5, 0]), np.ones(4) * (1 + 0j) *
                                              np.array([0, 1, 1, 1])))  # fmt: skip
        really = substrate.truth().parameters.coupling
    e = np.exp(-1.0)
    expected = [0.1 * (e + 0.5 * e**2), 1 + 0.05 * e, -0.5 + 0.1 * e, 0.1 * (e**2 + 0.5 * e)]
    np.testing.assert_allclose(really, expected, atol=1e-12)


def test_crosstalk_is_by_the_heat_of_both_couplings_of_a_directed_bond():
    """J_ij and J_ji each heat half of what a bond does; what leaks in acts on both."""
    rng, bias = np.random.default_rng(8), random_parameters().bias
    forward, reverse = rng.uniform(-0.9, 0.9, (2, LAYERED.n_couplings))
    with imperfect(table("coupling-crosstalk", strength=0.2, range=0.5)) as substrate:
        matrix = substrate.truth().draws[0]["matrix"]
        substrate.write_parameters(Parameters(forward, bias, reverse))
        really = substrate.truth().parameters
        only = []
        for one, other in ((forward, 0 * reverse), (0 * forward, reverse)):
            substrate.write_parameters(Parameters(one, bias, other))
            made = substrate.truth().parameters
            np.testing.assert_allclose(made.coupling - one, made.coupling_reverse - other)
            only.append(made.coupling - one)
    leaked = matrix @ (np.abs(forward) + np.abs(reverse)) / 2
    np.testing.assert_allclose(really.coupling, forward + leaked, atol=1e-12)
    np.testing.assert_allclose(really.coupling_reverse, reverse + leaked, atol=1e-12)
    # Heat adds up, and either direction makes its own.
    np.testing.assert_allclose(only[0] + only[1], leaked, atol=1e-12)
    assert min(np.abs(part).max() for part in only) > 0.02


def test_bonds_that_share_a_coupling_have_errors_of_their_own():
    asked = random_parameters(TIED, bias=0.0)
    asked = Parameters(np.linspace(0.3, 0.8, TIED.n_couplings), asked.bias)
    bits = table("coupling-bits", bits=6)
    with imperfect(bits, table("coupling-disorder", relative=0.1), network=TIED) as substrate:
        assert substrate.network is TIED
        effective = ready(substrate, asked)
        truth, phases = substrate.truth(), substrate.read_phases().phases
    assert effective.coupling.shape == (TIED.n_couplings,)
    levels = (effective.coupling + 1) / 2 * 63
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)
    assert truth.network.n_couplings == TIED.n_edges
    first, second = truth.parameters.coupling[:2]
    assert first != second
    assert np.abs(force(truth.network, truth.parameters, phases)).max() < 1e-9
    with imperfect(bits, network=TIED) as substrate:
        substrate.write_parameters(asked)
        assert substrate.truth().network.n_couplings == TIED.n_couplings  # nothing to untie for


def test_order_decides_whether_disorder_is_converted():
    bits, disorder = table("coupling-bits", bits=4), table("coupling-disorder", relative=0.2)
    held = []
    for tables in ((disorder, bits), (bits, disorder)):
        with imperfect(*tables) as substrate:
            effective = substrate.write_parameters(random_parameters())
            held.append(substrate.truth().parameters.coupling)
        levels = (effective.coupling + 1) / 2 * 15
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)  # known either way
    levels = (np.array(held) + 1) / 2 * 15
    assert np.abs(levels[0] - np.rint(levels[0])).max() < 1e-9
    assert np.abs(levels[1] - np.rint(levels[1])).max() > 0.1


def test_hidden_truths_saturate_where_the_hardware_ends_and_refuse_nothing():
    hardware = Hardware(coupling_range=(-1.0, 1.0))
    with around(hardware, table("coupling-disorder", absolute=0.5)) as substrate:
        asked = Parameters(np.full(LAYERED.n_couplings, 0.9), np.zeros(9, complex))
        np.testing.assert_array_equal(substrate.write_parameters(asked).coupling, asked.coupling)
        really = substrate.truth().parameters.coupling
        assert really.max() == 1.0
        assert len(np.unique(really)) > 5
        with pytest.raises(ParameterError, match=r"coupling\[0\] = 1.1.*-1 to 1"):
            substrate.write_parameters(asked.map(lambda part: part * 1.1 / 0.9))


def test_what_the_substrate_inside_rounds_is_known_too():
    class Coarse(Hardware):
        def write_parameters(self, parameters):
            rounded = Parameters(np.round(parameters.coupling, 1), parameters.bias)
            return super().write_parameters(rounded)

    with around(Coarse(), table("readout-noise", sigma=0.1)) as substrate:
        asked = random_parameters()
        effective = substrate.write_parameters(asked)
        np.testing.assert_allclose(effective.coupling, np.round(asked.coupling, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("wanted", "changes", "words"),
    [
        (table("nonreciprocity", relative=0.1), {}, "relative = 0.1.*both ways"),
        (table("nonreciprocity", absolute=0.1), {}, "absolute = 0.1.*both ways"),
        (table("nonreciprocity", phase_lag_mean=0.1), {}, "phase_lag_mean = 0.1.*phase lag"),
        (table("nonreciprocity", phase_lag_spread=0.1), {}, "phase_lag_spread = 0.1"),
        (table("coupling-bits", low=3.0, high=4.0), {}, "low = 3.0.*overlaps -2 to 2"),
        (
            table("coupling-disorder", bias_absolute=0.1),
            {"bias_control": "none"},
            "bias_absolute = 0.1.*no bias fields",
        ),
        (table("drift", target="bias"), {"bias_control": "none"}, "target = 'bias'"),
    ],
)
def test_what_the_substrate_cannot_do_is_refused_and_the_substrate_closed(wanted, changes, words):
    hardware = Hardware(**changes)
    with pytest.raises(ConfigurationError, match=rf"imperfections\[1\].{words}"):
        around(hardware, table("clock"), wanted)
    with pytest.raises(Exception, match="closed"):
        hardware.set_inputs(INPUTS[:1])
