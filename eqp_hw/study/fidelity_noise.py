"""How read-out noise enters an EP gradient: as few modes, each common to many components."""

from __future__ import annotations

import numpy as np

from eqp_hw.errors import ParameterError
from eqp_hw.learning.costs import Cost
from eqp_hw.learning.estimators import Estimate, Round
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.energy import displacement_statistics
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters

__all__ = ["noise_modes"]


def noise_modes(one: Round, found: Estimate, cost: Cost, held: Parameters) -> FloatArray:
    """Return what independent N(0, 1) numbers add to the EP gradient of one sample.

    A wrong read of a node is wrong for all its bonds; a wrong read of an output is wrong for
    the nudge field as well, and then scales much of the gradient.

    Parameters
    ----------
    one, found
        A round of one sample, and the estimate that was measured in it.
    cost
        What the field is made from.
    held
        Parameters, for the response to the field; approximate ones will do.

    Returns
    -------
    (n_free + n_outputs, n) in the order of `Parameters.flatten`.
    """
    network, free = one.network, one.network.free
    directed = held.directed
    errors = np.nan_to_num(found.errors[:, 0])
    displacement = np.sqrt(((np.abs(found.weights) * errors) ** 2).sum(axis=0))
    modes = []
    for node in free:
        delta = np.zeros((1, network.n_nodes))
        delta[0, node] = displacement[node]
        modes.append(
            displacement_statistics(network, found.free[:1], delta, directed=directed).flatten()
        )
    outputs, phases = network.outputs, one.free.phases
    for column, node in enumerate(outputs):
        off = np.zeros((1, len(outputs)))
        off[0, column] = one.free_errors[0, node]
        above, below = (
            cost.nudge_field(phases[:, outputs] + k * off, one.targets) for k in (1, -1)
        )
        turned = np.exp(-1j * phases[0, node]) * (above - below)[0, column] / 2
        slope = np.zeros((1, network.n_nodes))
        slope[0, node] = -turned.imag
        try:
            mode = exact_gradient(network, held, phases, slope, np.ones(1)).flatten()
        except ParameterError:
            mode = np.zeros_like(modes[0])
        modes.append(mode)
    return np.array(modes)
