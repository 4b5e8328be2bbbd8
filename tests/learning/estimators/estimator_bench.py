"""A small network with its exact gradient, by formula and by finite differences of the cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache

import numpy as np

from eqp_hw.learning.controller import Controller, ControllerOptions, GradientEstimate
from eqp_hw.learning.costs import Cosine, Cost
from eqp_hw.learning.estimators import Centred, Estimator, Round, make_estimator
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.substrate import Substrate

N_SAMPLES = 4
# Bonds 0-4 and 1-4 share a coupling, so that a shared gradient is tested as well.
_EDGES = [(i, j) for i in range(2) for j in range(2, 7)] + [
    (i, j) for i in range(2, 7) for j in range(i + 1, 7)
]
_GROUPS = [0, 1, 2, 3, 4, 5, 6, 2, 7, 8, *range(9, 9 + len(_EDGES) - 10)]
NETWORK = Network.create(7, _EDGES, inputs=[0, 1], outputs=[5, 6], coupling_group=_GROUPS)
STREAMS = RandomStreams(5)


def setting() -> tuple[Parameters, FloatArray, FloatArray]:
    """Parameters, inputs and targets."""
    rng = np.random.default_rng(21)
    bias = np.zeros(7, complex)
    bias[NETWORK.free] = rng.normal(0, 0.4, 5) + 1j * rng.normal(0, 0.4, 5)
    parameters = Parameters(rng.normal(0, 0.8, NETWORK.n_couplings), bias)
    inputs = rng.uniform(-1.5, 1.5, (N_SAMPLES, 2))
    targets = rng.choice([-np.pi / 2, np.pi / 2], (N_SAMPLES, 2))
    return parameters, inputs, targets


def emulator(network: Network = NETWORK) -> XYEmulator:
    return XYEmulator(network, EmulatorOptions(threads=1))


def controller(
    estimator: Estimator,
    beta: float,
    substrate: Substrate | None = None,
    cost: Cost | None = None,
    **options: object,
) -> Controller:
    """A controller that neither halves β nor starts anew, programmed."""
    chosen = ControllerOptions(beta=beta, max_halvings=0, max_restarts=0)
    made = Controller(
        emulator() if substrate is None else substrate,
        Cosine() if cost is None else cost,
        estimator,
        dataclasses.replace(chosen, **options),
        STREAMS,
    )
    made.program(setting()[0])
    return made


def measured(made: Controller) -> GradientEstimate:
    _, inputs, targets = setting()
    found = made.gradient(inputs, targets, (0,))
    assert (found.used, found.hops, found.excluded) == (N_SAMPLES, 0, 0)
    return found


def estimate(
    kind: str, beta: float, options: Mapping[str, object] | None = None, **more: object
) -> FloatArray:
    return measured(controller(make_estimator(kind, options), beta, **more)).gradient.flatten()


def free_round(made: Controller) -> Round:
    """The round that `measured` nudges: the same free states."""
    _, inputs, targets = setting()
    one = made.free_round(inputs, targets, (0, 0, 0), "free phase")
    assert one.active.all()
    return one


@cache
def exact() -> FloatArray:
    """The gradient of the mean cosine cost by implicit differentiation."""
    one = free_round(controller(Centred(), 0.1))
    phases, targets = one.free.phases, setting()[2]
    slope = np.zeros_like(phases)
    slope[:, NETWORK.outputs] = Cosine().gradient(phases[:, NETWORK.outputs], targets)
    weights = np.full(N_SAMPLES, 1 / N_SAMPLES)
    return exact_gradient(NETWORK, setting()[0], phases, slope, weights).flatten()


def _parameters(flat: FloatArray) -> Parameters:
    """The inverse of `Parameters.flatten`."""
    coupling, real, imaginary = np.split(
        flat, [NETWORK.n_couplings, NETWORK.n_couplings + NETWORK.n_nodes]
    )
    return Parameters(coupling, real + 1j * imaginary)


@cache
def differences() -> FloatArray:
    """The same by finite differences of C at re-settled equilibria, extrapolated twice."""
    parameters, inputs, targets = setting()
    substrate = emulator()
    substrate.write_parameters(parameters)
    substrate.set_inputs(inputs)
    substrate.reset(STREAMS.number("free phase", 0, 0, 0))
    substrate.settle()
    free = substrate.store_state()

    def mean_cost(flat: FloatArray) -> float:
        substrate.write_parameters(_parameters(flat))
        substrate.restore_state(free)
        assert substrate.settle().settled.all()
        outputs = substrate.read_phases().phases[:, NETWORK.outputs]
        return float(Cosine().value(outputs, targets).mean())

    centre = parameters.flatten()

    def slope(index: int, step: float) -> float:
        shift = np.zeros_like(centre)
        shift[index] = step
        return (mean_cost(centre + shift) - mean_cost(centre - shift)) / (2 * step)

    trained = np.flatnonzero(exact())
    gradient = np.zeros_like(centre)
    for index in trained:
        one, two, four = (slope(index, step) for step in (1e-3, 2e-3, 4e-3))
        gradient[index] = (64 * one - 20 * two + four) / 45
    return gradient


def relative(found: FloatArray, truth: FloatArray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def log_slope(x: FloatArray, y: FloatArray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
