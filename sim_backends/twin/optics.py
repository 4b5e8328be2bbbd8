"""What volts really make in the rig that was drawn: couplings both ways, fields, inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.actuation.drive import DriveMap
from eqp_hw.rig.actuation.heaters import HeaterModel
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.imperfections.programming import untied

__all__ = ["Made", "MovedInputs", "TrueOptics"]


@final
@dataclass(frozen=True, eq=False)
class Made:
    """What acts on the network.

    Attributes
    ----------
    forward, reverse
        (n_edges,) J_ij and J_ji.
    field
        (n_free,) bias fields and, at outputs, nudges.
    inputs
        (n_inputs,) phases, rad.
    reference
        Error of the reference arm's phase, rad; 0 without a step shifter.
    """

    forward: FloatArray
    reverse: FloatArray
    field: ComplexArray
    inputs: FloatArray
    reference: float


@final
class TrueOptics:
    """Heaters and elements as they are.

    Parameters
    ----------
    rig
        Wiring.
    figures
        Of the rig that was drawn.
    log_ratio
        (n_edges,) ln(J_ij/J_ji).
    dead
        Rows of heaters that do not heat.
    """

    def __init__(
        self, rig: Rig, figures: RigCalibration, log_ratio: FloatArray, dead: IntArray
    ) -> None:
        self._model = HeaterModel.of(figures)
        self.network = untied(rig.network)
        """With one coupling a bond, in the order of the rig's bonds."""
        self._map = DriveMap(rig, figures)
        self._group = rig.network.coupling_group
        self._half = np.exp(log_ratio / 2)
        self._outputs = rig.network.free_index[rig.network.outputs]
        self._n_free = len(rig.network.free)
        self._dead = dead

    def phases(self, setpoint_V: FloatArray) -> FloatArray:
        """Return (n,) θ under set-points, rad, without what has drifted."""
        power = self._model.powers_of_voltages(setpoint_V)
        power[self._dead] = 0.0
        return self._model.phases(power)

    def made(self, theta: FloatArray, believed: FloatArray) -> Made:
        """Return what heaters' phases make; ``believed`` are those that the rig reckons with."""
        bonds = self._map.couplers.held(theta)[self._group]
        field = np.zeros(self._n_free, dtype=np.complex128)
        if len(self._map.bias.maximum):
            field += self._map.bias.held(theta)
        field[self._outputs] += self._map.nudge.held(theta)
        row = self._map.step_row
        reference = 0.0 if row is None else float(theta[row] - believed[row])
        inputs = self._map.inputs(theta)
        return Made(bonds * self._half, bonds / self._half, field, inputs, reference)


@final
class MovedInputs:
    """What inputs that are not where they are believed to be exert on the free nodes.

    Parameters
    ----------
    network
        The graph.
    """

    def __init__(self, network: Network) -> None:
        bonds = network.boundary_edges
        ends = network.edges[bonds]
        first = network.free_index[ends[:, 0]] >= 0
        free, clamped = np.where(first, ends.T, ends.T[::-1])
        number = np.full(network.n_nodes, -1)
        number[network.inputs] = np.arange(len(network.inputs))
        self._bonds, self._first = bonds, first
        self._free, self._input = network.free_index[free], number[clamped]
        self._n_free = len(network.free)

    def field(self, made: Made, clamped: FloatArray) -> ComplexArray:
        """Return the (n_free,) field Σ J_i,in (exp(iφ_in) − exp(iφ_clamped))."""
        moved = (np.exp(1j * made.inputs) - np.exp(1j * clamped))[self._input]
        # Bond (i, j): forward drives i by j.
        drives = np.where(self._first, made.forward[self._bonds], made.reverse[self._bonds]) * moved
        real = np.bincount(self._free, drives.real, self._n_free)
        imaginary = np.bincount(self._free, drives.imag, self._n_free)
        field: ComplexArray = real + 1j * imaginary
        return field
