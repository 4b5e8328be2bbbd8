"""Self-test of the emulator: named steps, none of which relies on the code it checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.network.graph import Network
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.substrate import SelfTestStep

from .engines import compiled_unavailable_because

if TYPE_CHECKING:
    from .emulator import EmulatorOptions

__all__ = ["emulator_self_test"]


def emulator_self_test(network: Network, options: EmulatorOptions) -> list[SelfTestStep]:
    """Relax ``network`` with random parameters and check the outcome by independent means."""
    from .emulator import XYEmulator  # noqa: PLC0415 - the emulator offers this test

    reason = compiled_unavailable_because()
    steps = [
        SelfTestStep(
            "compiled kernels",
            reason is None,
            "present" if reason is None else f"{reason}; the slower reference is used",
        )
    ]
    rng = np.random.default_rng(20240213)
    bias = np.zeros(network.n_nodes, dtype=complex)
    bias[network.free] = 0.1 * np.exp(1j * rng.uniform(-np.pi, np.pi, len(network.free)))
    degree = np.bincount(network.edges.ravel(), minlength=network.n_nodes).mean()
    parameters = Parameters(rng.normal(0, 1 / np.sqrt(degree), network.n_couplings), bias)
    inputs = rng.uniform(-np.pi / 2, np.pi / 2, (4, len(network.inputs)))
    try:
        with XYEmulator(network, options) as emulator:
            emulator.write_parameters(parameters)
            emulator.set_inputs(inputs)
            emulator.reset(1)
            outcome = emulator.settle()
            phases = emulator.read_phases().phases
            emulator.reset(1)
            emulator.settle()
            again = emulator.read_phases().phases
    except Exception as error:  # noqa: BLE001 - a self-test reports, it never raises
        steps.append(SelfTestStep("relaxation", False, f"{type(error).__name__}: {error}"))
        return steps
    residual = float(np.abs(force(network, parameters, phases)).max())
    steps.append(
        SelfTestStep(
            "relaxation",
            bool(outcome.settled.all()) and residual <= 10 * options.residual,
            f"{int(outcome.settled.sum())} of 4 samples settled, largest force {residual:.1e}",
        )
    )
    if len(network.free) <= 500:
        smallest = min(
            float(np.linalg.eigvalsh(jacobian(network, parameters, row).toarray())[0])
            for row in phases
        )
        steps.append(
            SelfTestStep("stability", smallest > 0, f"smallest Hessian eigenvalue {smallest:.2e}")
        )
    steps.append(
        SelfTestStep(
            "repeatability",
            bool(np.array_equal(phases, again)),
            "the same seed gives the same phases, bit for bit",
        )
    )
    return steps
