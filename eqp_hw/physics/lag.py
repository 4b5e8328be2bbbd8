r"""Couplings with a phase lag: torque J·sin(φ_j − φ_i + α_ij) on node i from node j.

A lag makes the coupling complex, z_i = Σ_j J_ij exp(iα_ij) exp(iφ_j) + b_i, and the network
non-reciprocal unless α_ij = −α_ji (H. Sakaguchi, Y. Kuramoto, Prog. Theor. Phys. 76, 576
(1986)). It is a property of hardware, so it is no part of `Parameters`. Here are the force, its
Jacobian and the exact gradient of such a network, for tests and for hidden truths.

``lag`` is (n_edges, 2): α_ij and α_ji of each bond (i, j), rad.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

__all__ = ["checked_lag", "lagged_coupling", "lagged_force", "lagged_gradient", "lagged_jacobian"]


def checked_lag(network: Network, lag: FloatArray | None) -> FloatArray | None:
    """Return a copy of ``lag``; None where every lag is zero.

    Raises
    ------
    SubstrateError
        A wrong shape, or a lag that is not finite.
    """
    if lag is None:
        return None
    lag = np.array(lag, dtype=np.float64)
    if lag.shape != (network.n_edges, 2):
        raise SubstrateError(
            f"coupling lag has shape {lag.shape}; expected ({network.n_edges}, 2): both "
            "directions of each bond"
        )
    if not np.isfinite(lag).all():
        bond = int(np.argwhere(~np.isfinite(lag))[0, 0])
        raise SubstrateError(f"coupling lag of bond {bond} is not finite")
    return lag if lag.any() else None


def lagged_coupling(
    network: Network, parameters: Parameters, lag: FloatArray | None
) -> tuple[FloatArray | ComplexArray, FloatArray | ComplexArray]:
    """Return J_ij·exp(iα_ij) and J_ji·exp(iα_ji) of each bond; real where ``lag`` is None."""
    forward, reverse = parameters.bond_coupling(network)
    if lag is None:
        return forward, reverse
    return forward * np.exp(1j * lag[:, 0]), reverse * np.exp(1j * lag[:, 1])


def lagged_force(
    network: Network,
    parameters: Parameters,
    phases: FloatArray,
    lag: FloatArray,
    field: ComplexArray | None = None,
) -> FloatArray:
    """Return dφ/dt of (batch, N) phases, zero at inputs; ``field`` as in `energy.force`."""
    forward, reverse = lagged_coupling(network, parameters, lag)
    i, j = network.edges.T
    field = parameters.bias if field is None else field
    phasors = np.exp(1j * phases)
    local = np.broadcast_to(field, phasors.shape).astype(np.complex128).T
    np.add.at(local, i, (forward * phasors[:, j]).T)
    np.add.at(local, j, (reverse * phasors[:, i]).T)
    torque: FloatArray = (np.conj(phasors) * local.T).imag
    torque[:, network.inputs] = 0.0
    return torque


def lagged_jacobian(
    network: Network,
    parameters: Parameters,
    phases: FloatArray,
    lag: FloatArray,
    field: ComplexArray | None = None,
) -> sparse.csr_array:
    """Return −∂(force)/∂φ over the free nodes of one sample, (N,) phases, sparse."""
    forward, reverse = parameters.bond_coupling(network)
    i, j = network.edges.T
    field = parameters.bias if field is None else field
    turn = phases[j] - phases[i]
    by_j, by_i = forward * np.cos(turn + lag[:, 0]), reverse * np.cos(lag[:, 1] - turn)
    diagonal = (np.conj(field) * np.exp(1j * phases)).real.copy()
    np.add.at(diagonal, i, by_j)
    np.add.at(diagonal, j, by_i)
    n = network.n_nodes
    nodes = np.arange(n)
    entries = np.concatenate([-by_j, -by_i, diagonal])
    where = (np.concatenate([i, j, nodes]), np.concatenate([j, i, nodes]))
    full = sparse.csr_array(sparse.coo_array((entries, where), shape=(n, n)))
    return sparse.csr_array(full[network.free][:, network.free])


def lagged_gradient(
    network: Network,
    parameters: Parameters,
    phases: FloatArray,
    cost_gradient: FloatArray,
    weights: FloatArray,
    lag: FloatArray,
) -> Parameters:
    """Return Σ_b w_b dC_b/dθ at equilibria of a network with lag; see `exact_gradient`.

    With Aᵀδ = −∂C/∂φ: dC/dJ_ij = −δ_i·sin(φ_j − φ_i + α_ij), i driven by j.
    """
    delta = np.zeros_like(phases)
    for sample, tilt in enumerate(cost_gradient):
        a = lagged_jacobian(network, parameters, phases[sample], lag).toarray()
        delta[sample, network.free] = -np.linalg.solve(a.T, tilt[network.free])
    delta *= weights[:, None]
    i, j = network.edges.T
    turn = phases[:, j] - phases[:, i]
    forward = -np.einsum("be,be->e", delta[:, i], np.sin(turn + lag[:, 0]))
    reverse = -np.einsum("be,be->e", delta[:, j], np.sin(lag[:, 1] - turn))
    bias = (delta * (np.sin(phases) - 1j * np.cos(phases))).sum(axis=0)
    bias[network.inputs] = 0.0

    def grouped(per_bond: FloatArray) -> FloatArray:
        size = network.n_couplings
        return np.bincount(network.coupling_group, per_bond, minlength=size).astype(np.float64)

    if parameters.directed:
        return Parameters(grouped(forward), bias, grouped(reverse))
    return Parameters(grouped(forward + reverse), bias)
