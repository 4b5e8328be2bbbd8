"""The inverse of a heater array, exactly: least total power, by mixed-integer programming.

Wanted are phases modulo a period (2π, 4π for an injection's amplitude), some in two families
(a coupler at ±θ, an amplitude at α and 2π − α). With P the powers, k whole turns and s the choice
of the family,

    minimise Σ P_i   subject to   X P = (b_i(s_i) + T_i k_i − θ_i)·P_π,i/π,   0 ≤ P ≤ P_max,

is a mixed-integer linear programme, solved by branch and bound (HiGHS in SciPy). The drivers'
`choose_phases` finds its branches without a search, at once and close to those held; this one is
what it is judged by, and what plans a setting that must spend as little power as possible.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from eqp_hw.drivers.actuators.branches import Wanted
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray

__all__ = ["least_power_phases"]


def least_power_phases(
    model: HeaterModel,
    wanted: Wanted,
    power_limit_W: FloatArray,
    *,
    total_limit_W: float | None = None,
    time_limit_s: float = 10.0,
) -> tuple[FloatArray, FloatArray]:
    """Return (n,) phases equivalent to those wanted, and the (n,) powers, least in sum.

    Parameters
    ----------
    model, wanted
        n heaters. One of which nothing is wanted may take any power.
    power_limit_W
        (n,) largest powers.
    total_limit_W
        Largest sum, none where left out.
    time_limit_s
        Of the search; the best choice found by then is returned.

    Raises
    ------
    LimitError
        No choice lies within the limits, or none was found in time.
    """
    n = len(wanted)
    two = ~np.isnan(wanted.base[:, 1]) & ~wanted.free
    first = np.where(np.isnan(wanted.base[:, 0]), wanted.base[:, 1], wanted.base[:, 0])
    first = np.where(wanted.free, 0.0, first)
    apart = np.where(two, wanted.base[:, 1] - first, 0.0)
    # Unknowns: powers in half-wave powers, whole turns, families.
    scale = model.half_wave_power_W
    heat = np.pi * model.crosstalk * scale[None, :] / scale[:, None]
    held = ~wanted.free
    equations = np.hstack([heat, -np.diag(wanted.period), -np.diag(apart)])[held]
    right = (first - model.phase_offset)[held]
    # Rounding must not make an exact phase unreachable: its slack is a nanoradian.
    constraints = [LinearConstraint(equations, right - 1e-9, right + 1e-9)]
    cost = np.concatenate([scale / scale.mean(), np.zeros(2 * n)])
    if total_limit_W is not None:
        total = np.concatenate([scale, np.zeros(2 * n)])[None, :]
        constraints.append(LinearConstraint(total, -np.inf, total_limit_W))
    most = np.abs(heat) @ (power_limit_W / scale) + 4 * np.pi + np.abs(model.phase_offset)
    turns = np.ceil((most + np.abs(first)) / wanted.period) * held
    bounds = Bounds(
        np.concatenate([np.zeros(n), -turns, np.zeros(n)]),
        np.concatenate([power_limit_W / scale, turns, two.astype(float)]),
    )
    whole = np.concatenate([np.zeros(n), np.ones(2 * n)])
    found = milp(
        cost,
        constraints=constraints,
        bounds=bounds,
        integrality=whole,
        options={"time_limit": time_limit_s, "mip_rel_gap": 1e-6},
    )
    if found.x is None:
        raise LimitError(
            f"no choice of equivalent phases within the limits was found ({found.message})",
            field="power_W",
            allowed="higher limits, or phases that need less",
        )
    chosen, family = np.round(found.x[n : 2 * n]), np.round(found.x[2 * n :])
    phases = first + wanted.period * chosen + apart * family
    power = np.clip(found.x[:n] * scale, 0.0, power_limit_W)
    # Heaters of which nothing is wanted keep the power that the search gave them.
    phases = np.where(wanted.free, model.phases(power), phases)
    return phases, np.clip(model.powers(phases), 0.0, power_limit_W)
