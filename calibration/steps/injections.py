"""Powers that make certain injected fields and leave all other phases as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, final

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.fits.network_model import NetworkModel
from eqp_hw.calibration.session import Session
from eqp_hw.drivers.actuators.branches import Wanted, choose_phases
from eqp_hw.drivers.actuators.curves import field_of, field_targets
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

__all__ = ["Injections", "Role", "choose_powers"]

BoolArray = npt.NDArray[np.bool_]
Role = Literal["bias", "nudge"]

_ROOM = 0.98


@final
@dataclass(frozen=True, eq=False)
class Injections:
    """All injections of a role, as calibrated: fields of powers, and powers of fields.

    Attributes
    ----------
    heaters
        All heaters, the others included.
    amplitudes, angles
        Rows of the heaters that set amplitudes and phases of the n fields.
    maximum
        (n,) A_max.
    limit_W
        (n_heaters,) most power.
    held
        (n_heaters,) heaters that are left at no power.
    names
        Of the channels, for messages.
    """

    heaters: HeaterModel
    amplitudes: slice
    angles: slice
    maximum: FloatArray
    limit_W: FloatArray
    held: BoolArray
    names: list[str]

    @classmethod
    def of(cls, session: Session, role: Role, held: BoolArray) -> Self:
        """Return the injections of a rig, by what is known of it now."""
        rows, known = NetworkModel(session.rig).rows, session.known
        return cls(
            HeaterModel.of(known),
            rows[f"{role}_amplitude"],
            rows[f"{role}_phase"],
            known.bias_maximum if role == "bias" else known.nudge_maximum,
            _ROOM * session.highest_W,
            held,
            [str(channel) for channel in session.rig.wiring.heaters],
        )

    def fields(self, power_W: FloatArray) -> ComplexArray:
        """Return (n,) fields under (n_heaters,) powers."""
        phases = self.heaters.phases(power_W)
        return field_of(phases[self.amplitudes], phases[self.angles], self.maximum)

    def powers(self, power_W: FloatArray, field: ComplexArray) -> FloatArray:
        """Return (n_heaters,) powers for (n,) fields, all other phases as under ``power_W``.

        Heaters stay on the branch that they are on where its limits allow, so that a small change
        of a field is a small change of powers.

        Raises
        ------
        LimitError
            No branch is within the limits.
        CapabilityError
            A field beyond what its channel can make.
        """
        phases = self.heaters.phases(power_W)
        wanted = Wanted.phases(phases)
        targets = field_targets(field, self.maximum, phases[self.angles])
        for part, at in zip(targets, (self.amplitudes, self.angles), strict=True):
            wanted.base[at], wanted.period[at] = part.base, part.period

        def choose(near: FloatArray | None) -> FloatArray:
            more = (self.limit_W, near, self.held, self.names)
            return choose_powers(self.heaters, wanted, *more)[1]

        try:
            return choose(phases)
        except LimitError:
            return choose(None)


def choose_powers(
    model: HeaterModel,
    wanted: Wanted,
    limit_W: FloatArray,
    near: FloatArray | None,
    held: BoolArray,
    names: list[str],
) -> tuple[FloatArray, FloatArray]:
    """Return phases and powers as `choose_phases` does, of all heaters but those held at zero.

    Raises
    ------
    LimitError
        No branch is within the limits; names the channel.
    """
    use, power = ~held, np.zeros(len(held))
    part = HeaterModel(
        model.half_wave_power_W[use],
        model.resistance_ohm[use],
        model.phase_offset[use],
        model.crosstalk[np.ix_(use, use)],
    )
    power[use] = choose_phases(
        part,
        Wanted(wanted.base[use], wanted.period[use]),
        limit_W[use],
        None if near is None else near[use],
        [name for name, used in zip(names, use, strict=True) if used],
    )[1]
    return model.phases(power), power
