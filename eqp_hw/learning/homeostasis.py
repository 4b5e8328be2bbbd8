"""The homeostatic objective: a local pull of J_ij and J_ji towards each other.

L = ½ Σ_(i<j) (J_ij − J_ji)²·⟨cos²(φ_i−φ_j)⟩ penalises the antisymmetric part of the Jacobian,
A_ij − A_ji = −(J_ij − J_ji)·cos(φ_i−φ_j). Its gradient at fixed phases is local: a bond needs
its own two couplings and its two phases. Source: A. Laborieux, F. Zenke, *Improving
equilibrium propagation without weight symmetry through Jacobian homeostasis*, ICLR 2024.
"""

from __future__ import annotations

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters

__all__ = ["homeostatic_gradient"]


def homeostatic_gradient(
    network: Network, parameters: Parameters, phases: FloatArray
) -> Parameters:
    """Return dL/dJ at fixed phases; zero for bonds to clamped inputs, where A has no entry.

    Parameters
    ----------
    network
        The graph.
    parameters
        Directed parameters, of which J_ij and J_ji are taken.
    phases
        (batch, N) free phases, rad, over which cos² is averaged.

    Returns
    -------
    In the shape of ``parameters``; the bias part is 0.

    Raises
    ------
    ValueError
        The parameters are reciprocal already.
    """
    if parameters.coupling_reverse is None:
        raise ValueError("a reciprocal network needs no homeostasis")
    i, j = network.edges.T
    # A sample that failed has no phases; it has no say either.
    phases = phases[np.isfinite(phases).all(axis=1)]
    if not len(phases):
        return Parameters.zeros(network, directed=True)
    cos2 = (np.cos(phases[:, i] - phases[:, j]) ** 2).mean(axis=0)
    inside = np.zeros(len(i))
    inside[network.internal_edges] = 1.0
    group = network.coupling_group
    weight = np.bincount(group, cos2 * inside, minlength=network.n_couplings)
    pull = (parameters.coupling - parameters.coupling_reverse) * weight
    return Parameters(pull, np.zeros(network.n_nodes, dtype=complex), -pull)
