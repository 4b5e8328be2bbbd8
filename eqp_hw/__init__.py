"""eqp_hw: train analog hardware, a network of coupled phases, by equilibrium propagation.

>>> import eqp_hw
>>> experiment = eqp_hw.Experiment.load("examples/iris.toml")  # doctest: +SKIP
>>> experiment.run(output="iris.h5").test_accuracy  # doctest: +SKIP

The names below load their modules when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eqp_hw.data.dataset import Dataset, Split
    from eqp_hw.data.registry import load_dataset
    from eqp_hw.errors import EqpError
    from eqp_hw.experiment.assemble import Experiment
    from eqp_hw.experiment.outcome import RunOutcome
    from eqp_hw.experiment.run import resume_run
    from eqp_hw.learning.controller import Controller, ControllerOptions
    from eqp_hw.learning.costs import Cosine, CrossEntropy, FrozenTorque, LogCosine
    from eqp_hw.learning.training import Trainer, TrainingOptions
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
    from eqp_hw.network.initial import initial_parameters
    from eqp_hw.network.interop import from_edge_list, from_networkx, to_networkx
    from eqp_hw.network.registry import build_network
    from eqp_hw.physics.parameters import Parameters
    from eqp_hw.randomness import RandomStreams
    from eqp_hw.records.reader import RunData, read_run
    from eqp_hw.registry import SubstrateFactory, list_substrates, make_substrate
    from eqp_hw.substrate import Substrate

__version__ = "0.1.0"

__all__ = [
    "Controller",
    "ControllerOptions",
    "Cosine",
    "CrossEntropy",
    "Dataset",
    "EqpError",
    "Experiment",
    "FrozenTorque",
    "LogCosine",
    "Network",
    "Parameters",
    "RandomStreams",
    "RunData",
    "RunOutcome",
    "Split",
    "Substrate",
    "SubstrateFactory",
    "Trainer",
    "TrainingOptions",
    "__version__",
    "all_to_all",
    "build_network",
    "convolutional",
    "edge_list",
    "from_edge_list",
    "from_networkx",
    "initial_parameters",
    "layered",
    "list_substrates",
    "load_dataset",
    "locally_connected",
    "make_substrate",
    "read_run",
    "resume_run",
    "square_lattice",
    "stacked_lattices",
    "to_networkx",
]

_HOMES = {
    "eqp_hw.data.dataset": ("Dataset", "Split"),
    "eqp_hw.data.registry": ("load_dataset",),
    "eqp_hw.errors": ("EqpError",),
    "eqp_hw.experiment.assemble": ("Experiment",),
    "eqp_hw.experiment.outcome": ("RunOutcome",),
    "eqp_hw.experiment.run": ("resume_run",),
    "eqp_hw.learning.controller": ("Controller", "ControllerOptions"),
    "eqp_hw.learning.costs": ("Cosine", "CrossEntropy", "FrozenTorque", "LogCosine"),
    "eqp_hw.learning.training": ("Trainer", "TrainingOptions"),
    "eqp_hw.network.builders": (
        "all_to_all",
        "convolutional",
        "edge_list",
        "layered",
        "locally_connected",
        "square_lattice",
        "stacked_lattices",
    ),
    "eqp_hw.network.graph": ("Network",),
    "eqp_hw.network.initial": ("initial_parameters",),
    "eqp_hw.network.interop": ("from_edge_list", "from_networkx", "to_networkx"),
    "eqp_hw.network.registry": ("build_network",),
    "eqp_hw.physics.parameters": ("Parameters",),
    "eqp_hw.randomness": ("RandomStreams",),
    "eqp_hw.records.reader": ("RunData", "read_run"),
    "eqp_hw.registry": ("SubstrateFactory", "list_substrates", "make_substrate"),
    "eqp_hw.substrate": ("Substrate",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
