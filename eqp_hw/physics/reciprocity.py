"""How far from reciprocal a response is, from torques and turns alone (ep_methods §3).

A small torque z on all free nodes turns the phases by χz, χ = A⁻¹. With random signs z, w

    E[(zᵀχw − wᵀχz)²] = ‖χ − χᵀ‖²_F,    E[|χz|²] = ‖χ‖²_F,

and p torques make p(p−1)/2 pairs. Where p is a power of two and not below the number n of free
nodes, the torques are rows of a Hadamard matrix with random signs: Σ zzᵀ = p·1 holds exactly, and
with it both sums (over all p² ordered pairs), whatever the signs. The index is

    r = ‖(χ − χᵀ)/2‖_F / ‖χ‖_F,

0 for J_ij = J_ji and at most 1. As χ − χᵀ = −2·A⁻¹SA⁻ᵀ, S being the antisymmetric part of A, it
weighs ‖S‖/‖A‖ by the softness of the modes: the two are equal where A has one stiffness, and r
is the larger the softer the softest modes are. It is r that learning feels: for errors of random
direction at all nodes the displacement q = −χ·∇C of plain equilibrium propagation and the true
δ = −χᵀ·∇C differ by 2r of their length (r.m.s.), and ⟨q·δ⟩/⟨|δ|²⟩ = 1 − 2r². Errors enter at the
outputs alone, where hidden nodes fare worse than this mean.

All functions are pure. Learning measures r on a substrate
(`eqp_hw.learning.reciprocity`), a calibration on a rig's raw drives.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import hadamard

from eqp_hw.network.graph import FloatArray

__all__ = ["TOLERATED", "index_of_square", "random_torques", "reciprocity_of", "squared_index"]

TOLERATED = 0.05
"""Index up to which plain equilibrium propagation will do: its error is then 10 %."""


def random_torques(probes: int, nodes: int, rng: np.random.Generator) -> FloatArray:
    """Return (probes, nodes) random signs; orthogonal between nodes where they can be."""
    if probes < nodes or probes & (probes - 1):
        return rng.choice([-1.0, 1.0], size=(probes, nodes))
    columns = rng.permutation(probes)[:nodes]
    signs: FloatArray = hadamard(probes)[:, columns] * rng.choice([-1.0, 1.0], size=nodes)
    return signs


def reciprocity_of(
    signs: FloatArray, turned: FloatArray, noise: FloatArray | None = None
) -> tuple[float, float]:
    """Return the index of one sample and its standard error (jackknife over the torques).

    Parameters
    ----------
    signs
        (probes, n) torques ±1 on the free nodes.
    turned
        (probes, n) rad turned per unit of torque.
    noise
        (probes, n) standard errors of ``turned``, whose mean contribution is taken off.

    Returns
    -------
    Index and standard error, both NaN if a displacement is not finite.
    """
    probes = len(signs)
    if not np.isfinite(turned).all():
        return np.nan, np.nan
    of_each, length, orthogonal = _sums(signs, turned, noise)
    # Over orthogonal torques the sum of all p² terms is p²·‖χ−χᵀ‖² exactly; over independent
    # ones the p terms with a = b, which are 0, must not be counted.
    pairs = probes * probes if orthogonal else probes * (probes - 1)
    index = float(_root(_ratio(np.array(of_each.sum() / pairs), np.array(length.mean()))))
    if probes < 4:
        return index, np.nan
    left_pairs = probes * (probes - 2) if orthogonal else (probes - 1) * (probes - 2)
    left_out = _root(
        _ratio((of_each.sum() - 2.0 * of_each) / left_pairs, (length.sum() - length) / (probes - 1))
    )
    spread_of = (probes - 1) / probes * ((left_out - left_out.mean()) ** 2).sum()
    return index, float(np.sqrt(spread_of))


def squared_index(response: FloatArray, error: FloatArray) -> tuple[float, float]:
    """Return r² of a measured response and its standard error.

    Other than the index itself it may be negative, so that means of several are free of bias,
    and it is told from 0 by an error that is right at 0 as well.

    Parameters
    ----------
    response
        (n, n) χ: rad turned at each node, per unit of torque on each one.
    error
        (n, n) standard errors of its entries, whose mean contribution is taken off.
    """
    apart = response - response.T
    variance = error**2 + error.T**2
    np.fill_diagonal(variance, 0.0)
    size = max(float((response**2 - error**2).sum()), 1e-300)
    square = float(_ratio(np.array((apart**2 - variance).sum()), np.array(size)))
    # To first order by ∂r²/∂χ_ij = (χ_ij − χ_ji − 2r²χ_ij)/‖χ‖², less what the noise in it adds;
    # and what is left where χ = χᵀ. Off-diagonal sums run over both orders.
    slope = apart - 2 * max(square, 0.0) * response
    of_pairs = (variance**2).sum() / 2
    first = max(float((error**2 * slope**2).sum() - of_pairs), 0.0)
    return square, float(np.sqrt(first + of_pairs / 2)) / size


def index_of_square(square: float, error: float) -> tuple[float, float]:
    """Return r and its standard error from r² and that of r², as `squared_index` gives them.

    The error reaches up to √(r² + error): error/2r where r stands out, √error where it is 0.
    """
    index = float(np.sqrt(max(square, 0.0)))
    return index, float(np.sqrt(index**2 + error) - index)


def _sums(
    signs: FloatArray, turned: FloatArray, noise: FloatArray | None
) -> tuple[FloatArray, FloatArray, bool]:
    """Return (probes,) sums of (zᵀχw − wᵀχz)² over w, (probes,) |χz|², and if orthogonal."""
    product = signs @ turned.T  # z_aᵀχw_b
    difference = (product - product.T) ** 2
    length = (turned**2).sum(axis=1)
    if noise is not None:
        spread = (noise**2).sum(axis=1)
        difference -= spread[:, None] + spread[None, :]
        np.fill_diagonal(difference, 0.0)
        length = length - spread
    orthogonal = np.allclose(signs.T @ signs, len(signs) * np.eye(signs.shape[1]))
    return difference.sum(axis=1), length, orthogonal


def _ratio(difference: FloatArray, length: FloatArray) -> FloatArray:
    """Return r² from ‖χ−χᵀ‖² and ‖χ‖²."""
    ratio: FloatArray = difference / (4.0 * np.maximum(length, 1e-300))
    return ratio


def _root(square: FloatArray) -> FloatArray:
    """Return r; noise that was taken off may leave less than nothing."""
    root: FloatArray = np.sqrt(np.maximum(square, 0.0))
    return root
