"""Whether the network of an experiment is the one that a rig is."""

from __future__ import annotations

from eqp_hw.errors import NetworkError
from eqp_hw.network.graph import Network

from .load import Rig

__all__ = ["refuse_other_network"]


def refuse_other_network(rig: Rig, network: Network) -> None:
    """See that the hardware has the nodes, roles and bonds that an experiment asks for.

    Raises
    ------
    NetworkError
        It has others; says what differs first.
    """
    have = rig.network
    differences = {
        "nodes": (have.n_nodes, network.n_nodes),
        "inputs": (have.inputs.tolist(), network.inputs.tolist()),
        "outputs": (have.outputs.tolist(), network.outputs.tolist()),
        "bonds": (have.n_edges, network.n_edges),
        "couplings": (have.n_couplings, network.n_couplings),
    }
    ours, theirs = _bonds(have), _bonds(network)
    first = next((k for k in range(min(len(ours), len(theirs))) if ours[k] != theirs[k]), None)
    if first is not None:
        differences[f"bond {first} (nodes and coupling)"] = (ours[first], theirs[first])
    for what, (one, other) in differences.items():
        if one != other:
            raise NetworkError(
                f"the rig {rig.settings.rig.name!r} ({have.name}) is another network than that of "
                f"the experiment ({network.name}): {what} {one} against {other}",
                source=rig.path or None,
                field="network",
                allowed="the same nodes, roles and bonds in both files",
            )


def _bonds(network: Network) -> list[tuple[int, int, int]]:
    return [
        (int(i), int(j), int(group))
        for (i, j), group in zip(network.edges, network.coupling_group, strict=True)
    ]
