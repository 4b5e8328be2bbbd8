"""What a rig's heaters do to its phases, with the derivatives that a fit needs.

At rest every free node i points along its local field,

    h_i = e^{−iφ_i} (Σ_j J_ij e^{iφ_j} + Σ A e^{iψ}),   Im h_i = 0,   Re h_i > 0,

with J = J_max cos θ of a coupler, φ_j the phase of another free node or that of an input, θ, and
A = A_max sin(θ_A/2), ψ = θ_ψ of an injection. All θ are linear in the heaters' powers:
θ = offset + slope @ P. The torque of the energy E = −Σ J cos(φ_i−φ_j) − Σ A cos(ψ−φ) is Im h.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeVar, final

import numpy as np
from scipy.sparse import csr_array

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

__all__ = ["Elements", "LocalFields", "NetworkModel", "Pairs", "Terms", "own_equilibria"]

_NEWTON = 5
_LONGEST = 0.3
Parts = TypeVar("Parts", FloatArray, ComplexArray)


@final
@dataclass(frozen=True, eq=False)
class Elements:
    """Figures of all heaters and of what they drive.

    Attributes
    ----------
    offset
        (n_heaters,) phases without any power, rad.
    slope
        (n_heaters, n_heaters) dθ_h/dP_j, rad/W: π/P_π · X of a calibration.
    maximum
        (n_maxima,) J_max of the couplings, then A_max of bias fields, then of nudges.
    log_ratio
        (n_edges,) ln(J_ij/J_ji), 0 for a reciprocal bond; J_ij drives the first node of an edge.
    """

    offset: FloatArray
    slope: FloatArray
    maximum: FloatArray
    log_ratio: FloatArray

    @classmethod
    def of(cls, calibration: RigCalibration, n_edges: int) -> Self:
        """Return the elements that a calibration states."""
        per_watt = np.pi / calibration.half_wave_power_W
        return cls(
            calibration.phase_offset,
            per_watt[:, None] * calibration.crosstalk,
            np.concatenate(
                [
                    calibration.coupling_maximum,
                    calibration.bias_maximum,
                    calibration.nudge_maximum,
                ]
            ),
            np.zeros(n_edges),
        )

    def theta(self, power_W: FloatArray) -> FloatArray:
        """Return (m, n_heaters) phases under (m, n_heaters) powers."""
        theta: FloatArray = self.offset + power_W @ self.slope.T
        return theta

    def into(self, calibration: RigCalibration) -> RigCalibration:
        """Return a calibration with these heaters and maxima in place of its own."""
        per_watt = np.diag(self.slope)
        n_couplings, n_bias = len(calibration.coupling_maximum), len(calibration.bias_maximum)
        return replace(
            calibration,
            half_wave_power_W=np.pi / per_watt,
            phase_offset=self.offset,
            crosstalk=self.slope / per_watt[:, None],
            coupling_maximum=self.maximum[:n_couplings],
            bias_maximum=self.maximum[n_couplings : n_couplings + n_bias],
            nudge_maximum=self.maximum[n_couplings + n_bias :],
        )


@final
@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of all local fields: bonds seen from one end each, then injections.

    Attributes
    ----------
    node
        (n_terms,) free node (0 … n_free−1) whose field the term belongs to.
    strength
        (n_terms,) heater row of the coupler, or of the injection's amplitude.
    angle
        (n_terms,) heater row of the clamped input or of the injection's phase; −1 where the
        other end is a free node.
    other
        (n_terms,) the free node at the other end, or −1.
    maximum
        (n_terms,) index into `Elements.maximum`.
    edge
        (n_terms,) bond, or −1 for an injection.
    side
        (n_terms,) +½ at the first node of the bond, −½ at the second, 0 for an injection.
    """

    node: IntArray
    strength: IntArray
    angle: IntArray
    other: IntArray
    maximum: IntArray
    edge: IntArray
    side: FloatArray

    @property
    def injected(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """(n_terms,) whether a term is an injection."""
        return np.asarray(self.edge < 0)


@final
@dataclass(frozen=True, eq=False)
class LocalFields:
    """Local fields at m equilibria, and their parts.

    Attributes
    ----------
    parts
        (m, n_terms) the terms.
    slopes
        (m, n_terms) their derivatives by the phase of the heater `Terms.strength`.
    field
        (m, n_free) h.
    stiffness
        (m, n_free, n_free) A_ij = −∂Im h_i/∂φ_j: the Hessian of the energy.
    """

    parts: ComplexArray
    slopes: ComplexArray
    field: ComplexArray
    stiffness: FloatArray


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Which figures act on which nodes: the local field of a node depends on few of them.

    Attributes
    ----------
    node, item
        (k,) free nodes and figures (heaters, maxima or bonds); every pair once, by node.
    gather
        (k, n_parts) sums what several terms of one node do with one figure.
    """

    node: IntArray
    item: IntArray
    gather: csr_array

    @classmethod
    def of(cls, node: IntArray, item: IntArray, factor: FloatArray) -> Self:
        """Return the pairs of n_parts parts: node, figure and factor of each."""
        both, where = np.unique(np.stack([node, item]), axis=1, return_inverse=True)
        entries = (factor, (where.ravel(), np.arange(len(node))))
        return cls(both[0], both[1], csr_array(entries, shape=(both.shape[1], len(node))))


@final
class NetworkModel:
    """Structure of one rig: which heater acts on which node."""

    def __init__(self, rig: Rig) -> None:
        wiring, network = rig.wiring, rig.network
        self.n_heaters = len(wiring.heaters)
        self.n_free = len(network.free)
        self.n_edges = len(network.edges)
        starts = np.cumsum(
            [0]
            + [
                len(part)
                for part in (
                    wiring.couplings,
                    wiring.inputs,
                    wiring.bias_amplitude,
                    wiring.bias_phase,
                    wiring.nudge_amplitude,
                    wiring.nudge_phase,
                )
            ]
        )
        self.rows = {
            name: slice(int(first), int(last))
            for name, first, last in zip(
                (
                    "couplings",
                    "inputs",
                    "bias_amplitude",
                    "bias_phase",
                    "nudge_amplitude",
                    "nudge_phase",
                ),
                starts[:-1],
                starts[1:],
                strict=True,
            )
        }
        self.n_couplings, n_bias = len(wiring.couplings), len(wiring.bias_amplitude)
        self.n_maxima = self.n_couplings + n_bias + len(wiring.nudge_amplitude)
        self.terms = _terms(rig, self.rows)

    # Found when a fit asks: most of the model's users have no need of them.
    @cached_property
    def heater_pairs(self) -> Pairs:
        """Of heaters and nodes; the parts are those of `by_theta`."""
        terms, turning = self.terms, self._turning
        return Pairs.of(
            np.append(terms.node, terms.node[turning]),
            np.append(terms.strength, terms.angle[turning]),
            np.ones(len(terms.node) + len(turning)),
        )

    @cached_property
    def maximum_pairs(self) -> Pairs:
        """Of maxima and nodes; the parts are those of `by_log_maximum`."""
        return Pairs.of(self.terms.node, self.terms.maximum, np.ones(len(self.terms.node)))

    @cached_property
    def ratio_pairs(self) -> Pairs:
        """Of bonds and nodes; the parts are those of `by_log_ratio`."""
        terms, bonds = self.terms, self._bonds
        return Pairs.of(terms.node[bonds], terms.edge[bonds], terms.side[bonds])

    @cached_property
    def phase_pairs(self) -> Pairs:
        """Of phases and nodes; the parts are those of `by_phase`."""
        # A term turns with the phase of its far end, and against that of its own node.
        terms, inner = self.terms, self._inner
        return Pairs.of(
            np.append(terms.node[inner], terms.node),
            np.append(terms.other[inner], terms.node),
            np.append(np.ones(len(inner)), -np.ones(len(terms.node))),
        )

    @cached_property
    def _of_node(self) -> csr_array:
        every = np.arange(len(self.terms.node))
        entries = (np.ones(len(every)), (self.terms.node, every))
        return csr_array(entries, shape=(self.n_free, len(every)))

    @cached_property
    def _turning(self) -> IntArray:
        return np.flatnonzero(self.terms.angle >= 0)

    @cached_property
    def _bonds(self) -> IntArray:
        return np.flatnonzero(~self.terms.injected)

    @cached_property
    def _inner(self) -> IntArray:
        return np.flatnonzero(self.terms.other >= 0)

    @property
    def seen(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """(n_heaters,) whether a heater's own phase acts on any free node."""
        seen = np.zeros(self.n_heaters, dtype=bool)
        seen[self.terms.strength] = True
        seen[self.terms.angle[self.terms.angle >= 0]] = True
        return seen

    @property
    def seen_maxima(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """(n_maxima,) whether a maximum acts on any free node."""
        seen = np.zeros(self.n_maxima, dtype=bool)
        seen[self.terms.maximum] = True
        return seen

    def local_fields(
        self, elements: Elements, theta: FloatArray, phases: FloatArray
    ) -> LocalFields:
        """Return the local fields at equilibria.

        Parameters
        ----------
        elements
            Maxima and ratios; the phases of heaters are handed in.
        theta
            (m, n_heaters).
        phases
            (m, n_free).
        """
        terms, injected = self.terms, self.terms.injected
        size = elements.maximum[terms.maximum]
        size = size * np.exp(terms.side * elements.log_ratio[terms.edge] * ~injected)
        driven = theta[:, terms.strength]
        half = np.where(injected, 0.5, 1.0) * driven
        sine, cosine = np.sin(half), np.cos(half)
        direction = np.where(terms.angle >= 0, theta[:, terms.angle], phases[:, terms.other])
        turn = size * np.exp(1j * (direction - phases[:, terms.node]))
        parts: ComplexArray = np.where(injected, sine, cosine) * turn
        slopes: ComplexArray = np.where(injected, 0.5 * cosine, -sine) * turn
        field: ComplexArray = np.asarray(self._of_node @ parts.T).T
        stiffness = np.zeros((len(phases), self.n_free, self.n_free))
        near = self.phase_pairs
        stiffness[:, near.node, near.item] = -self._by_phase(parts.real).T
        return LocalFields(parts, slopes, field, stiffness)

    def by_theta(self, local: LocalFields) -> ComplexArray:
        """Return (k, m) ∂h_i/∂θ of the k `heater_pairs` at m equilibria."""
        parts = np.concatenate([local.slopes, 1j * local.parts[:, self._turning]], axis=1)
        return np.asarray(self.heater_pairs.gather @ parts.T)

    def by_phase(self, local: LocalFields) -> ComplexArray:
        """Return (k, m) ∂h_i/∂φ_j of the k `phase_pairs`."""
        return 1j * self._by_phase(local.parts)

    def _by_phase(self, parts: Parts) -> Parts:
        both = np.concatenate([parts[:, self._inner], parts], axis=1)
        made: Parts = self.phase_pairs.gather @ both.T
        return made

    def by_log_maximum(self, local: LocalFields) -> ComplexArray:
        """Return (k, m) ∂h_i/∂ln(maximum) of the k `maximum_pairs`."""
        return np.asarray(self.maximum_pairs.gather @ local.parts.T)

    def by_log_ratio(self, local: LocalFields) -> ComplexArray:
        """Return (k, m) ∂h_i/∂ln(J_ij/J_ji) of the k `ratio_pairs`."""
        return np.asarray(self.ratio_pairs.gather @ local.parts[:, self._bonds].T)


def own_equilibria(
    model: NetworkModel, elements: Elements, theta: FloatArray, phases: FloatArray
) -> tuple[FloatArray, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return the model's own equilibria next to (m, n_free) phases, and where there is one."""
    near = phases.copy()
    for _ in range(_NEWTON):
        local = model.local_fields(elements, theta, near)
        step = np.linalg.solve(local.stiffness, local.field.imag[:, :, None])[:, :, 0]
        near = near + np.clip(step, -_LONGEST, _LONGEST)
    return near, np.asarray((np.abs(step) < 1e-5).all(axis=1))


def _terms(rig: Rig, rows: dict[str, slice]) -> Terms:
    network = rig.network
    position = {int(node): k for k, node in enumerate(network.inputs)}
    found: list[tuple[int, int, int, int, int, int, float]] = []
    for edge, pair in enumerate(network.edges):
        coupler = int(network.coupling_group[edge])
        for here, there, side in ((pair[0], pair[1], 0.5), (pair[1], pair[0], -0.5)):
            node, other = int(network.free_index[here]), int(network.free_index[there])
            if node < 0:
                continue
            angle = -1 if other >= 0 else rows["inputs"].start + position[int(there)]
            found.append((node, coupler, angle, other, coupler, edge, side))
    n_couplings = rows["couplings"].stop
    n_bias = rows["bias_amplitude"].stop - rows["bias_amplitude"].start
    for k in range(n_bias):
        strength, angle = rows["bias_amplitude"].start + k, rows["bias_phase"].start + k
        found.append((k, strength, angle, -1, n_couplings + k, -1, 0.0))
    for k, output in enumerate(network.outputs):
        strength, angle = rows["nudge_amplitude"].start + k, rows["nudge_phase"].start + k
        node = int(network.free_index[output])
        found.append((node, strength, angle, -1, n_couplings + n_bias + k, -1, 0.0))
    node_, strength_, angle_, other_, maximum_, edge_ = (
        np.array(column, dtype=np.int64) for column in list(zip(*found, strict=True))[:6]
    )
    sides = np.array([one[6] for one in found], dtype=float)
    return Terms(node_, strength_, angle_, other_, maximum_, edge_, sides)
