"""Dead and stuck parts: what is lost is lost, and nothing ever floats."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imperfection_bench import (
    INPUTS,
    LAYERED,
    Hardware,
    around,
    exact_phases,
    imperfect,
    random_parameters,
    raw_reads,
    ready,
    table,
    wrapped,
)
from scipy import stats

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import Network
from eqp_hw.physics.energy import force
from eqp_hw.physics.parameters import Parameters

LADDER = Network.create(
    14,
    [(k, k + 2) for k in range(12)] + [(2 * k, 2 * k + 1) for k in range(1, 7)],
    inputs=(0, 1),
    outputs=(12, 13),
)


def nothing_floats(network, coupling, bias):
    """Whether each free node hangs on an input or on a field (by an independent library)."""
    graph = nx.Graph()
    graph.add_nodes_from(range(network.n_nodes))
    graph.add_edges_from(
        (int(i), int(j)) for (i, j), J in zip(network.edges, coupling, strict=True) if J != 0
    )
    anchored = {int(node) for node in network.inputs} | set(np.flatnonzero(bias).tolist())
    return all(component & anchored for component in nx.connected_components(graph))


def ones(network, value=0.5):
    return Parameters(np.full(network.n_couplings, value), np.zeros(network.n_nodes, complex))


def test_dead_bonds_couple_nothing_and_nobody_is_told():
    with imperfect(table("dead", bonds=[2, 15])) as substrate:
        asked = random_parameters()
        effective = ready(substrate, asked)
        np.testing.assert_array_equal(effective.coupling, asked.coupling)
        really = substrate.truth().parameters.coupling
        np.testing.assert_array_equal(np.flatnonzero(really == 0), [2, 15])
        phases = substrate.read_phases().phases
    without = Parameters(np.where(really == 0, 0, asked.coupling), asked.bias)
    assert np.abs(force(LAYERED, without, phases)).max() < 1e-9
    assert np.abs(force(LAYERED, asked, phases)).max() > 1e-3


def test_the_share_asked_for_is_dead_and_differs_from_seed_to_seed():
    seen = set()
    for seed in range(12):
        with imperfect(table("dead", bond_fraction=0.2), seed=seed) as substrate:
            bonds = substrate.truth().draws[0]["bonds"]
        assert len(bonds) == 4
        seen.add(tuple(bonds.tolist()))
    assert len(seen) > 6


def test_every_bond_may_die_about_equally_often():
    counts = np.zeros(LAYERED.n_edges)
    for seed in range(200):
        with imperfect(table("dead", bond_fraction=0.1), seed=seed) as substrate:
            counts[substrate.truth().draws[0]["bonds"]] += 1
    # Two bonds a draw: none is protected by the tree, which adapts to what would be lost.
    assert stats.chisquare(counts).pvalue > 1e-3


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    bonds=st.floats(0, 0.3),
    nodes=st.floats(0, 0.3),
    stuck_bonds=st.floats(0, 0.15),
    stuck_nodes=st.floats(0, 0.2),
    stuck_at=st.sampled_from([None, 0.0, 0.4]),
)
def test_no_damage_ever_leaves_a_floating_node(
    seed, bonds, nodes, stuck_bonds, stuck_nodes, stuck_at
):
    damage = [
        table("stuck", bond_fraction=stuck_bonds, node_fraction=stuck_nodes),
        table("dead", bond_fraction=bonds, node_fraction=nodes),
    ]
    if stuck_at is not None:
        damage[0]["coupling"] = stuck_at
    refusal = None
    try:
        substrate = imperfect(*damage, network=LADDER, seed=seed)
    except ConfigurationError as error:
        refusal = error
    if refusal is not None:
        assert "fraction" in refusal.field
        assert "at most" in refusal.allowed
        return
    with substrate:
        substrate.write_parameters(ones(LADDER))
        truth = substrate.truth()
        assert nothing_floats(LADDER, truth.parameters.coupling, truth.parameters.bias)
        stuck, dead = truth.draws
        assert not set(stuck["bonds"]) & set(dead["bonds"])
        assert not set(stuck["nodes"]) & set(dead["nodes"])
        lost = np.concatenate([stuck["nodes"], dead["nodes"]])
        assert np.isin(lost, LADDER.hidden).all()


def test_bridges_survive_as_long_as_anything_else_can_die():
    chain = Network.create(
        5, [(0, 1), (1, 2), (2, 3), (1, 3), (3, 4)], inputs=[0], outputs=[4]
    )  # bonds 0 and 4 are bridges, and two of the triangle are needed
    dead = set()
    for seed in range(20):
        with imperfect(table("dead", bond_fraction=0.2), network=chain, seed=seed) as substrate:
            dead.update(substrate.truth().draws[0]["bonds"].tolist())
    assert dead == {1, 2, 3}
    with pytest.raises(ConfigurationError, match=r"bond_fraction = 0.4.*at most 1 bond"):
        imperfect(table("dead", bond_fraction=0.4), network=chain)


def test_dead_nodes_take_part_in_nothing_and_read_noise():
    with imperfect(table("dead", nodes=[4])) as substrate:
        asked = random_parameters()
        ready(substrate, asked)
        truth = substrate.truth().parameters
        reads = raw_reads(substrate, 400)
    at = (LAYERED.edges == 4).any(axis=1)
    assert (truth.coupling[at] == 0).all()
    np.testing.assert_array_equal(truth.coupling[~at], asked.coupling[~at])
    column = LAYERED.free_index[4]
    read = reads[:, :, column].ravel()
    assert stats.kstest(read, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    others = np.delete(reads, column, axis=2)
    assert np.ptp(others, axis=0).max() < 1e-12


def test_dead_outputs_are_dead_where_named_and_take_no_nudge():
    with imperfect(table("dead", nodes=[7])) as substrate:
        ready(substrate)
        free = raw_reads(substrate, 1)[0]
        pinned = substrate.inner.read_phases().phases[:, 7]
        sites = substrate.capabilities.nudge_nodes
        field = np.zeros((3, len(sites)), complex)
        field[:, sites.index(7)] = 5.0
        substrate.apply_nudge(field)
        substrate.settle()
        nudged = raw_reads(substrate, 1)[0]
        held = substrate.inner.read_phases().phases[:, 7]
    np.testing.assert_allclose(wrapped(held - pinned), 0, atol=1e-9)
    others = np.delete(np.arange(len(LAYERED.free)), LAYERED.free_index[7])
    np.testing.assert_allclose(nudged[:, others], free[:, others], atol=1e-9)


def test_stuck_bonds_stay_at_their_value():
    with imperfect(table("stuck", bonds=[3, 12], coupling=0.4)) as substrate:
        asked = random_parameters()
        effective = ready(substrate, asked)
        np.testing.assert_array_equal(effective.coupling, asked.coupling)
        really = substrate.truth().parameters.coupling
        np.testing.assert_array_equal(really[[3, 12]], 0.4)
        others = np.delete(np.arange(20), [3, 12])
        np.testing.assert_array_equal(really[others], asked.coupling[others])


def test_stuck_bonds_without_a_value_get_one_each():
    with imperfect(table("stuck", bonds=list(range(12)))) as substrate:
        substrate.write_parameters(random_parameters())
        first = substrate.truth().parameters.coupling[:12]
        substrate.write_parameters(random_parameters(seed=1))
        np.testing.assert_array_equal(substrate.truth().parameters.coupling[:12], first)
    assert len(np.unique(first)) == 12


@pytest.mark.parametrize("node", [5, 8])
def test_stuck_nodes_keep_their_phase_and_act_on_their_neighbours(node):
    tables = (table("stuck", nodes=[node], phase=1.1), table("nonreciprocity", phase_lag_mean=0.2))
    for lagging in (False, True):
        with imperfect(*tables[: 1 + lagging]) as substrate:
            asked = random_parameters()
            ready(substrate, asked)
            phases = substrate.read_phases().phases
            sites = substrate.capabilities.nudge_nodes
            if node in sites:
                field = np.zeros((3, len(sites)), complex)
                field[:, sites.index(node)] = 5.0
                substrate.apply_nudge(field)
                substrate.settle()
                pulled = substrate.read_phases().phases
                np.testing.assert_allclose(wrapped(pulled - phases), 0, atol=1e-9)
                inside = substrate.inner.read_phases().phases[:, node]
                np.testing.assert_allclose(inside, 1.1, atol=1e-9)
        np.testing.assert_allclose(phases[:, node], 1.1, atol=1e-12)
        lag = 0.2 if lagging else 0.0
        torque = (np.exp(-1j * phases) * asked.bias).imag
        for (i, j), coupling in zip(LAYERED.edges, asked.coupling, strict=True):
            torque[:, i] += coupling * np.sin(phases[:, j] - phases[:, i] + lag)
            torque[:, j] += coupling * np.sin(phases[:, i] - phases[:, j] + lag)
        others = np.setdiff1d(LAYERED.free, [node])
        assert np.abs(torque[:, others]).max() < 1e-9
        assert np.abs(torque[:, node]).max() > 1e-3


def test_what_a_stuck_node_exerts_lags_behind_disorder_as_well():
    tables = [table("nonreciprocity", phase_lag_mean=0.5), table("stuck", nodes=[4], phase=1.1)]
    phases = exact_phases(*tables)
    disordered = exact_phases(table("coupling-disorder", relative=1e-12), *tables)
    np.testing.assert_allclose(wrapped(disordered - phases), 0, atol=1e-9)


def test_stuck_nodes_are_where_they_are_however_little_time_there_is():
    late = table("incomplete-settling", remaining=0.5)
    with imperfect(late, table("stuck", nodes=[5], phase=1.1)) as substrate:
        ready(substrate)
        np.testing.assert_allclose(substrate.read_phases().phases[:, 5], 1.1, atol=1e-12)


def test_neighbours_can_be_stuck_at_different_phases():
    tables = table("stuck", nodes=[5], phase=1.1), table("stuck", nodes=[7], phase=-0.4)
    with imperfect(*tables) as substrate:
        asked = random_parameters()
        ready(substrate, asked)
        phases = substrate.read_phases().phases
    np.testing.assert_allclose(phases[:, [5, 7]], [[1.1, -0.4]] * 3, atol=1e-12)
    others = np.setdiff1d(LAYERED.free, [5, 7])
    assert np.abs(force(LAYERED, asked, phases)[:, others]).max() < 1e-9


def test_stuck_inputs_stay_and_are_believed_to_follow():
    with imperfect(table("stuck", nodes=[1], phase=0.7)) as substrate:
        asked = random_parameters()
        ready(substrate, asked)
        phases = substrate.read_phases().phases
    np.testing.assert_array_equal(phases[:, :3], INPUTS)
    assert np.abs(force(LAYERED, asked, phases)).max() > 1e-3
    phases[:, 1] = 0.7
    assert np.abs(force(LAYERED, asked, phases)).max() < 1e-9


def test_nothing_written_reaches_dead_parts_wherever_they_stand_in_the_list():
    others = [
        table("coupling-disorder", absolute=0.1, bias_absolute=0.1),
        table("coupling-crosstalk", strength=0.1),
        table("drift", target="coupling", shape="random-walk", rate=0.1),
    ]
    dead, stuck = table("dead", bonds=[0], nodes=[3]), table("stuck", bonds=[17], coupling=0.3)
    for tables in ([dead, stuck, *others], [*others, stuck, dead]):
        with imperfect(*tables) as substrate:
            ready(substrate)
            really = substrate.truth().parameters.coupling
            at = (LAYERED.edges == 3).any(axis=1)
            at[0] = True
            assert (really[at] == 0).all()
            assert really[17] == 0.3
            assert (really[~at] != 0).all()


CONTRADICTIONS = [
    ([table("dead", bonds=[3]), table("stuck", bonds=[3])], r"\[1\].bonds.*bond 3.*dead"),
    ([table("stuck", nodes=[3]), table("dead", nodes=[4, 3])], r"\[1\].nodes.*node 3.*stuck"),
    ([table("dead", bonds=[20])], r"\[0\].bonds.*bond 20 does not exist.*0 to 19"),
    ([table("stuck", nodes=[9])], r"\[0\].nodes.*node 9 does not exist.*0 to 8"),
    ([table("dead", bonds=[3, 3])], r"\[0\].bonds.*bond 3 is listed twice"),
    ([table("dead", bonds=[-1])], r"\[0\].bonds.*-1.*>= 0"),
    ([table("dead", nodes=[0, 1, 2])], r"\[0\].nodes.*free node .* hang on no input"),
    ([table("stuck", bonds=list(range(12)), coupling=0.0)], r"\[0\].bonds.*hang on no input"),
    ([table("dead", bond_fraction=1.0)], r"\[0\].bond_fraction = 1.0.*< 1"),
    ([table("dead", node_fraction=-0.1)], r"\[0\].node_fraction = -0.1.*>= 0"),
    ([table("dead", bond_fraction=0.9)], r"\[0\].bond_fraction = 0.9.*at most 14 bonds"),
    ([table("stuck", node_fraction=0.5), table("dead", node_fraction=0.9)], r"\[1\].node_fraction"),
]


@pytest.mark.parametrize(("tables", "words"), CONTRADICTIONS)
def test_damage_that_cannot_be_is_refused(tables, words):
    with pytest.raises(ConfigurationError, match=words):
        imperfect(*tables)


@pytest.mark.parametrize("control", ["none", "amplitude"])
def test_nodes_that_no_field_can_hold_are_refused(control):
    for damaged in (table("dead", nodes=[4]), table("stuck", nodes=[4], phase=0.3)):
        with pytest.raises(ConfigurationError, match=r"\[0\].*node 4 cannot be held"):
            around(Hardware(bias_control=control), damaged)
    with pytest.raises(ConfigurationError, match=r"\[0\].coupling = 3.0.*-2 to 2"):
        around(Hardware(), table("stuck", bonds=[1], coupling=3.0))
    with around(Hardware(bias_control=control), table("dead", bonds=[1])) as substrate:
        ready(substrate, ones(LAYERED), INPUTS[:1])
        assert substrate.truth().parameters.coupling[1] == 0
