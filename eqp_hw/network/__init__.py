"""Networks of coupled phases: the graph, builders, exchange with other tools.

A `Network` says which phases are coupled, which are clamped inputs, which are read as
outputs, and which bonds share a coupling. It holds no numbers; initial couplings come from
`eqp_hw.network.initial.initial_parameters` (imported from there, because parameters stand on
this package).

>>> from eqp_hw.network import layered, square_lattice
>>> iris = layered([4, 10, 3])
>>> lattice = square_lattice(5, 5, inputs=[[0, 0], [0, 1]], outputs=[[4, 4]], skips=[2, 3])
>>> lattice.kind_names
('nearest', 'skip-2', 'skip-3')

An experiment file names the same builders and options, which `build_network` resolves:

>>> from eqp_hw.network import build_network
>>> build_network("locally-connected", {"input_shape": [8, 8], "window": 3, "n_outputs": 10})
... # doctest: +ELLIPSIS
Network(n_nodes=110, ...)

Builders
    `all_to_all`, `layered`, `square_lattice`, `stacked_lattices`, `locally_connected`,
    `convolutional`, `edge_list`
Exchange
    `to_networkx`, `from_networkx`, `from_edge_list`
By name
    `NETWORKS`, `NetworkKind`, `build_network`
"""

from eqp_hw.network.builders import (
    all_to_all,
    convolutional,
    edge_list,
    layered,
    locally_connected,
    square_lattice,
    stacked_lattices,
)
from eqp_hw.network.graph import Network
from eqp_hw.network.interop import from_edge_list, from_networkx, to_networkx
from eqp_hw.network.registry import NETWORKS, NetworkKind, build_network

__all__ = [
    "NETWORKS",
    "Network",
    "NetworkKind",
    "all_to_all",
    "build_network",
    "convolutional",
    "edge_list",
    "from_edge_list",
    "from_networkx",
    "layered",
    "locally_connected",
    "square_lattice",
    "stacked_lattices",
    "to_networkx",
]
