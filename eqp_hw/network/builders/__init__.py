"""Builders of common architectures; each is a function that returns a `Network`."""

from eqp_hw.network.builders.all_to_all import all_to_all
from eqp_hw.network.builders.convolutional import convolutional
from eqp_hw.network.builders.custom import edge_list
from eqp_hw.network.builders.lattice import square_lattice
from eqp_hw.network.builders.layered import layered
from eqp_hw.network.builders.locally_connected import locally_connected
from eqp_hw.network.builders.stacked import stacked_lattices

__all__ = [
    "all_to_all",
    "convolutional",
    "edge_list",
    "layered",
    "locally_connected",
    "square_lattice",
    "stacked_lattices",
]
