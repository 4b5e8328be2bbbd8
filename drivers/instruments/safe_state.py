"""The way to safe outputs on a wire that may be broken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from eqp_hw.drivers.errors import InstrumentError
from eqp_hw.drivers.transports.session import Session

__all__ = ["make_safe"]


def make_safe(
    session: Session,
    confirmed: Callable[[], None],
    messages: Sequence[bytes],
    log: logging.Logger,
) -> None:
    """Drive outputs to zero, by dialogue where that goes, else blindly first.

    Parameters
    ----------
    session
        The dialogue with the instrument, open or not.
    confirmed
        Writes zeros and sees them acknowledged; raises `InstrumentError` otherwise.
    messages
        The bytes that make it safe without a dialogue.

    Raises
    ------
    InstrumentError
        Zeros were sent as well as can be, and were not acknowledged.
    """
    if session.transport.is_open:
        try:
            confirmed()
        except InstrumentError as error:
            log.warning("safe outputs by blind messages: %s", error)
        else:
            return
        # What is on its way to zero need not wait for the dialogue to be mended.
        _send(session, messages, log)
    session.recover()
    confirmed()


def _send(session: Session, messages: Sequence[bytes], log: logging.Logger) -> None:
    try:
        for data in messages:
            session.send_blind(data)
    except InstrumentError as error:
        log.warning("blind messages did not go out: %s", error)
