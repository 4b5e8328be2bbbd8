"""Two substrates as one with two replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from eqp_hw.conformance.suite import SubstrateConformance
from eqp_hw.errors import CapabilityError, ConfigurationError, ParameterError, SubstrateError
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.registry import list_substrates, make_substrate
from eqp_hw.replica_pair import ReplicaPair, common_capabilities
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.substrate import Oscillation, Substrate

NETWORK = Network.create(
    9,
    [(i, j) for i in range(3) for j in range(3, 7)] + [(i, j) for i in range(3, 7) for j in (7, 8)],
    inputs=range(3),
    outputs=(7, 8),
)
INPUTS = np.random.default_rng(5).uniform(-1, 1, (3, 3))


def _emulator(network: Network = NETWORK, **options: object) -> XYEmulator:
    return XYEmulator(network, EmulatorOptions.model_validate({"threads": 1, **options}))


def _table(*imperfections: dict[str, object]) -> dict[str, object]:
    return {"kind": "emulator", "threads": 1, "imperfections": list(imperfections)}


def _parameters(seed: int = 1, scale: float = 0.5) -> Parameters:
    rng = np.random.default_rng(seed)
    bias = np.zeros(9, complex)
    bias[NETWORK.free] = rng.normal(0, 0.3, 6) + 1j * rng.normal(0, 0.3, 6)
    return Parameters(np.clip(rng.normal(0, scale, NETWORK.n_couplings), -0.9, 0.9), bias)


def _ready(substrate: Substrate) -> None:
    substrate.write_parameters(_parameters())
    substrate.set_inputs(INPUTS)
    substrate.reset(3)
    assert substrate.settle().settled.all()


class TestReplicaPairConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self) -> Iterator[ReplicaPair]:
        with ReplicaPair(_emulator(), _emulator()) as pair:
            yield pair


def test_replicas_are_nudged_apart_and_come_back() -> None:
    pair, alone = ReplicaPair(_emulator(), _emulator()), _emulator()
    for substrate in (pair, alone):
        _ready(substrate)
    field = np.full((3, len(pair.capabilities.nudge_nodes)), 0.05 * np.exp(0.4j))
    fields = [(field, 1.0), (field, -1.0)]
    token = pair.store_state()
    nudged, free = pair.measure_together(token, fields)
    expected, _ = alone.measure_together(alone.store_state(), fields)
    for one, other in zip(nudged, expected, strict=True):
        assert np.allclose(one.reading.phases, other.reading.phases, atol=1e-9)
        assert one.outcome.settled.all()
    assert np.abs(nudged[0].reading.phases - nudged[1].reading.phases).max() > 0.01
    assert np.array_equal(free[0].phases, free[1].phases)
    for replica in (pair.first, pair.second):
        assert np.allclose(replica.read_phases().phases, free[0].phases, atol=1e-9)
    with pytest.raises(CapabilityError, match="one nudge or two"):
        pair.measure_together(token, [*fields, (field, 1.0)])
    pair.set_inputs(INPUTS)
    with pytest.raises(SubstrateError, match="forgotten"):
        pair.measure_together(token, fields)


def test_the_first_is_read_and_both_are_driven() -> None:
    pair = ReplicaPair(_emulator(), _emulator())
    _ready(pair)
    token, free = pair.store_state(), pair.read_phases().phases
    outputs = free[:, [7, 8]] + 0.1
    pair.clamp_outputs(outputs)
    assert pair.settle().settled.all()
    for replica in (pair.first, pair.second):
        assert np.allclose(replica.read_phases().phases[:, [7, 8]], outputs)
    field = np.full((3, len(pair.capabilities.nudge_nodes)), 0.01 + 0j)
    found = pair.measure_oscillating(token, field, Oscillation(0.01))
    assert found.settled.all()
    assert np.abs(found.phases[0] - free).max() > 1e-3
    assert np.allclose(pair.second.read_phases().phases, free, atol=1e-9)


def test_replicas_draw_their_imperfections_apart_and_repeatably() -> None:
    offset = {"kind": "readout-offset", "sigma": 0.1}

    def mismatch(seed: int, **second: object) -> np.ndarray:
        pair = make_substrate(
            "replica-pair", NETWORK, {"first": _table(offset), **second}, seed=seed
        )
        _ready(pair)
        assert isinstance(pair, ReplicaPair)
        return pair.first.read_phases().phases - pair.second.read_phases().phases

    assert np.abs(mismatch(1)[:, NETWORK.free]).min() > 1e-4
    assert np.array_equal(mismatch(1), mismatch(1))
    assert not np.allclose(mismatch(1), mismatch(2))
    assert not np.allclose(mismatch(1), mismatch(1, second=_table()))


def test_thermal_noise_of_replicas_is_independent() -> None:
    """Equal noise would cancel in the mismatch of the two, as that of two machines never does."""
    warm = {"kind": "langevin", "temperature": 1e-3, "settle_time": 30.0}
    pair = make_substrate("replica-pair", NETWORK, {"first": warm}, seed=1)
    assert isinstance(pair, ReplicaPair)
    bias = np.zeros(9, complex)
    bias[NETWORK.free] = 2.0  # one basin, so that nothing but noise can make phases alike
    pair.write_parameters(Parameters(np.full(NETWORK.n_couplings, 0.1), bias))
    pair.set_inputs(np.tile(INPUTS[:1], (60, 1)))
    pair.reset(3)
    replicas = (pair.first, pair.second)
    assert np.array_equal(*(one.read_phases().phases for one in replicas))
    pair.settle()
    a, b = (one.read_phases().phases[:, NETWORK.free] for one in replicas)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.2


def test_what_one_refuses_is_written_to_neither() -> None:
    narrow = _table({"kind": "coupling-bits", "low": -1.0, "high": 1.0})
    pair = make_substrate("replica-pair", NETWORK, {"first": _table(), "second": narrow})
    assert isinstance(pair, ReplicaPair)
    assert pair.capabilities.coupling_range == (-1.0, 1.0)
    _ready(pair)
    before = pair.read_phases().phases
    strong = _parameters()
    with pytest.raises(ParameterError):
        pair.write_parameters(Parameters(strong.coupling + 5.0, strong.bias))
    for replica in (pair.first, pair.second):
        assert replica.settle().settled.all()
        assert np.allclose(replica.read_phases().phases, before, atol=1e-9)


def test_capabilities_are_what_both_can_do() -> None:
    able = _emulator().capabilities
    weak = dataclasses.replace(
        able,
        batch_limit=4,
        signed_nudge=False,
        nudge_maximum=2.0,
        nudge_levels=(0.1, 0.2),
        coupling_range=(-1.0, 3.0),
        coupling_bits=6,
        bias_control="amplitude",
        readout_noise=0.01,
        settle_s=1.0,
        replicas=1,
    )
    other = dataclasses.replace(
        able,
        nudge_levels=(0.2, 0.4),
        coupling_range=(-2.0, 2.0),
        bias_control="complex",
        settle_s=2.0,
        complex_nudge=False,
    )
    both = common_capabilities(weak, other)
    assert both == common_capabilities(other, weak)
    assert both == dataclasses.replace(
        weak,
        nudge_levels=(0.2,),
        coupling_range=(-1.0, 2.0),
        complex_nudge=False,
        settle_s=2.0,
        replicas=2,
    )
    apart = dataclasses.replace(able, coupling_range=(5.0, 6.0))
    with pytest.raises(ConfigurationError, match="no coupling can be programmed into both"):
        common_capabilities(weak, apart)


def test_different_substrates_are_no_replicas() -> None:
    smaller = Network.create(9, NETWORK.edges[:-1], inputs=range(3), outputs=(7, 8))
    with pytest.raises(ConfigurationError, match="different networks"):
        ReplicaPair(_emulator(), _emulator(smaller))
    with pytest.raises(ConfigurationError, match="nudged at different nodes"):
        ReplicaPair(_emulator(), _emulator(nudge_sites="outputs"))


def test_memory_is_kept_apart() -> None:
    drift = {"kind": "drift", "shape": "random-walk", "rate": 1e-3}
    options = {"first": _table(drift, {"kind": "clock", "settle_s": 1.0}), "second": _table()}
    pair = make_substrate("replica-pair", NETWORK, options)
    _ready(pair)
    memory = pair.store_memory()
    assert memory
    assert all(key.startswith("first ") for key in memory)
    fresh = make_substrate("replica-pair", NETWORK, options)
    fresh.restore_memory(memory)
    again = fresh.store_memory()
    assert all(np.array_equal(memory[key], again[key]) for key in memory)
    with pytest.raises(SubstrateError, match="keeps no memory of third clock"):
        fresh.restore_memory({"third clock": np.zeros(1)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "first: is missing"),
        ({"first": 3}, "first = 3: not a table"),
        ({"first": {}}, "first.kind: is missing"),
        ({"first": {"kind": "emulater"}}, "first.kind = 'emulater': no such substrate"),
        ({"first": {"kind": "replica-pair"}}, "first.kind = 'replica-pair': a pair within"),
        ({"first": _table(), "third": {}}, "third.*unknown key.*allowed: first, second"),
        (
            {"first": _table(), "second": {"kind": "emulator", "engin": 1}},
            r"second\.engin = 1: unknown key; did you mean 'engine'",
        ),
        (
            {"first": _table({"kind": "offset"})},
            r"first\.imperfections\[0\]\.kind = 'offset': no such imperfection",
        ),
    ],
)
def test_wrong_tables_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^substrate\.{message}"):
        make_substrate("replica-pair", NETWORK, options)


def test_it_is_listed_with_its_options() -> None:
    (found,) = [one for one in list_substrates() if one.name == "replica-pair"]
    assert found.unavailable_because is None
    assert set(found.options) == {"first", "second"}
