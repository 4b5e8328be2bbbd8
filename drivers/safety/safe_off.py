"""Outputs to zero, instrument by instrument, whatever state the rig is in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from eqp_hw.drivers.errors import BusyError, IdentityError, IncompleteError
from eqp_hw.drivers.instruments.interface import Instrument, MultichannelSource
from eqp_hw.drivers.instruments.registry import make_instrument
from eqp_hw.drivers.instruments.wire import baud_rate_of
from eqp_hw.errors import ConfigurationError, EqpError
from eqp_hw.rig.salvage import refused_key
from eqp_hw.rig.schema import InstrumentSettings, LimitSettings
from eqp_hw.substrate import SelfTestStep

from .guardian import make_safe
from .take_over import end_processes

__all__ = ["safe_off"]

BLIND_S = 0.5
"""How long blind messages are tried."""
FREED_S = 3.0
"""How long a port may stay in use after its holder has ended: the guardian makes safe, too."""
LOOK_S = 0.05
OBEYED_V = 0.05
"""What the meters may show of an output at zero."""


def safe_off(
    instruments: Mapping[str, InstrumentSettings], *, take_over: bool = False
) -> Iterator[SelfTestStep]:
    """Make every source safe: by dialogue, and where there is none by blind messages.

    One that cannot be reached does not keep the others waiting for long. A key of a table that
    its driver refuses is left out and named.

    Parameters
    ----------
    instruments
        Tables of the rig file by name.
    take_over
        End the program that holds a port.
    """
    for name, settings in instruments.items():
        step = _made_safe(name, settings, take_over)
        if step is not None:
            yield step


def _made_safe(name: str, settings: InstrumentSettings, take_over: bool) -> SelfTestStep | None:
    """Return what became of one instrument, None for one that drives nothing."""
    ignored, whole = "", True
    while True:
        try:
            instrument = make_instrument(name, settings)
            if not isinstance(instrument, MultichannelSource):
                return None
            step = _source_off(name, settings, instrument, take_over)
        except (ConfigurationError, IncompleteError) as error:
            key = error.option if isinstance(error, IncompleteError) else refused_key(error, name)
            simpler = _without(settings, key)
            if simpler is None:
                return SelfTestStep(name, False, f"{error}; make it safe by hand")
            settings, ignored = simpler, f"{ignored}; ignored: {error}"
            # What does not answer may drive its outputs still.
            whole &= not isinstance(error, IncompleteError)
        except EqpError as error:
            return SelfTestStep(name, False, f"{error}; make it safe by hand")
        else:
            return SelfTestStep(step.name, step.passed and whole, step.detail + ignored)


def _without(settings: InstrumentSettings, key: str | None) -> InstrumentSettings | None:
    """Return a table without one of its keys, None where it has it not."""
    if key is None or key not in settings.model_fields_set | set(settings.options):
        return None
    if key == "limits" and settings.limits == LimitSettings():
        return None
    left = settings.model_dump(exclude_unset=True)
    del left[key]
    return InstrumentSettings.model_validate(left)


def _source_off(
    name: str, settings: InstrumentSettings, instrument: Instrument, take_over: bool
) -> SelfTestStep:
    ended = ""
    try:
        try:
            instrument.connect()
        except BusyError as error:
            if not take_over or not error.processes:
                return SelfTestStep(name, False, f"{error}; {_way_out(error)}")
            end_processes(error.processes)
            ended = f" after process {', '.join(map(str, error.processes))} was ended"
            _connect_freed(instrument)
        instrument.safe()
        still = _still_driven(instrument)
    except (ConfigurationError, IncompleteError):
        raise
    except IdentityError as error:
        return SelfTestStep(name, False, f"{error}; nothing was sent: make it safe by hand")
    except EqpError as error:
        return _blind(name, settings, instrument, error)
    finally:
        instrument.close()
    if still:
        return SelfTestStep(
            name, False, f"{still} after all were set to zero: cut its supply{ended}"
        )
    return SelfTestStep(name, True, f"all outputs at zero, confirmed by the instrument{ended}")


def _still_driven(instrument: Instrument) -> str:
    """Return which output does not obey, by the instrument's own meters; "" where none is seen."""
    assert isinstance(instrument, MultichannelSource)
    channels = np.arange(instrument.n_channels)
    try:
        voltage = np.abs(instrument.measure_voltages(channels))
    except EqpError:  # no meters, or not to be read: zeros were acknowledged all the same
        return ""
    up = np.flatnonzero(voltage > OBEYED_V)
    return f"channel {up[0]} drives {voltage[up[0]]:.3f} V" if up.size else ""


def _way_out(error: BusyError) -> str:
    if error.processes:
        return (
            "end the program that drives it, which makes outputs safe itself; or let "
            "`eqp-hw safe-off RIG.toml --take-over` end it"
        )
    return "end the program that drives it: it makes outputs safe itself"


def _connect_freed(instrument: Instrument) -> None:
    end = time.monotonic() + FREED_S
    while True:
        try:
            instrument.connect()
        except BusyError:
            if time.monotonic() > end:
                raise
            time.sleep(LOOK_S)
        else:
            return


def _blind(
    name: str, settings: InstrumentSettings, instrument: Instrument, error: EqpError
) -> SelfTestStep:
    instrument.close()
    ward = {
        "name": name,
        "address": settings.address,
        "baud": baud_rate_of(settings),
        "messages": (b"".join(instrument.safe_messages()) * 2).hex(),
    }
    failed = make_safe([ward], give_up_s=BLIND_S)
    if failed:
        return SelfTestStep(name, False, f"{error}; make it safe by hand: switch it off")
    return SelfTestStep(
        name, False, f"{error}; zero was sent blindly and not confirmed: look at the instrument"
    )
