"""One heater at a time, everything else held: phase against power, and whom it heats.

Where the network is calibrated, residuals of the equilibria under a sweep of heater j are what
its column of slopes S_kj is off by: r = −Σ_k B_k ΔS_kj P_j, B_k the change of the predicted
phases with θ_k. Weighted least squares gives own slope and crosstalk of this sweep alone, and at
each power the phase θ_j that fits best: the curve whose straightness is the model's claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray, IntArray

from .ellipse import Detection
from .network_model import Elements, NetworkModel

__all__ = ["SweepFit", "fit_sweep"]


@final
@dataclass(frozen=True, eq=False)
class SweepFit:
    """The sweep of one heater.

    Attributes
    ----------
    slopes, errors
        (k,) dθ/dP of the rows asked for, rad/W, and standard errors.
    theta, theta_error
        (m,) phase of the heater's own shifter at each power, rad.
    bend, bend_error
        Second derivative d²θ/dP², rad/W²; 0 for a phase linear in power.
    """

    slopes: FloatArray
    errors: FloatArray
    theta: FloatArray
    theta_error: FloatArray
    bend: float
    bend_error: float


def fit_sweep(
    model: NetworkModel,
    elements: Elements,
    detection: Detection,
    heater: int,
    rows: IntArray,
    power_W: FloatArray,
    voltage_V: FloatArray,
    noise: FloatArray,
) -> SweepFit:
    """Fit the sweep of ``heater``.

    Parameters
    ----------
    rows
        (k,) shifters whose slopes with its power are fitted; the first is its own.
    power_W, voltage_V
        (m, n_heaters), (m, 2·n_free).
    noise
        (n_free,) of each phase, rad.

    Raises
    ------
    FitError
        Fewer than four powers, or the heater acts on no free node.
    """
    if len(power_W) < 4 or not model.seen[heater]:
        raise FitError("a sweep needs four powers or more, and a heater that acts on free nodes")
    phases, _ = detection.phases(voltage_V)
    theta = elements.theta(power_W)
    local = model.local_fields(elements, theta, phases)
    pairs, right = model.heater_pairs, np.zeros((*phases.shape, len(rows) + 1))
    chosen, column = np.nonzero(pairs.item[:, None] == rows)
    right[:, pairs.node[chosen], column] = model.by_theta(local).imag[chosen].T
    right[:, :, -1] = -local.field.imag
    solved = np.linalg.solve(local.stiffness, right) / noise[None, :, None]
    by_theta, residual = solved[:, :, :-1], solved[:, :, -1]
    own = power_W[:, heater]
    columns = (by_theta * own[:, None, None]).reshape(-1, len(rows))
    scale = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    inverse = np.linalg.pinv((columns / scale).T @ (columns / scale), rcond=1e-8)
    change = inverse @ ((columns / scale).T @ residual.ravel()) / scale
    left = residual.ravel() - columns @ change
    spread = max(1.0, float(left @ left) / max(1, left.size - len(rows)))
    errors = np.sqrt(spread * np.diag(inverse)) / scale
    # With the neighbours' slopes as found, what phase of its own does each equilibrium want?
    others = np.einsum("mik,k,m->mi", by_theta[:, :, 1:], change[1:], own)
    along = by_theta[:, :, 0]
    weight = (along**2).sum(axis=1)
    shift = (along * (residual - others)).sum(axis=1) / np.maximum(weight, 1e-300)
    theta_error = 1 / np.sqrt(np.maximum(weight, 1e-300))
    curve = np.stack([np.ones_like(own), own, own**2], axis=1) / theta_error[:, None]
    size = np.linalg.norm(curve, axis=0)
    shape = np.linalg.pinv((curve / size).T @ (curve / size))
    bent = shape @ ((curve / size).T @ (shift / theta_error)) / size
    # A bend is a misfit of the straight line: its error is by the misfit of the curve.
    rest = shift / theta_error - curve @ bent
    curved = np.sqrt(max(1.0, float(rest @ rest) / max(1, len(own) - 3)))
    return SweepFit(
        slopes=elements.slope[rows, heater] + change,
        errors=errors,
        theta=theta[:, heater] + shift,
        theta_error=curved * theta_error,
        bend=float(2 * bent[2]),
        bend_error=float(2 * curved * np.sqrt(shape[2, 2]) / size[2]),
    )
