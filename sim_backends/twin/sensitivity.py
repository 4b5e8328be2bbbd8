"""From how phases walk at constant drives to how the heaters' offsets do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.rig.actuation.drive import Drive, DriveMap
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator

from .optics import Made, TrueOptics

__all__ = ["DRIFT", "offset_walk", "phases_per_offset"]

DRIFT = "drift_walk"
"""Figure of a step: (n_free,) random walk of phases as read at constant drives, rad/√s."""

_COUPLING, _BIAS = 0.5, 0.2
"""Of the drives at which calibrations watch phases, in shares of the maxima; couplings over the
root of the bonds of a node."""
_DRIVES = 9
_STEP = 1e-4


def offset_walk(
    rig: Rig, known: RigCalibration, optics: TrueOptics, further: Mapping[str, FloatArray]
) -> float:
    """Return how every heater's offset walks, rad/√s, so that phases walk as measured.

    Root mean square of ``drift_walk`` over the nodes, divided by how much all offsets together
    move a phase: a phase has many heaters, and is far more sensitive to them than one to one.
    """
    walk = np.asarray(further.get(DRIFT, np.zeros(1)), dtype=np.float64)
    walk = walk[np.isfinite(walk)]
    measured = float(np.sqrt(np.mean(walk**2))) if len(walk) else 0.0
    return measured / phases_per_offset(rig, known, optics) if measured > 0 else 0.0


def phases_per_offset(rig: Rig, known: RigCalibration, optics: TrueOptics) -> float:
    """Return the rms phase over the nodes per rms offset, all offsets independent.

    By linear response dφ = A⁻¹ (∂force/∂θ) dθ at equilibria of random couplings and fields as
    calibrations watch drift at; their median, as soft ones have no mean.
    """
    # A property of the rig, not of a run: drawn the same for all seeds.
    rng = RandomStreams(0).generator("twin sensitivity to offsets")
    found = [_response(rig, known, optics, rng) for _ in range(_DRIVES)]
    usable = [one for one in found if np.isfinite(one) and one > 0]
    return float(np.median(usable)) if usable else 1.0


def _response(
    rig: Rig, known: RigCalibration, optics: TrueOptics, rng: np.random.Generator
) -> float:
    network = optics.network
    theta = _typical(rig, known, rng)
    with XYEmulator(network, EmulatorOptions(threads=1)) as emulator:
        made = optics.made(theta, theta)
        emulator.write_parameters(_parameters(network, made))
        emulator.set_inputs(made.inputs[None])
        emulator.reset(int(rng.integers(2**31)))
        if not emulator.settle().settled.all():
            return float("nan")
        phases = emulator.read_phases().phases
    curvature = jacobian(network, _parameters(network, made), phases[0]).toarray()
    torque = np.empty((len(network.free), len(theta)))
    for row in range(len(theta)):
        sides = []
        for sign in (1.0, -1.0):
            turned = theta.copy()
            turned[row] += sign * _STEP
            made = optics.made(turned, theta)
            at = phases.copy()
            at[0, network.inputs] = made.inputs
            sides.append(force(network, _parameters(network, made), at)[0, network.free])
        torque[:, row] = (sides[0] - sides[1]) / (2 * _STEP)
    response = np.linalg.solve(curvature, torque)
    return float(np.sqrt((response**2).sum(axis=1).mean()))


def _parameters(network: Network, made: Made) -> Parameters:
    bias = np.zeros(network.n_nodes, dtype=np.complex128)
    bias[network.free] = made.field
    return Parameters(made.forward, bias, made.reverse)


def _typical(rig: Rig, known: RigCalibration, rng: np.random.Generator) -> FloatArray:
    """Return phases of all heaters that make typical couplings, inputs and fields."""
    network, highest = rig.network, float(known.coupling_maximum.min())
    degree = float(np.bincount(network.edges.ravel()).max())
    coupling = rng.normal(0, _COUPLING * highest / np.sqrt(degree), network.n_couplings)
    angle = rng.uniform(-np.pi, np.pi, len(known.bias_maximum))
    size = _BIAS * float(known.bias_maximum.min()) if len(angle) else 0.0
    drive = Drive(
        coupling=np.clip(coupling, -highest, highest),
        inputs=rng.uniform(-np.pi, np.pi, len(network.inputs)),
        bias=size * np.exp(1j * angle),
        nudge=np.zeros(len(known.nudge_maximum), dtype=np.complex128),
    )
    nowhere = np.full(len(rig.wiring.heaters), np.nan)
    return DriveMap(rig, known).wanted(drive, nowhere).at_least(np.zeros(len(nowhere)))
