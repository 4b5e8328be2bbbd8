"""Offsets and maxima of a network without any first guess, from linear algebra alone.

With the slopes dθ/dP known roughly, the torque balance of one node is linear and homogeneous in
products of what is unknown: J cos(t + x) sin(φ_j−φ_i) with x = slope·P is

    (J cos t) · cos x sin(φ_j−φ_i) − (J sin t) · sin x sin(φ_j−φ_i),

and an injection, or a bond to a clamped input, has four such products, a 2×2 matrix of rank one:
(A sin(t_A/2), A cos(t_A/2)) ⊗ (cos t_ψ, sin t_ψ). The right singular vector of the smallest
singular value solves it up to a factor a node. The factors of neighbours follow from the bonds
that both see, and the last one is a gauge. It works for offsets anywhere on the circle.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import lsqr

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .network_model import Elements, NetworkModel

__all__ = ["node_columns", "start_elements"]


def start_elements(
    model: NetworkModel, rough: Elements, power_W: FloatArray, phases: FloatArray
) -> tuple[Elements, FloatArray]:
    """Return elements with offsets and maxima found, and how well each node's are determined.

    Parameters
    ----------
    model
        Structure of the rig.
    rough
        Slopes to within some 10 %; offsets choose among equivalent ones; maxima fix the scale.
    power_W
        (m, n_heaters) drives, of up to about one half-wave power each: the error of the slopes
        must not turn a phase by much.
    phases
        (m, n_free) equilibria.

    Returns
    -------
    Elements, and (n_free,) ratios of the smallest to the second smallest singular value: well
    below 1 where the balance holds and determines the node's elements.
    """
    swing = power_W @ rough.slope.T
    offset, maximum = rough.offset.copy(), np.full(model.n_maxima, np.nan)
    # What each node says of its terms, up to the node's factor: complex, J e^{it} of a coupler.
    bonds = np.zeros(len(model.terms.node), dtype=np.complex128)
    angles = np.full(len(model.terms.node), np.nan)
    quality = np.empty(model.n_free)
    for node in range(model.n_free):
        quality[node] = _solve_node(model, node, swing, phases, bonds, angles)
    _align_angles(model, rough, bonds, angles)
    factor = _node_factors(model, bonds)
    bonds = bonds * factor[model.terms.node]
    for row in range(model.n_heaters):
        seen = np.flatnonzero(model.terms.strength == row)
        if not len(seen):
            continue
        mean = bonds[seen].mean()
        period = 4 * np.pi if model.terms.injected[seen[0]] else 2 * np.pi
        turned = (2 if model.terms.injected[seen[0]] else 1) * np.angle(mean)
        offset[row] = _nearest(turned, rough.offset[row], period)
        maximum[model.terms.maximum[seen[0]]] = np.abs(mean)
    for row in np.unique(model.terms.angle[model.terms.angle >= 0]):
        seen = model.terms.angle == row
        turned = np.angle(np.exp(1j * angles[seen]).mean())
        offset[row] = _nearest(turned, rough.offset[row], 2 * np.pi)
    known = np.isfinite(maximum) & (maximum > 0)
    scale = np.exp(np.mean(np.log(rough.maximum[known] / maximum[known])))
    maximum = np.where(known, scale * maximum, rough.maximum)
    return replace(rough, offset=offset, maximum=maximum), quality


def node_columns(
    model: NetworkModel, node: int, swing: FloatArray, phases: FloatArray
) -> ComplexArray:
    """Return (m, n_columns): what each unknown product adds to the local field of one node.

    Parameters
    ----------
    model
        Structure.
    node
        Free node.
    swing
        (m, n_heaters) phases that the heaters' powers make, without their offsets.
    phases
        (m, n_free).
    """
    terms, here = model.terms, phases[:, node]
    columns: list[ComplexArray] = []
    for k in np.flatnonzero(terms.node == node):
        half = 0.5 if terms.injected[k] else 1.0
        x = half * swing[:, terms.strength[k]]
        # A coupler: Re((a + ib) e^{ix}); an injection: Im of it. (a + ib) = M e^{it}.
        pair = (np.sin(x), np.cos(x)) if terms.injected[k] else (np.cos(x), -np.sin(x))
        if terms.angle[k] >= 0:
            turn = np.exp(1j * (swing[:, terms.angle[k]] - here))
            columns += [p * q for p in pair for q in (turn, 1j * turn)]
        else:
            turn = np.exp(1j * (phases[:, terms.other[k]] - here))
            columns += [p * turn for p in pair]
    return np.stack(columns, axis=1)


def _solve_node(
    model: NetworkModel,
    node: int,
    swing: FloatArray,
    phases: FloatArray,
    bonds: ComplexArray,
    angles: FloatArray,
) -> float:
    terms = model.terms
    own = np.flatnonzero(terms.node == node)
    field = node_columns(model, node, swing, phases)
    matrix = field.imag
    length = np.linalg.norm(matrix, axis=0)
    _, singular, right = np.linalg.svd(matrix / length, full_matrices=False)
    found = right[-1] / length
    # At a stable equilibrium a node points along its field, not against it.
    if (field.real @ found).sum() < 0:
        found = -found
    place = 0
    for k in own:
        if terms.angle[k] >= 0:
            left, size, other = np.linalg.svd(found[place : place + 4].reshape(2, 2))
            bonds[k] = size[0] * (left[0, 0] + 1j * left[1, 0])
            angles[k] = np.arctan2(other[0, 1], other[0, 0])
            place += 4
        else:
            bonds[k] = found[place] + 1j * found[place + 1]
            place += 2
    return float(singular[-1] / singular[-2])


def _align_angles(
    model: NetworkModel,
    rough: Elements,
    bonds: ComplexArray,
    angles: FloatArray,
) -> None:
    """Choose between (M e^{it}, ψ) and (−M e^{it}, ψ + π): the angle nearer to the rough one.

    All bonds of one input must choose alike: the first node's choice decides.
    """
    for row in np.unique(model.terms.angle[model.terms.angle >= 0]):
        seen = np.flatnonzero(model.terms.angle == row)
        strongest = seen[np.argmax(np.abs(bonds[seen]))]
        doubled = (np.abs(bonds[seen]) * np.exp(2j * angles[seen])).sum()
        mean = np.angle(doubled) / 2 if len(seen) > 1 else angles[strongest]
        if np.cos(mean - rough.offset[row]) < 0:
            mean += np.pi
        turned = np.cos(angles[seen] - mean) < 0
        bonds[seen[turned]] *= -1
        angles[seen[turned]] += np.pi


def _node_factors(model: NetworkModel, bonds: ComplexArray) -> FloatArray:
    """Return positive factors, one a node, that make both ends of every bond as strong."""
    terms = model.terms
    one = np.flatnonzero((terms.other >= 0) & (terms.side > 0))
    if not len(one):
        return np.ones(model.n_free)
    second = {int(terms.edge[k]): k for k in np.flatnonzero((terms.other >= 0) & (terms.side < 0))}
    two = np.array([second[int(edge)] for edge in terms.edge[one]])
    weight = np.sqrt(np.abs(bonds[one]) * np.abs(bonds[two]))
    ratio = np.log(np.abs(bonds[two]) / np.abs(bonds[one]))
    rows = np.repeat(np.arange(len(one)), 2)
    columns = np.stack([terms.node[one], terms.node[two]], axis=1).ravel()
    values = np.stack([weight, -weight], axis=1).ravel()
    matrix = coo_array((values, (rows, columns)), shape=(len(one), model.n_free)).tocsr()
    factors: FloatArray = np.exp(lsqr(matrix, weight * ratio)[0])
    return factors


def _nearest(angle: float, wanted: float, period: float) -> float:
    return float(angle + period * np.round((wanted - angle) / period))
