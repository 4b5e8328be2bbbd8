"""Nudge sites, clamped outputs, replicas, and states that outlast write_parameters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.network.builders import all_to_all, layered, square_lattice
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.energy import coupling_matrix, force
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.bound_network import BoundNetwork
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.relaxation.interface import Relaxation
from eqp_hw.substrate import BoolArray, SettleStatus, Substrate

LAYERED = layered([4, 8, 3])
LATTICE = square_lattice(4, 4, inputs=2, outputs=[5, 15])


def _parameters(network: Network, seed: int) -> Parameters:
    return initial_parameters(
        network, np.random.default_rng(seed), coupling="normal", bias="normal"
    )


def _emulator(network: Network, seed: int = 1, batch: int = 3, **options: object) -> XYEmulator:
    emulator = XYEmulator(network, EmulatorOptions.model_validate(options))
    emulator.write_parameters(_parameters(network, seed))
    rng = np.random.default_rng(100 + seed)
    emulator.set_inputs(rng.uniform(-1.5, 1.5, (batch, len(network.inputs))))
    emulator.reset(seed)
    return emulator


def _turn(difference: FloatArray) -> FloatArray:
    return np.asarray(np.angle(np.exp(1j * difference)))


def _hidden_flow(
    network: Network, parameters: Parameters, start: FloatArray, held: FloatArray, span: float
) -> FloatArray:
    """Where the flow of the hidden phases leads, outputs held, written apart from the emulator."""
    matrix = coupling_matrix(network, parameters).toarray()
    x = start.copy()
    x[network.outputs] = held

    def rate(_: float, hidden: FloatArray) -> FloatArray:
        y = x.copy()
        y[network.hidden] = hidden
        pull = matrix @ np.exp(1j * y) + parameters.bias
        torque: FloatArray = (np.exp(-1j * y) * pull).imag[network.hidden]
        return torque

    path = solve_ivp(rate, (0, span), x[network.hidden], "DOP853", rtol=1e-10, atol=1e-11)
    x[network.hidden] = path.y[:, -1]
    return x


def test_nudges_reach_all_free_nodes_unless_told_otherwise() -> None:
    able = XYEmulator(LAYERED).capabilities
    assert able.nudge_nodes == tuple(LAYERED.free)
    assert able.hidden_nudge
    able = XYEmulator(LAYERED, EmulatorOptions(nudge_sites="outputs")).capabilities
    assert able.nudge_nodes == tuple(LAYERED.outputs)
    assert not able.hidden_nudge
    one_layer = layered([4, 3])
    assert XYEmulator(one_layer, EmulatorOptions(nudge_sites="outputs")).capabilities.hidden_nudge


def test_a_nudge_at_the_outputs_is_the_same_through_either_door() -> None:
    phases = []
    for sites in ("free", "outputs"):
        with _emulator(LATTICE, nudge_sites=sites) as emulator:
            emulator.settle()
            columns = emulator.capabilities.nudge_nodes
            field = np.zeros((3, len(columns)), complex)
            field[:, [columns.index(int(node)) for node in LATTICE.outputs]] = np.exp(0.3j)
            emulator.apply_nudge(field, 0.2)
            emulator.settle()
            phases.append(emulator.read_phases().phases)
    np.testing.assert_array_equal(*phases)


def test_a_nudge_at_a_hidden_node_is_a_bias_field() -> None:
    with _emulator(LATTICE) as emulator:
        emulator.settle()
        field = np.zeros((3, len(LATTICE.free)), complex)
        node = int(LATTICE.hidden[3])
        field[:, LATTICE.free_index[node]] = 0.1j
        emulator.apply_nudge(field, 2.0)
        assert emulator.settle().settled.all()
        phases = emulator.read_phases().phases
    parameters = _parameters(LATTICE, 1)
    bias = parameters.bias.copy()
    bias[node] += 0.2j
    assert np.abs(force(LATTICE, parameters, phases, bias)).max() <= 1e-10
    assert np.abs(force(LATTICE, parameters, phases)).max() > 0.01


@pytest.mark.parametrize("network", [LAYERED, LATTICE], ids=["layered", "lattice"])
@pytest.mark.parametrize("directed", [False, True])
def test_hidden_phases_relax_to_where_their_flow_ends(network: Network, directed: bool) -> None:
    emulator = _emulator(network)
    parameters = _parameters(network, 1)
    if directed:
        parameters = Parameters(parameters.coupling, parameters.bias, 0.9 * parameters.coupling)
        emulator.write_parameters(parameters)
    assert emulator.settle().settled.all()
    free = emulator.read_phases().phases
    held = free[:, network.outputs] + np.array([0.4, -0.3, 0.5])[: len(network.outputs)]
    emulator.clamp_outputs(held)
    outcome = emulator.settle()
    assert (outcome.status == SettleStatus.EQUILIBRIUM).all()
    assert not outcome.hop.any()
    phases = emulator.read_phases().phases
    assert np.abs(_turn(phases[:, network.outputs] - held)).max() <= 1e-15
    for sample in range(len(free)):
        end = _hidden_flow(network, parameters, free[sample], held[sample], 300.0)
        assert np.abs(_turn(end - phases[sample])).max() < 1e-6
    torque = force(network, parameters, phases)
    assert np.abs(torque[:, network.hidden]).max() <= 1e-10
    assert np.abs(torque[:, network.outputs]).max() > 0.05
    emulator.clamp_outputs(None)
    assert emulator.settle().settled.all()
    again = emulator.read_phases().phases
    assert np.abs(force(network, parameters, again)).max() <= 1e-10


def test_one_clamp_follows_another_and_a_nudge_at_hidden_nodes_stays() -> None:
    emulator = _emulator(LATTICE)
    emulator.settle()
    token = emulator.store_state()
    free = emulator.read_phases().phases
    field = np.zeros((3, len(LATTICE.free)), complex)
    field[:, LATTICE.free_index[LATTICE.hidden[0]]] = 0.2
    emulator.apply_nudge(field)
    ends = []
    for path in ([0.1, 0.2], [0.2]):
        emulator.restore_state(token)
        emulator.apply_nudge(field)
        for step in path:
            emulator.clamp_outputs(free[:, LATTICE.outputs] + step)
            outcome = emulator.settle()
            assert outcome.settled.all()
        ends.append(emulator.read_phases().phases)
    assert np.abs(_turn(ends[0] - ends[1])).max() < 1e-10
    bias = _parameters(LATTICE, 1).bias.copy()
    bias[LATTICE.hidden[0]] += 0.2
    torque = force(LATTICE, _parameters(LATTICE, 1), ends[0], bias)
    assert np.abs(torque[:, LATTICE.hidden]).max() <= 1e-10


def _ramped(
    network: Network,
    parameters: Parameters,
    start: FloatArray,
    held: FloatArray,
) -> tuple[FloatArray, float]:
    """Where a slow ramp of the output phasors leads, and its fastest motion, rad a unit of time."""
    matrix = coupling_matrix(network, parameters).toarray()
    hidden, outputs = network.hidden, network.outputs
    old, new = np.exp(1j * start[outputs]), np.exp(1j * held)
    ramp = 3000.0

    def rate(t: float, x: FloatArray) -> FloatArray:
        phasors = np.exp(1j * start)
        phasors[hidden] = np.exp(1j * x)
        phasors[outputs] = old + min(t / ramp, 1.0) * (new - old)
        pull = (matrix @ phasors + parameters.bias)[hidden]
        torque: FloatArray = (np.exp(-1j * x) * pull).imag
        return torque

    path = solve_ivp(rate, (0, ramp + 300), start[hidden], "LSODA", rtol=1e-8, atol=1e-9)
    rates = np.diff(path.y, axis=1) / np.diff(path.t)
    end = start.copy()
    end[hidden], end[outputs] = path.y[:, -1], held
    return end, float(np.abs(rates).max())


def test_a_hop_under_the_clamp_is_noticed() -> None:
    network = all_to_all(12, 1, 3)
    rng = np.random.default_rng(5)
    parameters = initial_parameters(network, rng, coupling="normal", bias="normal")
    emulator = XYEmulator(network)
    emulator.write_parameters(parameters)
    emulator.set_inputs(np.zeros((12, 1)))
    emulator.reset(3)
    assert emulator.settle().settled.all()
    free = emulator.read_phases().phases
    held = free[:, network.outputs] + rng.uniform(-2.5, 2.5, (12, 3))
    emulator.clamp_outputs(held)
    outcome = emulator.settle()
    assert outcome.settled.all()
    assert 1 <= outcome.hop.sum() <= 11
    phases = emulator.read_phases().phases
    for sample, hop in enumerate(outcome.hop):
        end, fastest = _ramped(network, parameters, free[sample], held[sample])
        same = np.abs(_turn(end - phases[sample])).max() < 1e-4
        assert hop == (not same or fastest > 0.1)


def test_phases_rest_where_they_are_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is held, let go or nudged, hop tests begin at an equilibrium of the old field."""
    largest, relax = [], BoundNetwork.relax

    def recorded(
        self: BoundNetwork, field: ComplexArray, phases: FloatArray, rest_field: ComplexArray
    ) -> tuple[Relaxation, BoolArray]:
        rows = np.isfinite(rest_field).all(axis=1)
        force = self.phase_flow().force(phases[rows], rest_field[rows])
        largest.append(np.abs(force).max(initial=0.0) if rows.any() else None)
        return relax(self, field, phases, rest_field)

    monkeypatch.setattr(BoundNetwork, "relax", recorded)
    emulator = _emulator(LATTICE)
    emulator.settle()
    free = emulator.read_phases().phases
    held = free[:, LATTICE.outputs]
    nudge = np.full((3, len(LATTICE.free)), 0.2j)
    steps = [(nudge, None), (None, held), (nudge, held + 0.1), (nudge, held + 0.3), (nudge, None)]
    for field, clamp in [*steps, (None, held), (None, None)]:
        emulator.apply_nudge(field)
        emulator.clamp_outputs(clamp)
        assert emulator.settle().settled.all()
    # Outputs that were held are not at rest when let go: there is nothing to follow then.
    known = [value for value in largest if value is not None]
    assert [value is None for value in largest] == [True] + 4 * [False] + [True, False, True]
    assert max(known) < 1e-9


def test_without_hidden_nodes_nothing_is_left_to_relax() -> None:
    network = layered([4, 3])
    emulator = _emulator(network)
    emulator.settle()
    held = np.tile([0.1, 3.0, -2.0], (3, 1))
    emulator.clamp_outputs(held)
    outcome = emulator.settle()
    assert outcome.settled.all()
    assert outcome.residual.max() == 0.0
    np.testing.assert_allclose(emulator.read_phases().phases[:, network.outputs], held, atol=1e-15)


@pytest.mark.parametrize("verb", ["set_inputs", "reset", "restore_state", "None"])
def test_what_ends_the_hold(verb: str) -> None:
    emulator = _emulator(LATTICE)
    emulator.settle()
    token = emulator.store_state()
    free = emulator.read_phases().phases
    emulator.clamp_outputs(free[:, LATTICE.outputs] + 1.0)
    emulator.settle()
    if verb == "set_inputs":
        emulator.set_inputs(free[:, LATTICE.inputs])
    elif verb == "reset":
        emulator.reset(1)
    elif verb == "restore_state":
        emulator.restore_state(token)
        np.testing.assert_array_equal(emulator.read_phases().phases, free)
    else:
        emulator.clamp_outputs(None)
    assert emulator.settle().settled.all()
    phases = emulator.read_phases().phases
    assert np.abs(force(LATTICE, _parameters(LATTICE, 1), phases)).max() <= 1e-10


def test_bad_clamps_are_refused() -> None:
    emulator = _emulator(LATTICE)
    emulator.settle()
    with pytest.raises(SubstrateError, match="shape"):
        emulator.clamp_outputs(np.zeros((3, 3)))
    with pytest.raises(SubstrateError, match="clamped output 1 of sample 2 is not finite"):
        emulator.clamp_outputs(np.array([[0, 0], [0, 0], [0, np.nan]]))
    emulator.clamp_outputs(np.zeros((3, 2)))
    emulator.apply_nudge(np.ones((3, len(LATTICE.free)), complex), 1j)
    with pytest.raises(SubstrateError, match="free outputs"):
        emulator.settle()


def test_states_outlast_write_parameters() -> None:
    emulator = _emulator(LATTICE)
    emulator.settle()
    token = emulator.store_state()
    free = emulator.read_phases().phases
    other = _parameters(LATTICE, 1).map(lambda values: 1.02 * values + 0.01 * (values != 0))
    emulator.write_parameters(other)
    emulator.settle()
    moved = emulator.read_phases().phases
    emulator.restore_state(token)
    np.testing.assert_array_equal(emulator.read_phases().phases, free)
    # The stored phases are no equilibrium of the new couplings: they relax from there.
    outcome = emulator.settle()
    assert outcome.settled.all()
    again = emulator.read_phases().phases
    assert np.abs(force(LATTICE, other, again)).max() <= 1e-10
    np.testing.assert_allclose(_turn(again - moved), 0.0, atol=1e-10)
    emulator.set_inputs(free[:, LATTICE.inputs])
    with pytest.raises(SubstrateError, match="until the next set_inputs"):
        emulator.restore_state(token)


def test_replicas_are_identical() -> None:
    emulator = _emulator(LATTICE)
    emulator.settle()
    token = emulator.store_state()
    free = emulator.read_phases().phases
    field = np.exp(0.4j) * np.ones((3, len(LATTICE.free)))
    nudges = [(field, 0.05), (field, -0.05)]
    together, before = emulator.measure_together(token, nudges, 2)
    apart = Substrate.measure_nudged(emulator, token, nudges, 2)
    for one, other, start in zip(together, apart, before, strict=True):
        np.testing.assert_allclose(one.reading.phases, other.reading.phases, atol=1e-12)
        np.testing.assert_array_equal(start.phases, free)
        assert start.count == 2
    with pytest.raises(CapabilityError, match="fewer replicas"):
        emulator.measure_together(token, [*nudges, (field, 0.1)])
