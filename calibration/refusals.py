"""What a calibration is refused for before there is a file of it, and before any output moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eqp_hw.drivers.errors import LimitError
from eqp_hw.errors import ConfigurationError
from eqp_hw.rig.calibrations import CalibrateOptions
from eqp_hw.rig.load import Rig

from .reader import Heading
from .session import Session
from .step import Step
from .store import folder_of, refuse_taken

__all__ = [
    "refuse_groundless",
    "refuse_no_room",
    "refuse_options",
    "refuse_parted",
    "steps_of",
]

ABSOLUTE_ZERO_C = -273.15
SUFFIX = ".h5"
"""Of files among which the latest is looked for."""
LEAST_HALF_WAVES = 0.25
"""Where all heaters stay below, no detector moves enough to be told from a dead one."""


def refuse_options(options: CalibrateOptions) -> None:
    """Refuse what can be judged without any instrument.

    Raises
    ------
    ConfigurationError, RecordError
        A temperature that is none, or the name of a file that cannot be made.
    """
    temperature = options.temperature_C
    if temperature is not None and not ABSOLUTE_ZERO_C < temperature < np.inf:
        raise ConfigurationError(
            "no temperature of a bench",
            field="--temperature-C",
            value=temperature,
            allowed=f"a number above {ABSOLUTE_ZERO_C}, or left out",
        )
    if options.output is None or options.resume:
        return
    if options.output.suffix != SUFFIX:
        raise ConfigurationError(
            "not the name of a calibration file: it would not be found again",
            field="--output",
            value=str(options.output),
            allowed=f"a name that ends in {SUFFIX}",
        )
    refuse_taken(options.output)


def steps_of(heading: Heading | None) -> set[str]:
    """Return the names of the steps that stand in a file."""
    return set() if heading is None else set(heading.ended)


def refuse_groundless(
    rig: Rig, options: CalibrateOptions, wanted: Sequence[Step], there: set[str]
) -> None:
    """Refuse a step of ``--only`` that builds on one which is neither measured nor there.

    Parameters
    ----------
    there
        Names of steps that the rig cannot take, or that stand in a file already.

    Raises
    ------
    ConfigurationError
        Names the step, and what is missing.
    """
    names = {step.name for step in wanted} | there
    for step in wanted:
        missing = [need for need in step.needs if need not in names]
        if missing:
            raise ConfigurationError(
                f"it builds on {', '.join(missing)}, and there is no complete calibration of this "
                f"rig and wiring in {folder_of(rig)} to take that over from",
                field="--only",
                value=",".join(options.only),
                allowed=f"{','.join([*missing, *options.only])}; or left out, for all steps",
            )


def refuse_parted(
    options: CalibrateOptions,
    wanted: Sequence[Step],
    steps: Sequence[Step],
    begun: set[str],
    base: set[str],
) -> None:
    """Refuse to measure a step anew without those whose figures are bound to its own.

    Parameters
    ----------
    steps
        All there are.
    begun, base
        Names of steps that stand in the file already, or would be taken over.

    Raises
    ------
    ConfigurationError
        Names the steps to ask for.
    """
    names = {step.name for step in wanted} - begun
    for step in steps:
        parted = [name for name in step.bound_to if name in names]
        if parted and step.name in base - begun and step.name not in names:
            asked = ",".join(options.only)
            raise ConfigurationError(
                f"figures of the step {step.name} hold only with those of {', '.join(parted)} that "
                f"they were measured with: {step.bound_because}",
                field="--only",
                value=asked,
                allowed=f"{asked},{step.name}",
            )


def refuse_no_room(session: Session) -> None:
    """Refuse limits within which nothing would move.

    Raises
    ------
    LimitError
        Names the heater, or the instrument, and what is needed.
    """
    needed_W = LEAST_HALF_WAVES * session.known.half_wave_power_W
    short = np.flatnonzero(session.highest_W < needed_W)
    if short.size:
        row = int(short[0])
        heater = session.rig.wiring.heaters[row]
        raise LimitError(
            f"the limits leave {heater} less than a calibration has to sweep: "
            f"{session.highest_W[row]:.3g} W, where calibration.half_wave_power_W = "
            f"{session.known.half_wave_power_W[row]:g} makes a phase of pi",
            field=f"instruments.{heater.instrument}.limits",
            allowed=f"at least {needed_W[row]:.3g} W, better 3 half-wave powers",
        )
    try:
        session.refuse(np.sqrt(needed_W * session.known.resistance_ohm))
    except LimitError as error:
        raise LimitError(
            "the limit leaves less than a calibration has to sweep, with all heaters at "
            f"{LEAST_HALF_WAVES:g} of calibration.half_wave_power_W",
            field=error.field,
            value=error.value,
            allowed=f"{error.allowed}; raise the limit, or correct the half-wave power",
        ) from None
