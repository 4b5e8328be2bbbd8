"""The equilibrium of the exact model next to phases that were read somewhere else."""

from __future__ import annotations

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import force, jacobian
from eqp_hw.physics.parameters import Parameters

__all__ = ["equilibrium_near"]

_STEPS = 500
_LARGEST_STEP = 0.2


def equilibrium_near(
    network: Network, parameters: Parameters, phases: FloatArray, *, residual: float = 1e-10
) -> FloatArray | None:
    """Follow the model's flow from phases as read to where it comes to rest.

    Implicit Euler steps that grow as the force falls (pseudo-transient continuation; Kelley and
    Keyes, SIAM J. Numer. Anal. 35, 508, 1998): at first the flow itself, at last Newton's method.

    Parameters
    ----------
    network, parameters
        The model, reciprocal or directed.
    phases
        (N,) rad, inputs at their clamped values.
    residual
        Largest force left, in units of the mean coupling of a node.

    Returns
    -------
    (N,) phases in (−π, π], or None where the flow does not come to a stable rest.
    """
    here, free = np.array(phases, dtype=np.float64), network.free
    forward, reverse = parameters.bond_coupling(network)
    scale = float(np.abs(np.concatenate([forward, reverse])).sum() / max(len(free), 1)) or 1.0
    shorter = 1.0
    for _ in range(_STEPS):
        torque = force(network, parameters, here[None])[0, free]
        left = float(np.abs(torque).max(initial=0.0)) / scale
        matrix = jacobian(network, parameters, here).toarray()
        if left <= residual:
            stable = np.linalg.eigvals(matrix).real.min(initial=np.inf) > 0
            return wrap(here) if stable else None
        rate = shorter * scale * 10 * left
        step = np.linalg.solve(matrix + rate * np.eye(len(free)), torque)
        if np.abs(step).max() > _LARGEST_STEP or step @ torque < 0:
            shorter *= 4.0
            continue
        here[free] += step
        shorter = max(shorter / 2, 1.0)
    return None
