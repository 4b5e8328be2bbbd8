"""Outputs to zero, instrument by instrument, whatever state the rig is in."""

from __future__ import annotations

from collections.abc import Iterator

from eqp_hw.drivers.errors import BusyError, IdentityError
from eqp_hw.drivers.instruments.interface import Instrument, MultichannelSource
from eqp_hw.drivers.instruments.registry import make_instrument
from eqp_hw.errors import EqpError
from eqp_hw.rig.load import Rig
from eqp_hw.substrate import SelfTestStep

from .guardian import make_safe

__all__ = ["safe_off"]

BLIND_S = 0.5
"""How long blind messages are tried."""


def safe_off(rig: Rig) -> Iterator[SelfTestStep]:
    """Make every source safe: by dialogue, and where there is none by blind messages.

    One that cannot be reached does not keep the others waiting for long.
    """
    for name, settings in rig.settings.instruments.items():
        try:
            instrument = make_instrument(name, settings)
        except EqpError as error:
            yield SelfTestStep(name, False, f"{error}; make it safe by hand")
            continue
        if isinstance(instrument, MultichannelSource):
            yield _source_off(name, settings.address, instrument)


def _source_off(name: str, address: str, instrument: Instrument) -> SelfTestStep:
    try:
        instrument.connect()
        instrument.safe()
    except IdentityError as error:
        return SelfTestStep(name, False, f"{error}; nothing was sent: make it safe by hand")
    except BusyError as error:
        return SelfTestStep(
            name, False, f"{error}; end the program that drives it: it makes outputs safe itself"
        )
    except EqpError as error:
        return _blind(name, address, instrument, error)
    finally:
        instrument.close()
    return SelfTestStep(name, True, "all outputs at zero, confirmed by the instrument")


def _blind(name: str, address: str, instrument: Instrument, error: EqpError) -> SelfTestStep:
    instrument.close()
    ward = {
        "name": name,
        "address": address,
        "baud": 115200,
        "messages": (b"".join(instrument.safe_messages()) * 2).hex(),
    }
    failed = make_safe([ward], give_up_s=BLIND_S)
    if failed:
        return SelfTestStep(name, False, f"{error}; make it safe by hand: switch it off")
    return SelfTestStep(
        name, False, f"{error}; zero was sent blindly and not confirmed: look at the instrument"
    )
