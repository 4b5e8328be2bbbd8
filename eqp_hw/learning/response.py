"""How far every phase turns for a small torque on the outputs, measured by small nudges."""

from __future__ import annotations

import numpy as np

from eqp_hw.learning.controller import Controller
from eqp_hw.learning.nudge_strength import NudgeStrength
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap

__all__ = ["measure_response"]


def measure_response(
    controller: Controller, inputs: FloatArray, address: tuple[int, ...], torque: float = 1e-2
) -> tuple[FloatArray, FloatArray]:
    """Measure χ_io = ∂φ_i/∂(torque on output o) at the free state by small torques.

    Parameters
    ----------
    controller
        Of a programmed substrate.
    inputs
        (batch, n_inputs) probe samples.
    address
        Counters that address the random starts.
    torque
        Amplitude, or the nudge level of the substrate nearest to it; ± is used where the
        substrate can, else one side.

    Returns
    -------
    χ, (batch, N, n_outputs), rows of inputs are zero and samples that hopped are NaN; and
    the free phases (batch, N).
    """
    network, capabilities = controller.substrate.network, controller.substrate.capabilities
    signed = capabilities.signed_nudge
    torque = float(NudgeStrength(capabilities).of(np.ones((1, 1), complex), torque)[1][0])
    phases = np.empty((len(inputs), network.n_nodes))
    chi = np.empty((len(inputs), network.n_nodes, len(network.outputs)))
    for number, rows in enumerate(controller.chunks(len(inputs))):
        targets = np.zeros((len(rows), len(network.outputs)))
        one = controller.free_round(inputs[rows], targets, (*address, number), "response")
        free = one.free.phases
        phases[rows] = free
        for column, node in enumerate(network.outputs):
            field = np.zeros((len(rows), len(network.outputs)), dtype=complex)
            field[:, column] = 1j * np.exp(1j * free[:, node])
            signs = (1.0, -1.0) if signed else (1.0,)
            nudged = one.measure([(one.sites(field), sign * torque) for sign in signs])
            good = one.active.copy()
            for measurement in nudged:
                good &= measurement.outcome.settled & ~measurement.outcome.hop
            base = nudged[1].reading.phases if signed else free
            difference = wrap(nudged[0].reading.phases - base)
            chi[rows, :, column] = difference / (torque * len(signs))
            chi[rows[~good], :, column] = np.nan
    return chi, phases
