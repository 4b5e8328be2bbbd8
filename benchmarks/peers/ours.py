"""The emulator, through the public interface: one gradient as a training step measures it."""

from __future__ import annotations

import logging

import numpy as np

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.estimators import OneSided
from eqp_hw.network.graph import FloatArray
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator

from .problem import BETA, COST, Outcome, Problem, cpu_seconds

ADDRESS = (0,)


def measure(
    problem: Problem, options: EmulatorOptions, seed: int, repeats: int, *, retries: bool = True
) -> tuple[Outcome, FloatArray]:
    """Return the outcome (medians over ``repeats``) and the random starts, (batch, n).

    Without ``retries`` a sample that hops is left out instead of being nudged again.
    """
    logging.getLogger("eqp_hw").setLevel(logging.ERROR)
    setup_s, emulator = cpu_seconds(lambda: XYEmulator(problem.network, options))
    streams = RandomStreams(seed)
    how = ControllerOptions(beta=BETA)
    if not retries:
        how = ControllerOptions(beta=BETA, max_halvings=0, max_restarts=0)
    controller = Controller(emulator, COST, OneSided(), how, streams)
    # The seed of the controller's first try, so that the free phases measured alone, and the
    # starts handed to the peers, are those of the gradient.
    first_try = streams.number("free phase", *ADDRESS, 0, 0)

    def prepare() -> None:
        emulator.write_parameters(problem.parameters)
        emulator.set_inputs(problem.inputs)
        emulator.reset(first_try)

    prepare()
    free_nodes = problem.network.free
    starts = emulator.read_phases().phases[:, free_nodes]
    outcome = emulator.settle()  # also warms the caches
    phases = emulator.read_phases().phases[:, free_nodes]

    def free() -> None:
        prepare()
        emulator.settle()

    def gradient() -> None:
        emulator.write_parameters(problem.parameters)
        controller.gradient(problem.inputs, problem.targets, ADDRESS)

    free_s = float(np.median([cpu_seconds(free)[0] for _ in range(repeats)]))
    gradient_s = float(np.median([cpu_seconds(gradient)[0] for _ in range(repeats)]))
    estimate = controller.gradient(problem.inputs, problem.targets, ADDRESS)
    result = Outcome(
        route="eqp_hw" if retries else "eqp_hw, without retries",
        samples=problem.batch,
        free_s=free_s,
        gradient_s=gradient_s,
        setup_s=setup_s,
        free_phases=phases,
        free_residual=outcome.residual,
        nudged_residual=np.full(1, estimate.residual_max),
        notes={
            "certified": float(outcome.certified.mean()),
            "settled": float(outcome.settled.mean()),
            "used": estimate.used,
            "hops": estimate.hops,
            "halvings": estimate.halvings,
            "restarts": estimate.restarts,
            "wall_free_s": estimate.duration_free_s,
            "wall_nudged_s": estimate.duration_nudged_s,
            "wall_statistics_s": estimate.duration_statistics_s,
        },
    )
    return result, starts
