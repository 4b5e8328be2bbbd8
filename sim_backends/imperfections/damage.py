"""Which bonds and nodes may fail without a free node floating."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import IntArray, Network

from .interface import Damage, Setup

__all__ = ["refuse_unknown", "removable_bonds", "removable_nodes", "would_float"]


def refuse_unknown(setup: Setup, bonds: Sequence[int], nodes: Sequence[int], how: str) -> None:
    """See that the listed parts exist, are listed once, and are not damaged otherwise.

    Raises
    ------
    ConfigurationError
        Names the option and the part.
    """
    damage = setup.damage
    for name, numbers, n, dead, stuck in (
        ("bonds", bonds, setup.network.n_edges, damage.dead_bonds, damage.stuck_bonds),
        ("nodes", nodes, setup.network.n_nodes, damage.dead_nodes, damage.stuck_nodes),
    ):
        part = name[:-1]
        for number in numbers:
            problem = None
            if number >= n:
                problem = f"{part} {number} does not exist"
            elif number in dead | stuck:
                state = "dead" if number in dead else "stuck"
                problem = f"{part} {number} cannot be {how}: an imperfection before has it {state}"
            elif list(numbers).count(number) > 1:
                problem = f"{part} {number} is listed twice"
            if problem is not None:
                raise setup.refuse(
                    problem,
                    name,
                    list(numbers),
                    f"{name} 0 to {n - 1}, each once, dead or stuck but not both",
                )


def would_float(network: Network, damage: Damage) -> int | None:
    """Return a free node that hangs on nothing with this damage, or None if there is none."""
    alive = np.ones(network.n_edges, dtype=np.bool_)
    alive[list(damage.cut)] = False
    labels = network.components(alive)
    held = [*network.inputs, *damage.stuck_nodes]
    loose = ~np.isin(labels, labels[np.array(held, dtype=np.int64)])
    loose[list(damage.dead_nodes)] = False
    loose[network.inputs] = False
    found = np.flatnonzero(loose)
    return int(found[0]) if len(found) else None


def removable_nodes(
    setup: Setup, fraction: float, rng: np.random.Generator, *, cuts: bool
) -> list[int]:
    """Choose round(fraction·n_hidden) hidden nodes that are whole and may fail.

    Parameters
    ----------
    cuts
        Whether their bonds are lost with them.

    Raises
    ------
    ConfigurationError
        There are not so many.
    """
    network, damage = setup.network, setup.damage
    wanted = round(fraction * len(network.hidden))
    chosen: list[int] = []
    whole = np.setdiff1d(network.hidden, list(damage.dead_nodes | damage.stuck_nodes))
    for node in rng.permutation(whole).tolist() if wanted else []:
        if cuts:
            at = np.flatnonzero((network.edges == node).any(axis=1))
            tried = Damage(
                dead_nodes=damage.dead_nodes | {*chosen, node},
                stuck_nodes=damage.stuck_nodes,
                cut=damage.cut | _bonds_at(network, chosen) | set(at.tolist()),
            )
            if would_float(network, tried) is not None:
                continue
        chosen.append(node)
        if len(chosen) == wanted:
            return chosen
    if wanted:
        raise _too_many(setup, "node_fraction", fraction, f"{len(chosen)} hidden nodes")
    return chosen


def removable_bonds(
    setup: Setup, fraction: float, rng: np.random.Generator, *, cuts: bool
) -> list[int]:
    """Choose round(fraction·n_edges) bonds that are whole and may fail.

    Bonds are taken in random order, except those without which a free node would float: just
    the bonds of the spanning tree that prefers what comes late in that order.

    Parameters
    ----------
    cuts
        Whether a bond that fails transmits nothing.

    Raises
    ------
    ConfigurationError
        There are not so many.
    """
    network, damage = setup.network, setup.damage
    wanted = round(fraction * network.n_edges)
    if not wanted:
        return []
    broken = damage.dead_bonds | damage.stuck_bonds | damage.cut
    order = rng.permutation(np.setdiff1d(np.arange(network.n_edges), list(broken)))
    if cuts:
        order = order[~np.isin(order, _needed(network, damage, order))]
    if len(order) < wanted:
        raise _too_many(setup, "bond_fraction", fraction, f"{len(order)} bonds")
    return [int(bond) for bond in order[:wanted]]


def _needed(network: Network, damage: Damage, order: IntArray) -> IntArray:
    """Return the bonds of ``order`` in the spanning tree that prefers the latest of them."""
    weight = np.zeros(network.n_edges)
    weight[list(damage.stuck_bonds - damage.cut)] = 1.0  # they stay in any case
    weight[order] = 1.0 + np.arange(len(order), 0, -1)
    node = np.arange(network.n_nodes)
    # All that holds phases is one node of the tree, to which everything must lead.
    node[[*network.inputs, *damage.stuck_nodes]] = network.inputs[0]
    ends = np.sort(node[network.edges], axis=1)
    usable = np.flatnonzero((weight > 0) & (ends[:, 0] != ends[:, 1]))
    by_weight = usable[np.argsort(weight[usable])]
    _, first = np.unique(ends[by_weight], axis=0, return_index=True)  # parallel bonds: the best
    best = by_weight[first]
    shape = (network.n_nodes, network.n_nodes)
    graph = sparse.coo_array((weight[best], (ends[best, 0], ends[best, 1])), shape=shape)
    tree = csgraph.minimum_spanning_tree(graph.tocsr()).tocoo()
    kept: IntArray = np.flatnonzero(np.isin(weight, tree.data)).astype(np.int64)
    return kept


def _bonds_at(network: Network, nodes: Sequence[int]) -> set[int]:
    return set(np.flatnonzero(np.isin(network.edges, nodes).any(axis=1)).tolist())


def _too_many(setup: Setup, name: str, fraction: float, most: str) -> ConfigurationError:
    return setup.refuse(
        "more than can fail without a free node hanging on nothing",
        name,
        fraction,
        f"at most {most}",
    )
