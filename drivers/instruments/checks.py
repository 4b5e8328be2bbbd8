"""Small things that all drivers share: options, identity, named steps, reading tolerances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field

from eqp_hw.drivers.errors import IdentityError, LostError, ProtocolError
from eqp_hw.drivers.transports.session import Session
from eqp_hw.errors import EqpError
from eqp_hw.substrate import SelfTestStep
from eqp_hw.validation import STRICT

__all__ = [
    "Count",
    "Positive",
    "SourceOptions",
    "check_identity",
    "named_step",
    "not_connected",
    "open_session",
    "require_open",
    "twice",
]

T = TypeVar("T")

_TRIES = 5

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class SourceOptions(BaseModel):
    """Options that every voltage source has."""

    model_config = STRICT

    resistance_ohm: Positive | None = Field(
        None, description="load of every channel, for limits of current and power"
    )
    readback_tolerance_V: Positive = Field(
        0.01, description="how far a measured output may be from its set-point"
    )
    verify: bool = Field(
        False, description="read every write back and refuse what differs (slower)"
    )


def check_identity(instrument: str, raw: str, wanted: str | None) -> None:
    """See that an identity holds what the rig file wants.

    Raises
    ------
    IdentityError
        It does not.
    """
    if wanted is not None and wanted.lower() not in raw.lower():
        raise IdentityError(
            f"{raw!r} answers, the rig file wants {wanted!r}",
            instrument=instrument,
            advice=f"check instruments.{instrument}.address and .identity",
        )


def open_session(session: Session, instrument: str, otherwise: str) -> None:
    """Open the dialogue; an answer in another language is an instrument of another kind.

    Raises
    ------
    IdentityError
        Something answers that is not understood; ``otherwise`` says what that means.
    TransportError
        The wire cannot be opened, or nobody answers.
    """
    try:
        session.open()
    except ProtocolError as error:
        raise IdentityError(
            f"{otherwise}: {error.problem}",
            instrument=instrument,
            advice="check the address in the rig file",
        ) from error


def not_connected(instrument: str) -> LostError:
    """Return the error of an instrument that is used before `Instrument.connect`."""
    return LostError("not connected", instrument=instrument, advice="connect first")


def require_open(session: Session, instrument: str) -> None:
    """See that an instrument is connected.

    Raises
    ------
    LostError
        It is not.
    """
    if not session.transport.is_open:
        raise not_connected(instrument)


def named_step(name: str, run: Callable[[], str]) -> SelfTestStep:
    """Return the step with what ``run`` found, or with the error that it raised."""
    try:
        return SelfTestStep(name, True, run())
    except EqpError as error:
        return SelfTestStep(name, False, str(error))


def twice(instrument: str, ask: Callable[[], T]) -> T:
    """Return an answer that was given twice running: one garbled digit must not decide.

    For identities and limits, which are asked once and believed for long.

    Raises
    ------
    ProtocolError
        No two successive answers agree.
    """
    answer = ask()
    for _ in range(_TRIES):
        before, answer = answer, ask()
        if answer == before:
            return answer
    raise ProtocolError(
        f"answers {answer!r} and others to the same question",
        instrument=instrument,
        advice="a noisy line, or another program on it",
    )
