"""Initial parameters: moments of each scheme against the published ones."""

import numpy as np
import pytest
from scipy import stats

from eqp_hw.errors import ParameterError, ZeroModeError
from eqp_hw.network import all_to_all, convolutional, layered, locally_connected, square_lattice
from eqp_hw.network.initial import initial_parameters

LARGE = all_to_all(150, 1, 1)


def draw(network=LARGE, seed=1, **options):
    return initial_parameters(network, np.random.default_rng(seed), **options)


@pytest.mark.parametrize(
    ("scheme", "distribution"),
    [
        ("normal", stats.norm(0, 1)),
        ("symmetrised-normal", stats.norm(0, np.sqrt(0.5))),
        ("inverse-size", stats.norm(0, 1 / np.sqrt(150))),
        ("fan", stats.norm(0, 1 / np.sqrt(298))),
        ("uniform", stats.uniform(-1, 2)),
    ],
)
def test_couplings_follow_their_distribution(scheme, distribution):
    coupling = draw(coupling=scheme).coupling
    assert stats.kstest(coupling, distribution.cdf).pvalue > 1e-3
    scaled = draw(coupling=scheme, scale=0.5).coupling
    np.testing.assert_allclose(scaled, coupling / 2)


def test_symmetrised_normal_is_the_half_sum_with_the_transpose():
    a = np.random.default_rng(3).standard_normal((400, 400))
    published = ((a + a.T) / 2)[np.triu_indices(400, 1)]
    ours = draw(coupling="symmetrised-normal").coupling
    assert stats.ks_2samp(published, ours).pvalue > 1e-3


def test_constant_couplings():
    assert (draw(coupling="constant", scale=0.3).coupling == 0.3).all()


def test_fan_of_dense_layers_is_the_sum_of_their_sizes():
    network = layered([40, 60, 30])
    coupling = draw(network).coupling
    for kind, width in ((0, 100), (1, 90)):
        part = coupling[network.group_kind == kind]
        assert stats.kstest(part * np.sqrt(width), "norm").pvalue > 1e-3


def test_fan_counts_only_bonds_of_the_same_kind():
    network = locally_connected([12, 12], window=4, n_outputs=7, intra="nearest")
    # Every hidden node has 16 bonds to the input, 7 to the outputs; every output 81.
    coupling = draw(network).coupling
    reference = np.random.default_rng(1).standard_normal(network.n_couplings)
    ratio = (reference / coupling) ** 2
    kinds = np.array(network.kind_names)[network.group_kind]
    np.testing.assert_allclose(ratio[kinds == "layer1-layer2"], 7 + 81)
    below = ratio[kinds == "layer0-layer1"]
    np.testing.assert_allclose(below, below[0])
    assert 16 + 81 * 16 / 144 < below[0] < 32


def test_kind_scales_act_on_their_kind_alone():
    network = square_lattice(6, 6, skips=[2])
    plain, scaled = draw(network), draw(network, kind_scales={"skip-2": 0.1})
    factor = np.where(network.group_kind == network.kind_names.index("skip-2"), 0.1, 1.0)
    np.testing.assert_allclose(scaled.coupling, plain.coupling * factor)


def test_shared_couplings_are_drawn_once():
    network = convolutional([6, 6], 3, channels=2, n_outputs=2)
    assert draw(network).coupling.shape == (network.n_couplings,)


def test_bias_fields():
    assert not draw().bias.any()
    network = square_lattice(60, 60, 1, 1)
    free = network.free
    uniform = draw(network, bias="uniform").bias
    assert not uniform[network.inputs].any()
    assert stats.kstest(np.abs(uniform[free]), stats.uniform(0, 0.5).cdf).pvalue > 1e-3
    angle = np.angle(uniform[free])
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    normal = draw(network, bias="normal", bias_scale=0.2).bias
    assert stats.kstest(np.abs(normal[free]) / 0.2, stats.halfnorm.cdf).pvalue > 1e-3


def test_bias_offset_moves_one_role_along_zero():
    network = layered([3, 5, 2])
    plain = draw(network, bias="uniform").bias
    moved = draw(network, bias="uniform", bias_offset={"hidden": 0.5, "output": 1.5}).bias
    expected = np.zeros(network.n_nodes)
    expected[network.hidden], expected[network.outputs] = 0.5, 1.5
    np.testing.assert_allclose(moved - plain, expected, atol=1e-15)


def test_the_same_seed_gives_the_same_parameters():
    first, again, other = draw(bias="normal"), draw(bias="normal"), draw(seed=2, bias="normal")
    np.testing.assert_array_equal(first.flatten(), again.flatten())
    assert (first.coupling != other.coupling).all()


def test_directed_parameters_start_reciprocal_but_apart():
    parameters = draw(directed=True)
    np.testing.assert_array_equal(parameters.coupling, parameters.coupling_reverse)
    assert not np.shares_memory(parameters.coupling, parameters.coupling_reverse)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"coupling": "gaussian"}, "initial.coupling"),
        ({"bias": "some"}, "initial.bias"),
        ({"scale": float("nan")}, "initial.scale"),
        ({"scale": "1"}, "initial.scale"),
        ({"bias_scale": float("inf")}, "initial.bias_scale"),
        ({"kind_scales": {"skip-9": 1.0}}, "initial.kind_scales"),
        ({"bias_offset": {"input": 1.0}}, "initial.bias_offset"),
        ({"bias_offset": {"hidden": float("nan")}}, "initial.bias_offset.hidden"),
        ({"kind_scales": {"coupling": None}}, "initial.kind_scales.coupling"),
    ],
)
def test_mistakes(options, field):
    with pytest.raises(ParameterError) as caught:
        draw(**options)
    assert caught.value.field == field
    assert "allowed: " in str(caught.value)


def test_no_couplings_and_no_bias_leave_a_zero_mode():
    with pytest.raises(ZeroModeError):
        draw(scale=0.0)
    assert not draw(scale=0.0, bias="normal").coupling.any()
