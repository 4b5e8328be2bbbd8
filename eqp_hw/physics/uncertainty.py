"""How read-out noise of phases spreads to gradients (Gaussian error propagation).

With independent noise of standard deviation s_i at node i, the statistic −Σ_b w_b cos(φ_i−φ_j)
of a bond has the variance Σ_b w_b² sin²(φ_i−φ_j)(s_i² + s_j²), and those of the bias, −Σ w cos φ
and −Σ w sin φ, have Σ w² sin²φ s² and Σ w² cos²φ s². Bonds that share a coupling are counted as
independent.
"""

from __future__ import annotations

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters

__all__ = ["displacement_variance", "statistics_variance"]

_ENTRIES = 2_000_000


def statistics_variance(
    network: Network, phases: FloatArray, weights: FloatArray, errors: FloatArray
) -> Parameters:
    """Return the variance of `eqp_hw.physics.energy.statistics` under read-out noise.

    Parameters
    ----------
    phases, errors
        (batch, N) phases and their standard errors, rad.
    weights
        (batch,) magnitudes of the weights.

    Returns
    -------
    Variances in the shape of `Parameters` (reciprocal form); real and imaginary part of the
    bias hold those of the two quadratures.
    """
    square = (weights[:, None] * errors) ** 2
    i, j = network.edges.T
    per_bond = np.zeros(len(i))
    chunk = max(1, _ENTRIES // max(len(phases), 1))
    for start in range(0, len(i), chunk):
        a, b = i[start : start + chunk], j[start : start + chunk]
        sine = np.sin(phases[:, a] - phases[:, b])
        per_bond[start : start + chunk] = (sine**2 * (square[:, a] + square[:, b])).sum(axis=0)
    bias = (np.sin(phases) ** 2 * square).sum(axis=0) + 1j * (np.cos(phases) ** 2 * square).sum(
        axis=0
    )
    bias[network.inputs] = 0.0
    return Parameters(_grouped(network, per_bond), bias)


def displacement_variance(
    network: Network, free: FloatArray, variance: FloatArray, *, directed: bool
) -> Parameters:
    """Return the variance of `eqp_hw.physics.energy.displacement_statistics`.

    Parameters
    ----------
    free
        (batch, N) free phases, rad.
    variance
        (batch, N) variance of the weighted displacement δ.
    directed
        Keep J_ij and J_ji apart.
    """
    i, j = network.edges.T
    sine2 = np.sin(free[:, i] - free[:, j]) ** 2
    forward = (sine2 * variance[:, i]).sum(axis=0)
    reverse = (sine2 * variance[:, j]).sum(axis=0)
    bias = (np.sin(free) ** 2 * variance).sum(axis=0) + 1j * (np.cos(free) ** 2 * variance).sum(
        axis=0
    )
    bias[network.inputs] = 0.0
    if directed:
        return Parameters(_grouped(network, forward), bias, _grouped(network, reverse))
    return Parameters(_grouped(network, forward + reverse), bias)


def _grouped(network: Network, per_bond: FloatArray) -> FloatArray:
    total: FloatArray = np.bincount(
        network.coupling_group, per_bond, minlength=network.n_couplings
    ).astype(np.float64)
    return total
