"""Encodings: known phases, no leakage, exact round trips, and data that do not fit."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eqp_hw.data.dataset import Dataset
from eqp_hw.errors import ConfigurationError, DataError
from eqp_hw.learning.encodings import (
    INPUT_ENCODINGS,
    TARGET_ENCODINGS,
    BinaryCodeTarget,
    BinaryTarget,
    BitsEncoding,
    InputEncoding,
    LinearEncoding,
    OneHotTarget,
    StandardEncoding,
    TargetEncoding,
    check_fits,
    input_encoder_from_config,
    make_input_encoding,
    make_target_encoding,
    target_encoding_from_config,
)
from eqp_hw.network.graph import FloatArray, Network

HALF = np.pi / 2
TRAIN = np.array([[0.0, 7.0, -1.0], [10.0, 7.0, 1.0], [5.0, 7.0, 0.5]])


def test_linear_maps_the_training_range_to_plus_minus_half_pi() -> None:
    phases = LinearEncoding().fit(TRAIN).encode(TRAIN)
    expected = np.array([[-HALF, 0, -HALF], [HALF, 0, HALF], [0, 0, np.pi / 4]])
    assert np.allclose(phases, expected, rtol=0, atol=1e-15)
    assert phases[:2, 0].tolist() == [-HALF, HALF]  # the ends to the last bit


def test_linear_goes_on_beyond_the_training_range() -> None:
    encoder = LinearEncoding().fit(TRAIN)
    assert np.allclose(encoder.encode([[20.0, 9.0, -3.0]]), [[3 * HALF, 0, -3 * HALF]])


def test_linear_with_the_range_of_the_data_set() -> None:
    encoder = LinearEncoding().fit(np.array([[3.0], [4.0]]), (0.0, 16.0))
    assert np.allclose(encoder.encode([[0.0], [8.0], [16.0]]), [[-HALF], [0.0], [HALF]])


def test_standard_has_mean_zero_and_the_deviation_asked_for() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal([5, -300, 0.1], [2, 40, 0], (500, 3))
    phases = StandardEncoding(scale_rad=0.3).fit(table).encode(table)
    assert np.allclose(phases.mean(axis=0), 0, atol=1e-12)
    assert np.allclose(phases.std(axis=0), [0.3, 0.3, 0], atol=1e-12)
    assert (phases[:, 2] == 0).all()  # constant, although .1 is no binary fraction


def test_bits() -> None:
    encoder = BitsEncoding().fit(np.array([[0.0, 1.0]]))
    assert encoder.encode([[0.0, 1.0], [1.0, 1.0]]).tolist() == [[-HALF, HALF], [HALF, HALF]]
    with pytest.raises(DataError, match=r"features = 0\.5: row 1, column 0 is not a bit"):
        encoder.encode([[0.0, 1.0], [0.5, 1.0]])
    with pytest.raises(DataError, match="is not a bit"):
        BitsEncoding().fit(np.array([[0.0, 2.0]]))


def test_bits_and_linear_agree_on_bits() -> None:
    table = np.array([[0.0, 1.0], [1.0, 0.0]])
    linear = LinearEncoding().fit(table, (0.0, 1.0)).encode(table)
    assert np.array_equal(linear, BitsEncoding().fit(table).encode(table))


@pytest.mark.parametrize("kind", list(INPUT_ENCODINGS))
def test_reference_phases_are_appended_to_every_sample(kind: str) -> None:
    table = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    plain = make_input_encoding(kind).fit(table)
    encoding = make_input_encoding(kind, {"reference_phases": [0.0, 1.25]})
    encoder = encoding.fit(table)
    assert encoder.n_inputs == encoding.n_inputs(2) == 4
    assert np.array_equal(encoder.encode(table)[:, :2], plain.encode(table))
    assert encoder.encode(table)[:, 2:].tolist() == [[0.0, 1.25]] * 3


finite = st.floats(-1e6, 1e6, allow_subnormal=False)
tables = st.integers(1, 4).flatmap(
    lambda d: hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(d)), elements=finite)
)


@settings(deadline=None, max_examples=60)
@given(tables, st.sampled_from(["linear", "standard"]), st.lists(finite, max_size=2))
def test_a_fitted_encoder_survives_json_bit_by_bit(
    table: FloatArray, kind: str, reference: list[float]
) -> None:
    encoder = make_input_encoding(kind, {"reference_phases": reference}).fit(table)
    back = input_encoder_from_config(json.loads(json.dumps(encoder.to_config())))
    assert back == encoder
    probe = table + 0.3
    assert back.encode(probe).tobytes() == encoder.encode(probe).tobytes()


@settings(deadline=None, max_examples=60)
@given(tables)
def test_training_features_stay_in_range_and_samples_are_independent(table: FloatArray) -> None:
    encoder = LinearEncoding().fit(table)
    phases = encoder.encode(table)
    assert (np.abs(phases) <= HALF * (1 + 1e-15)).all()
    for i in range(len(table)):
        assert np.array_equal(encoder.encode(table[i : i + 1])[0], phases[i])


@settings(deadline=None, max_examples=100)
@given(
    hnp.arrays(np.float64, (3, 2), elements=st.floats(allow_nan=False, allow_infinity=False)),
    st.sampled_from(["linear", "standard"]),
)
def test_extreme_features_give_finite_phases_or_a_data_error(table: FloatArray, kind: str) -> None:
    with contextlib.suppress(DataError):
        assert np.isfinite(make_input_encoding(kind).fit(table[:2]).encode(table)).all()


def test_a_feature_range_too_wide_for_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="row 0, column 1 belongs to a range too wide"):
        LinearEncoding().fit(np.array([[0.0, -1.7e308], [1.0, 1.7e308]]))
    with pytest.raises(DataError, match="row 0, column 0 lies too far outside"):
        LinearEncoding().fit(np.array([[0.0], [1e-300]])).encode([[1e300]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[1.0, 2.0]], r"has shape \(1, 2\).*3 columns"),
        ([1.0, 2.0, 3.0], r"has shape \(3,\)"),
        ([[1.0, np.nan, 3.0]], "row 0, column 1 is not finite"),
        ([["a", "b", "c"]], "not a table of real numbers"),
    ],
)
def test_features_of_another_form_are_refused(table: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LinearEncoding().fit(TRAIN).encode(table)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("fourier", {}, "encoding.input = 'fourier'.*allowed: linear, standard, bits"),
        ("linear", {"scale_rad": 1.0}, r"encoding\.scale_rad: there is no such option"),
        ("standard", {"scale_rad": -1.0}, r"encoding\.scale_rad = -1"),
        ("standard", {"scale_rad": float("nan")}, r"encoding\.scale_rad = nan"),
        ("standard", {"scale_rad": "x"}, "encoding = "),
        ("linear", {"reference_phases": [float("inf")]}, r"encoding\.reference_phases = \[inf\]"),
        ("linear", {"reference_phases": ["x"]}, "encoding = "),
        ("linear", {"reference_phases": 1.0}, "encoding = "),
    ],
)
def test_bad_settings_are_named(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_input_encoding(kind, options)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"kind": "linear"},
        {"kind": ["linear"]},
        {"kind": "linear", "n_features": 2, "reference_phases": [], "low": [0.0], "high": [1.0]},
        {"kind": "linear", "n_features": 1, "reference_phases": [], "low": ["x"], "high": [1.0]},
        {"kind": "bits", "n_features": 1, "reference_phases": [float("nan")]},
        {"kind": "bits", "n_features": 1, "reference_phases": [], "low": [0.0]},
    ],
)
def test_a_damaged_description_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        input_encoder_from_config(config)


def test_one_hot() -> None:
    target = OneHotTarget(3)
    assert target.encode([1, 2]).tolist() == [[-HALF, HALF, -HALF], [-HALF, -HALF, HALF]]
    phases = np.array([[0.1, 0.2, 3.0], [4.0, -0.5, 9.0]])
    assert np.array_equal(target.scores(phases), np.sin(phases))
    assert target.decode(phases).tolist() == [1, 2]


def test_binary() -> None:
    target = BinaryTarget()
    assert target.encode([0, 1]).tolist() == [[-HALF], [HALF]]
    assert target.decode([[0.1], [-0.1], [3.0], [-3.0], [5 * np.pi / 2]]).tolist() == [
        1,
        0,
        1,
        0,
        1,
    ]
    assert target.decode([[0.0]]).tolist() == [0]


def test_binary_code_is_the_class_number_in_bits() -> None:
    target = BinaryCodeTarget(6)
    assert target.n_outputs == 3
    for k in range(6):
        signs = (target.encode([k])[0] > 0).tolist()
        assert sum(2**b for b, on in enumerate(signs) if on) == k


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 17), st.integers(0, 2**32 - 1))
def test_binary_code_reads_the_signs_where_they_spell_a_class(k: int, seed: int) -> None:
    target = BinaryCodeTarget(k)
    phases = np.random.default_rng(seed).uniform(-np.pi, np.pi, (20, target.n_outputs))
    spelt = ((np.sin(phases) > 0) * 2 ** np.arange(target.n_outputs)).sum(axis=1)
    read = target.decode(phases)
    assert (read < k).all()
    assert np.array_equal(read[spelt < k], spelt[spelt < k])


ALL_TARGETS = [OneHotTarget(2), OneHotTarget(10), BinaryTarget(), *map(BinaryCodeTarget, (2, 5, 8))]


@pytest.mark.parametrize("target", ALL_TARGETS, ids=str)
def test_targets_are_read_back_also_when_noisy_or_turned_once(target: TargetEncoding) -> None:
    labels = np.arange(target.n_classes)
    phases = target.encode(labels)
    assert phases.shape == (target.n_classes, target.n_outputs)
    noise = np.random.default_rng(0).uniform(-1, 1, phases.shape)
    for disturbed in (phases, phases + 2 * np.pi, phases + noise):
        assert np.array_equal(target.decode(disturbed), labels)
    assert target.scores(phases).shape == (target.n_classes, target.n_classes)
    assert target_encoding_from_config(json.loads(json.dumps(target.to_config()))) == target


@pytest.mark.parametrize("target", ALL_TARGETS, ids=str)
@pytest.mark.parametrize("bad", [-1, 10, 2**40])
def test_labels_out_of_range_are_refused(target: TargetEncoding, bad: int) -> None:
    with pytest.raises(DataError, match=rf"labels\[1\] = {bad}.*0\.\.{target.n_classes - 1}"):
        target.encode([0, bad])


def test_labels_that_are_no_integers_are_refused() -> None:
    for labels in ([0.0, 1.0], [[0, 1]], ["a"]):
        with pytest.raises(DataError, match="class numbers"):
            OneHotTarget(2).encode(labels)


def test_a_failed_read_has_no_class() -> None:
    with pytest.raises(DataError, match="output phases = nan: row 0, column 1"):
        OneHotTarget(2).decode([[0.0, np.nan]])
    with pytest.raises(DataError, match="2 columns"):
        OneHotTarget(2).decode([[0.0]])


def test_target_encodings_by_name() -> None:
    assert {make_target_encoding(kind, 2).kind for kind in TARGET_ENCODINGS} == set(
        TARGET_ENCODINGS
    )
    with pytest.raises(ConfigurationError, match=r"encoding\.target = 'gray'.*one-hot"):
        make_target_encoding("gray", 2)
    with pytest.raises(DataError, match="n_classes = 3: one output tells only two"):
        make_target_encoding("binary", 3)
    with pytest.raises(DataError, match="n_classes = 1"):
        make_target_encoding("one-hot", 1)


@pytest.mark.parametrize("kind", sorted(TARGET_ENCODINGS))
def test_smaller_targets_are_read_as_the_same_classes(kind: str) -> None:
    target = make_target_encoding(kind, 2, 0.3)
    phases = target.encode([0, 1])
    assert np.allclose(np.abs(phases), 0.3)
    assert target.decode(phases).tolist() == [0, 1]
    assert target_encoding_from_config(target.to_config()) == target
    for amplitude in (0.0, -0.3, 1.6, float("nan")):
        with pytest.raises(DataError, match="target_amplitude"):
            make_target_encoding(kind, 2, amplitude)


def network(n_inputs: int, n_outputs: int) -> Network:
    edges = [(i, n_inputs + o) for i in range(n_inputs) for o in range(n_outputs)]
    n = n_inputs + n_outputs
    return Network.create(n, edges, range(n_inputs), range(n_inputs, n))


DATA = Dataset("toy", np.eye(4), np.array([0, 1, 2, 3]))


@pytest.mark.parametrize(
    ("inputs", "targets", "graph"),
    [
        (LinearEncoding(), OneHotTarget(4), network(4, 4)),
        (LinearEncoding((0.0,)), OneHotTarget(4), network(5, 4)),
        (BitsEncoding(), BinaryCodeTarget(4), network(4, 2)),
    ],
)
def test_data_that_fit(inputs: InputEncoding, targets: TargetEncoding, graph: Network) -> None:
    check_fits(DATA, inputs, targets, graph)
    phases = inputs.fit(DATA.features).encode(DATA.features)
    assert phases.shape == (4, len(graph.inputs))
    assert targets.encode(DATA.labels).shape == (4, len(graph.outputs))


@pytest.mark.parametrize(
    ("inputs", "targets", "graph", "message"),
    [
        (LinearEncoding(), OneHotTarget(4), network(3, 4), "has 4 features.*network has 3"),
        (LinearEncoding(), OneHotTarget(4), network(5, 4), "take 4 input nodes.*network has 5"),
        (
            LinearEncoding((0.0,)),
            OneHotTarget(4),
            network(4, 4),
            "1 reference phases, which take 5.*network has 4.*allowed: 5 input nodes",
        ),
        (LinearEncoding(), OneHotTarget(4), network(4, 3), "take 4 output nodes.*network has 3"),
        (LinearEncoding(), BinaryCodeTarget(4), network(4, 4), "take 2 output nodes.*has 4"),
        (LinearEncoding(), OneHotTarget(3), network(4, 3), "4 classes.*made for 3"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_both_numbers(
    inputs: InputEncoding, targets: TargetEncoding, graph: Network, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_fits(DATA, inputs, targets, graph)
