"""The exact gradient of a cost at an equilibrium, by implicit differentiation.

Ground truth for every estimator. With f(φ, θ) = 0 at the equilibrium and A = −∂f/∂φ
(`eqp_hw.physics.energy.jacobian`; the Hessian of E for a reciprocal network), solve
Aᵀδ = −∂C/∂φ; then

    dC/dJ_ij = δ_i sin(φ_i−φ_j) for each direction (i driven by j), hence
    dC/dJ = (δ_i−δ_j) sin(φ_i−φ_j) where J_ij = J_ji = J,
    dC/dRe b_i = δ_i sin φ_i,   dC/dIm b_i = −δ_i cos φ_i.

Source: the implicit function theorem; Scellier and Bengio, Front. Comput. Neurosci. 11:24
(2017) for the reciprocal case.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import splu

from eqp_hw.errors import ParameterError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import displacement_statistics, jacobian
from eqp_hw.physics.parameters import Parameters

__all__ = ["exact_gradient", "response"]

DENSE_BELOW = 200
"""Free nodes up to which a dense factorisation is cheaper than a sparse one."""


def exact_gradient(
    network: Network,
    parameters: Parameters,
    phases: FloatArray,
    cost_gradient: FloatArray,
    weights: FloatArray,
) -> Parameters:
    """Return Σ_b w_b dC_b/dθ at free equilibria.

    Parameters
    ----------
    network, parameters
        The network, reciprocal or directed.
    phases
        (batch, N) free equilibria, rad, inputs at their clamped values.
    cost_gradient
        (batch, N) ∂C/∂φ at ``phases``, usually non-zero at outputs only; entries at inputs
        have no effect.
    weights
        (batch,) weight of each sample.

    Returns
    -------
    Gradient in the shape of ``parameters``: couplings (summed over the bonds that share
    one), reverse couplings if directed, and d/d(Re b) + i·d/d(Im b), zero at inputs.

    Raises
    ------
    ParameterError
        The Jacobian of a sample is singular, so that its equilibrium is not isolated.
    """
    delta = np.zeros_like(phases)
    for sample, tilt in enumerate(cost_gradient):
        rhs = -tilt[network.free][:, None]
        solution = _solve(network, parameters, phases[sample], rhs, sample, transpose=True)
        delta[sample, network.free] = solution[:, 0]
    delta *= weights[:, None]
    return displacement_statistics(network, phases, delta, directed=parameters.directed)


def response(
    network: Network,
    parameters: Parameters,
    phases: FloatArray,
    nodes: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return how far every phase turns for a small torque on the given nodes.

    χ_ij = ∂φ_i/∂(torque on j) = (A⁻¹)_ij, with A the Hessian for a reciprocal network.

    Parameters
    ----------
    network, parameters
        The network, reciprocal or directed.
    phases
        (batch, N) equilibria, rad.
    nodes
        (n_probes,) nodes on which the torque acts; the outputs by default. A torque on an
        input has no effect.

    Returns
    -------
    (batch, N, n_probes) χ, zero for clamped rows and columns.

    Raises
    ------
    ParameterError
        The Jacobian of a sample is singular, so that its equilibrium is not isolated.
    """
    probes = np.asarray(network.outputs if nodes is None else nodes, dtype=np.int64)
    torque = np.zeros((network.n_nodes, len(probes)))
    torque[probes, np.arange(len(probes))] = 1.0
    result = np.zeros((len(phases), network.n_nodes, len(probes)))
    for sample, phase in enumerate(phases):
        result[sample, network.free] = _solve(
            network, parameters, phase, torque[network.free], sample
        )
    return result


def _solve(
    network: Network,
    parameters: Parameters,
    phases: FloatArray,
    rhs: FloatArray,
    sample: int,
    *,
    transpose: bool = False,
) -> FloatArray:
    """Return A⁻¹·rhs, or A⁻ᵀ·rhs, at one sample; (n_free, k)."""
    matrix = jacobian(network, parameters, phases).tocsc()
    if transpose:
        matrix = matrix.T.tocsc()
    try:
        if len(network.free) <= DENSE_BELOW:
            solution: FloatArray = np.linalg.solve(matrix.toarray(), rhs)
        else:
            solution = splu(matrix).solve(rhs)
    except (np.linalg.LinAlgError, RuntimeError):
        raise ParameterError(
            "the Jacobian is singular here, so the equilibrium is not isolated",
            field=f"phases[{sample}]",
            allowed="stable equilibria",
        ) from None
    return solution
