"""Coupling tomography in place: what the bonds of a network really do, each end by itself.

With fields and input phases known, the torque balance of node i is linear in the couplings that
act on it:  Im h_i(model) + Σ_j ΔJ_ij sin(φ_j−φ_i) = 0, where ΔJ is what the couplings have beside
those commanded. Weighted least squares over equilibria under random inputs and fields gives ΔJ
with error bars, J_ij and J_ji apart, since each end has its own balance. Fields fix the scale.
The noise of a balance is that of the phases in it: Var = Σ_j (A_ij σ_j)².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.averaging import wrap

from .network_model import Elements, NetworkModel, own_equilibria

__all__ = ["Tomography", "reciprocity_index", "swapped_bonds", "tomography"]

_APART = 2.0
"""Of the tolerance: how far commanded couplings must be apart to be told to be exchanged."""

_ERRORS = 3.0

_BoolArray = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class Tomography:
    """Couplings as they act on the first and on the second node of each bond.

    Attributes
    ----------
    commanded
        (n_edges,) J of the model at the mean drive.
    found, error
        (2, n_edges) J_ij, which acts on node i (the first), and J_ji; standard errors scaled by
        the misfit where that is larger than the noise. NaN where the node is clamped.
    index, index_error
        Reciprocity index ‖S‖/‖A‖ over the free nodes, mean over the equilibria, S = (A−Aᵀ)/2.
    chi_square
        (n_free,) per degree of freedom.
    prediction
        (m, n_free) phases predicted by the model minus those measured, before ΔJ, rad.
    """

    commanded: FloatArray
    found: FloatArray
    error: FloatArray
    index: float
    index_error: float
    chi_square: FloatArray
    prediction: FloatArray

    @property
    def both_ends(self) -> tuple[FloatArray, FloatArray]:
        """(n_edges,) means over the ends that are seen, and their errors; NaN where none is."""
        seen = np.isfinite(self.found)
        count = np.where(seen.any(axis=0), seen.sum(axis=0), np.nan)
        mean = np.where(seen, self.found, 0.0).sum(axis=0) / count
        error = np.sqrt((np.where(seen, self.error, 0.0) ** 2).sum(axis=0)) / count
        return mean, error


def tomography(
    model: NetworkModel,
    elements: Elements,
    power_W: FloatArray,
    phases: FloatArray,
    noise: FloatArray,
) -> Tomography:
    """Fit the couplings of all bonds.

    Parameters
    ----------
    model, elements
        The calibrated network; its couplings need not be right.
    power_W
        (m, n_heaters); the couplers' own are the same at all m.
    phases
        (m, n_free).
    noise
        (n_free,) of each phase, rad.

    Raises
    ------
    FitError
        Fewer equilibria than a node has bonds, or all alike.
    """
    theta = elements.theta(power_W)
    local = model.local_fields(elements, theta, phases)
    terms = model.terms
    mean = elements.maximum[: model.n_couplings] * np.cos(theta[:, : model.n_couplings]).mean(0)
    commanded, found = np.full(model.n_edges, np.nan), np.full((2, model.n_edges), np.nan)
    error, chi_square = found.copy(), np.full(model.n_free, np.nan)
    commanded[terms.edge[~terms.injected]] = mean[terms.strength[~terms.injected]]
    weight = 1 / np.sqrt(local.stiffness**2 @ noise**2)
    # What each balance, by its noise, adds to each coupling.
    gain = np.zeros((2, model.n_edges, len(phases)))
    for node in range(model.n_free):
        own = np.flatnonzero((terms.node == node) & ~terms.injected)
        if not len(own):
            continue
        columns = _directions(model, own, theta, phases) * weight[:, [node]]
        if len(phases) <= len(own) or np.linalg.cond(columns) > 1e6:
            raise FitError(
                f"{len(phases)} equilibria do not tell the {len(own)} bonds of free node "
                f"{node} apart"
            )
        right = -local.field[:, node].imag * weight[:, node]
        inverse = np.linalg.inv(columns.T @ columns)
        change = inverse @ (columns.T @ right)
        left = right - columns @ change
        chi_square[node] = float(left @ left) / (len(left) - len(own))
        deviation = np.sqrt(np.diag(inverse) * max(1.0, float(chi_square[node])))
        side = np.where(terms.side[own] > 0, 0, 1)
        found[side, terms.edge[own]] = mean[terms.strength[own]] + change
        error[side, terms.edge[own]] = deviation
        scale = np.sqrt(max(1.0, float(chi_square[node])))
        gain[side, terms.edge[own]] = scale * (inverse @ columns.T) * weight[:, node]
    shared = _shared(model, local.stiffness, gain, noise)
    change = found - commanded
    cosines = _cosines(model, theta, phases)
    index, index_error = _index(model, local.stiffness, change, error, shared, cosines)
    # One Newton step is no distance where the network is soft: the model goes all the way.
    rest, _ = own_equilibria(model, elements, theta, phases)
    prediction = wrap(rest - phases)
    return Tomography(commanded, found, error, index, index_error, chi_square, prediction)


def _directions(
    model: NetworkModel, own: IntArray, theta: FloatArray, phases: FloatArray
) -> FloatArray:
    terms = model.terms
    other = np.where(terms.angle[own] >= 0, theta[:, terms.angle[own]], phases[:, terms.other[own]])
    sines: FloatArray = np.sin(other - phases[:, terms.node[own]])
    return sines


def reciprocity_index(stiffness: FloatArray) -> float:
    """Return ‖(A−Aᵀ)/2‖/‖A‖ (Frobenius), mean over (m, n, n) Jacobians."""
    skew = (stiffness - np.swapaxes(stiffness, 1, 2)) / 2
    ratio = np.linalg.norm(skew, axis=(1, 2)) / np.linalg.norm(stiffness, axis=(1, 2))
    return float(ratio.mean())


def _cosines(model: NetworkModel, theta: FloatArray, phases: FloatArray) -> FloatArray:
    """Return (m, n_terms) cos(φ_j−φ_i)."""
    terms = model.terms
    other = np.where(terms.angle >= 0, theta[:, terms.angle], phases[:, terms.other])
    cosines: FloatArray = np.cos(other - phases[:, terms.node])
    return cosines


def _shared(
    model: NetworkModel, stiffness: FloatArray, gain: FloatArray, noise: FloatArray
) -> FloatArray:
    """Return (n_edges,) covariance of J_ij and J_ji as found: noise of a phase is in both."""
    terms, shared = model.terms, np.zeros(model.n_edges)
    for k in np.flatnonzero((terms.other >= 0) & (terms.side > 0)):
        node, other, edge = terms.node[k], terms.other[k], terms.edge[k]
        both = (stiffness[:, node] * stiffness[:, other]) @ noise**2
        shared[edge] = float((gain[0, edge] * gain[1, edge]) @ both)
    return shared


def _index(
    model: NetworkModel,
    stiffness: FloatArray,
    change: FloatArray,
    error: FloatArray,
    shared: FloatArray,
    cosines: FloatArray,
) -> tuple[float, float]:
    terms, really = model.terms, stiffness.copy()
    skew = np.zeros(len(stiffness))
    for k in np.flatnonzero(~terms.injected):
        node, other, edge = terms.node[k], terms.other[k], terms.edge[k]
        side = 0 if terms.side[k] > 0 else 1
        # To a clamped input a bond is stiffness as well, though of its own node alone.
        really[:, node, node] += change[side, edge] * cosines[:, k]
        if other >= 0:
            really[:, node, other] -= change[side, edge] * cosines[:, k]
            skew += (error[side, edge] ** 2 - shared[edge]) * cosines[:, k] ** 2 / 2
    # The errors of both ends make a skew part of their own, which is no finding.
    of_noise = np.sqrt(np.maximum(skew, 0.0)) / np.linalg.norm(really, axis=(1, 2))
    raw, floor = reciprocity_index(really), float(of_noise.mean())
    return float(np.sqrt(max(raw**2 - floor**2, 0.0))), floor


def swapped_bonds(tomogram: Tomography, tolerance: FloatArray) -> list[tuple[int, int]]:
    """Return pairs of bonds that each make what is commanded of the other one, up to the sign.

    The sign of a bond to a clamped input is one with the input's offset: it may be another there.
    Bonds that are told much the same are left out: what one makes is then no sign of the other.

    Parameters
    ----------
    tolerance
        (n_edges,) how near is the same; errors are allowed for besides.
    """
    found, error = tomogram.both_ends
    near = np.maximum(tolerance, _ERRORS * error)
    told = np.abs(tomogram.commanded)
    away = np.abs(found - tomogram.commanded)
    wrong = np.flatnonzero(np.isfinite(away) & (away > near))
    return [
        (int(one), int(two))
        for k, one in enumerate(wrong)
        for two in wrong[k + 1 :]
        if abs(told[one] - told[two]) > _APART * max(near[one], near[two])
        and abs(abs(found[one]) - told[two]) < near[one]
        and abs(abs(found[two]) - told[one]) < near[two]
    ]
