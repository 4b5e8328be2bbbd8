r"""What J_ij ≠ J_ji does to a network, and what undoes it in a nudged phase (ep_methods §3).

With the Jacobian A = −∂(force)/∂φ of `eqp_hw.physics.energy.jacobian`, A_ij = −J_ij·cos(φ_i−φ_j)
off the diagonal, and its antisymmetric part S = (A − Aᵀ)/2, a nudge turns the phases by
q = A⁻¹(−∂C/∂φ), while the gradient needs δ = A⁻ᵀ(−∂C/∂φ). Two ways to δ are formulated here:

* a torque +2S·(φ − φ⁰) on all free nodes makes the Jacobian A − 2S = Aᵀ
  (arXiv 2602.03670; with the other sign convention, A_ij = +J_ij·cos, it reads −2S);
* the network of Jᵀ with the static field (J − Jᵀ)·exp(iφ⁰) has the fixed point φ⁰ and there the
  Jacobian Aᵀ. In quadrature to φ⁰_i this field is τ_i = Σ_j (J_ji−J_ij)·sin(φ⁰_i−φ⁰_j), and along
  it D_i = Σ_j (J_ij−J_ji)·cos(φ⁰_i−φ⁰_j).

All functions are pure; phases are (batch, N) in rad.
"""

from __future__ import annotations

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import coupling_matrix, jacobian
from eqp_hw.physics.parameters import ComplexArray, Parameters

__all__ = [
    "asymmetry",
    "replacement_field",
    "transposed_parameters",
    "transposing_torque",
]


def transposing_torque(
    network: Network, parameters: Parameters, phases: FloatArray, displacement: FloatArray
) -> FloatArray:
    """Return 2S·u: the torque that makes a displacement u obey Aᵀ in place of A.

    Parameters
    ----------
    network, parameters
        The network; for a reciprocal one the torque is 0.
    phases
        (batch, N) free equilibria φ⁰, rad.
    displacement
        (batch, N) u = φ − φ⁰, rad; entries at inputs have no effect.

    Returns
    -------
    (batch, N) e_i = −Σ_j (J_ij−J_ji)·cos(φ⁰_i−φ⁰_j)·u_j over free j; zero at inputs. A bond
    needs its own two couplings and the phases at its ends.
    """
    torque = np.zeros_like(phases)
    inside = network.internal_edges
    forward, reverse = parameters.bond_coupling(network)
    i, j = network.edges[inside].T
    weight = (reverse - forward)[inside] * np.cos(phases[:, i] - phases[:, j])
    np.add.at(torque.T, i, (weight * displacement[:, j]).T)
    np.add.at(torque.T, j, -(weight * displacement[:, i]).T)
    return torque


def transposed_parameters(network: Network, parameters: Parameters) -> Parameters:
    """Return the parameters with J_ij and J_ji of all bonds among free nodes exchanged.

    Couplings of bonds to inputs alone stay: they belong to the diagonal of A. (Where such a
    bond shares its coupling with a bond among free nodes both are exchanged; what that does to
    the drive is in `replacement_field`.)
    """
    if parameters.coupling_reverse is None:
        return parameters
    inside = np.zeros(network.n_couplings, dtype=bool)
    inside[network.coupling_group[network.internal_edges]] = True
    return Parameters(
        np.where(inside, parameters.coupling_reverse, parameters.coupling),
        parameters.bias,
        np.where(inside, parameters.coupling, parameters.coupling_reverse),
    )


def replacement_field(
    network: Network, wanted: Parameters, held: Parameters, phases: FloatArray
) -> ComplexArray:
    """Return (J_wanted − J_held)·exp(iφ) + b_wanted − b_held, (batch, N), zero at inputs.

    Injected as a static field it keeps every force and every diagonal entry of the Jacobian at
    ``phases`` as they would be with ``wanted``, although the couplings are those of ``held``.
    """
    difference = coupling_matrix(network, wanted) - coupling_matrix(network, held)
    field: ComplexArray = np.exp(1j * phases) @ difference.T + (wanted.bias - held.bias)
    field[:, network.inputs] = 0.0
    return field


def asymmetry(network: Network, parameters: Parameters, phases: FloatArray) -> FloatArray:
    """Return ‖S‖/‖A‖ (Frobenius) at each of (batch, N) equilibria, from known parameters."""
    result = np.zeros(len(phases))
    for sample, phase in enumerate(phases):
        a = jacobian(network, parameters, phase).toarray()
        result[sample] = np.linalg.norm((a - a.T) / 2) / np.linalg.norm(a)
    return result
