r"""Energy, force, Hessian and sufficient statistics, in the one sign convention of the project.

.. math::
    E(φ) = -\sum_{(i,j)} J_{ij}\cos(φ_i-φ_j) - \sum_i \mathrm{Re}(b_i^* e^{iφ_i})

The physical flow is dφ_i/dt = −∂F/∂φ_i with F = E + βC: **+β pulls outputs towards the
target**. Every nudge enters as a complex field that adds to b, so the functions here take
``field`` = b + nudge. In directed form (J_ij ≠ J_ji) there is no energy; force and Jacobian
still hold. Source: Wang, Wanjura, Marquardt, arXiv 2402.08579, eqs. 1-6; Scellier and
Bengio, Front. Comput. Neurosci. 11:24 (2017).

All functions are pure. Phases are (batch, N) in rad with the inputs at their clamped values;
a field is (N,) or (batch, N).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

PhaseArray = npt.NDArray[np.float64 | np.complex128]

__all__ = [
    "PhaseArray",
    "bond_correlator",
    "coupling_matrix",
    "displacement_statistics",
    "energy",
    "force",
    "jacobian",
    "local_field",
    "statistics",
]


def local_field(
    network: Network, parameters: Parameters, phases: FloatArray, field: ComplexArray | None = None
) -> ComplexArray:
    """Return z_i = Σ_j J_ij·exp(iφ_j) + field_i, shape (batch, N).

    ``field`` defaults to the bias field; pass bias + nudge for a nudged network.
    """
    phasors = np.exp(1j * phases)
    field = parameters.bias if field is None else field
    result: ComplexArray = phasors @ coupling_matrix(network, parameters).T + field
    return result


def coupling_matrix(network: Network, parameters: Parameters) -> sparse.csr_array:
    """Return the sparse (N, N) matrix J_ij, row i = what drives node i."""
    forward, reverse = parameters.bond_coupling(network)
    i, j = network.edges.T
    shape = (network.n_nodes, network.n_nodes)
    entries = np.concatenate([forward, reverse])
    rows, cols = np.concatenate([i, j]), np.concatenate([j, i])
    return sparse.csr_array(sparse.coo_array((entries, (rows, cols)), shape=shape))


def energy(
    network: Network, parameters: Parameters, phases: FloatArray, field: ComplexArray | None = None
) -> FloatArray:
    """Return E of each sample, shape (batch,), for a reciprocal network.

    Raises
    ------
    ValueError
        The network is directed: a non-reciprocal network has no energy.
    """
    if parameters.directed:
        raise ValueError("a directed (non-reciprocal) network has no energy")
    field = parameters.bias if field is None else field
    forward, _ = parameters.bond_coupling(network)
    i, j = network.edges.T
    bonds = np.cos(phases[:, i] - phases[:, j]) @ forward
    fields = (np.conj(field) * np.exp(1j * phases)).real.sum(axis=1)
    result: FloatArray = -bonds - fields
    return result


def force(
    network: Network, parameters: Parameters, phases: FloatArray, field: ComplexArray | None = None
) -> FloatArray:
    """Return dφ/dt = Im(exp(−iφ_i)·z_i) = −∂F/∂φ_i, shape (batch, N); zero at inputs."""
    z = local_field(network, parameters, phases, field)
    torque: FloatArray = (np.exp(-1j * phases) * z).imag
    torque[:, network.inputs] = 0.0
    return torque


def jacobian(
    network: Network, parameters: Parameters, phases: FloatArray, field: ComplexArray | None = None
) -> sparse.csr_array:
    """Return −∂(force)/∂φ over the free nodes of **one** sample, sparse (n_free, n_free).

    For a reciprocal network this is the Hessian of F, symmetric; in directed form it is the
    matrix A of ep_methods §3 with A_ij = −J_ij·cos(φ_i−φ_j) off the diagonal.

    Parameters
    ----------
    phases
        (N,) phases of the sample.
    field
        (N,) total field, bias by default.
    """
    field = parameters.bias if field is None else field
    forward, reverse = parameters.bond_coupling(network)
    i, j = network.edges.T
    cosine = np.cos(phases[i] - phases[j])
    diagonal = (np.conj(field) * np.exp(1j * phases)).real.copy()
    np.add.at(diagonal, i, forward * cosine)
    np.add.at(diagonal, j, reverse * cosine)
    n = network.n_nodes
    nodes = np.arange(n)
    full = sparse.csr_array(
        sparse.coo_array(
            (
                np.concatenate([-forward * cosine, -reverse * cosine, diagonal]),
                (np.concatenate([i, j, nodes]), np.concatenate([j, i, nodes])),
            ),
            shape=(n, n),
        )
    )
    return sparse.csr_array(full[network.free][:, network.free])


def statistics(
    network: Network, phases: PhaseArray, weights: PhaseArray, lift: FloatArray | None = None
) -> Parameters:
    """Return Re Σ_b w_b ∂E/∂θ(φ_b) for all couplings and Cartesian bias parts.

    ∂E/∂J = −Σ cos(φ_i−φ_j) over the bonds that share J, ∂E/∂Re b = −cos φ, ∂E/∂Im b = −sin φ.

    Parameters
    ----------
    phases
        (batch, N) phases; complex ones (holomorphic nudges) are continued analytically.
    weights
        (batch,) weight of each sample, signed or complex.
    lift
        (batch, N) factor on the phasor of each node, to undo the attenuation by noise.

    Returns
    -------
    Statistics in the shape of `Parameters` (reciprocal form); the bias part is zero at inputs.
    """
    cosine, sine = np.cos(phases), np.sin(phases)
    if lift is not None:
        cosine, sine = cosine * lift, sine * lift
    correlator = bond_correlator(network, cosine, sine, weights).real
    coupling: FloatArray = -np.bincount(
        network.coupling_group, correlator, minlength=network.n_couplings
    ).astype(np.float64)
    bias = -(weights @ cosine).real - 1j * (weights @ sine).real
    bias[network.inputs] = 0.0
    return Parameters(coupling, bias)


def displacement_statistics(
    network: Network, phases: FloatArray, delta: FloatArray, *, directed: bool
) -> Parameters:
    """Return Σ_b dC/dθ from displacements: dC/dJ_ij = δ_i·sin(φ_i−φ_j), i driven by j.

    With δ = dφ/dβ of a reciprocal network, or A⁻ᵀ(−∂C/∂φ) of a directed one, this is the exact
    gradient (ep_methods §0, §3); with measured displacements it is the 'alternative formula'
    of §6.

    Parameters
    ----------
    phases
        (batch, N) free equilibria, rad.
    delta
        (batch, N) displacement per unit of nudge, weights of the samples included.
    directed
        Return the gradients of J_ij and J_ji apart; else their sum.
    """
    i, j = network.edges.T
    sine = np.sin(phases[:, i] - phases[:, j])
    forward = np.einsum("be,be->e", delta[:, i], sine)
    reverse = -np.einsum("be,be->e", delta[:, j], sine)
    bias = (delta * (np.sin(phases) - 1j * np.cos(phases))).sum(axis=0)
    bias[network.inputs] = 0.0
    if directed:
        return Parameters(_group_sum(network, forward), bias, _group_sum(network, reverse))
    return Parameters(_group_sum(network, forward + reverse), bias)


def _group_sum(network: Network, per_bond: FloatArray) -> FloatArray:
    total: FloatArray = np.bincount(
        network.coupling_group, per_bond, minlength=network.n_couplings
    ).astype(np.float64)
    return total


def bond_correlator(
    network: Network, cosine: PhaseArray, sine: PhaseArray, weights: PhaseArray
) -> PhaseArray:
    """Return Σ_b w_b cos(φ_i−φ_j) of each bond, (n_edges,), from phasor components.

    Dense blocks (two layers fully connected) go through one matrix product, the rest edge by
    edge; the choice is by cost.
    """
    i, j = network.edges.T
    wc, ws = cosine * weights[:, None], sine * weights[:, None]
    rows, cols, row_of, col_of = network.edge_block
    # A matrix product spends about a tenth of the time per entry that a gather does.
    if len(rows) * len(cols) <= 10 * len(i):
        block = wc[:, rows].T @ cosine[:, cols] + ws[:, rows].T @ sine[:, cols]
        dense: PhaseArray = block[row_of, col_of]
        return dense
    result: PhaseArray = np.empty(len(i), dtype=wc.dtype)
    chunk = max(1, 2_000_000 // max(len(cosine), 1))
    cosine_t, sine_t = np.ascontiguousarray(cosine.T), np.ascontiguousarray(sine.T)
    wc_t, ws_t = np.ascontiguousarray(wc.T), np.ascontiguousarray(ws.T)
    for start in range(0, len(i), chunk):
        a, b = i[start : start + chunk], j[start : start + chunk]
        result[start : start + chunk] = np.einsum("eb,eb->e", wc_t[a], cosine_t[b]) + np.einsum(
            "eb,eb->e", ws_t[a], sine_t[b]
        )
    return result
