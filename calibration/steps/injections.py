"""Powers that make certain injected fields and leave all other phases as they are."""

from __future__ import annotations

from typing import Literal

from eqp_hw.calibration.fits.network_model import NetworkModel
from eqp_hw.calibration.session import Session
from eqp_hw.drivers.actuators.branches import Wanted, choose_phases
from eqp_hw.drivers.actuators.curves import field_of, field_targets
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

__all__ = ["Role", "fields_of", "with_fields"]

Role = Literal["bias", "nudge"]

_ROOM = 0.98


def fields_of(session: Session, power_W: FloatArray, role: Role) -> ComplexArray:
    """Return (n,) fields of all injections of a role under (n_heaters,) powers, as calibrated."""
    rows, known = NetworkModel(session.rig).rows, session.known
    phases = HeaterModel.of(known).phases(power_W)
    maximum = known.bias_maximum if role == "bias" else known.nudge_maximum
    return field_of(phases[rows[f"{role}_amplitude"]], phases[rows[f"{role}_phase"]], maximum)


def with_fields(
    session: Session, power_W: FloatArray, role: Role, field: ComplexArray
) -> FloatArray:
    """Return (n_heaters,) powers that make these fields, all other phases as under ``power_W``.

    Heaters stay on the branch that they are on where its limits allow, so that a small change of
    a field is a small change of powers.

    Parameters
    ----------
    field
        (n,) of all injections of the role.

    Raises
    ------
    LimitError
        No branch is within the limits.
    CapabilityError
        A field beyond what its channel can make.
    """
    rows, known = NetworkModel(session.rig).rows, session.known
    model = HeaterModel.of(known)
    maximum = known.bias_maximum if role == "bias" else known.nudge_maximum
    amplitude_rows, angle_rows = rows[f"{role}_amplitude"], rows[f"{role}_phase"]
    phases = model.phases(power_W)
    wanted = Wanted.phases(phases)
    for part, at in zip(
        field_targets(field, maximum, phases[angle_rows]), (amplitude_rows, angle_rows), strict=True
    ):
        wanted.base[at], wanted.period[at] = part.base, part.period
    limit = _ROOM * session.highest_W
    try:
        return choose_phases(model, wanted, limit, phases)[1]
    except LimitError:
        return choose_phases(model, wanted, limit)[1]
