"""What goes wrong on the way to an instrument.

Every error says which instrument and address it concerns, what was expected, and what to do.
Raw exceptions of pyvisa, pyserial and sockets never leave the transports.
"""

from __future__ import annotations

from eqp_hw.errors import LimitError, SubstrateError

__all__ = [
    "BusyError",
    "DeviceError",
    "IdentityError",
    "IncompleteError",
    "InstrumentError",
    "LimitError",
    "LostError",
    "ProtocolError",
    "StateLostError",
    "TransportError",
    "TransportTimeout",
]


class InstrumentError(SubstrateError):
    """Base: something about one instrument.

    Parameters
    ----------
    problem
        What is wrong, in one sentence.
    instrument
        Name in the rig file, or the address where no name is known.
    advice
        What to do next.
    """

    def __init__(self, problem: str, *, instrument: str = "", advice: str = "") -> None:
        self.problem = problem
        self.instrument = instrument
        self.advice = advice
        super().__init__(problem)

    def __str__(self) -> str:
        place = f"{self.instrument}: " if self.instrument else ""
        return f"{place}{self.problem}" + (f" ({self.advice})" if self.advice else "")


class TransportError(InstrumentError):
    """Base of what happens on the wire."""


class TransportTimeout(TransportError):  # noqa: N818 - a time-out is what it is called
    """No complete reply by the deadline; the session must be resynchronised before use."""


class LostError(TransportError):
    """The other side is gone: unplugged, closed, powered down."""


class BusyError(TransportError):
    """The port is in use, or not permitted; the message says which group to join.

    Parameters
    ----------
    processes
        Numbers of the other processes that hold the port, where the system tells.
    """

    def __init__(
        self,
        problem: str,
        *,
        instrument: str = "",
        advice: str = "",
        processes: tuple[int, ...] = (),
    ) -> None:
        self.processes = processes
        super().__init__(problem, instrument=instrument, advice=advice)


class ProtocolError(TransportError):
    """A reply that does not fit the protocol: garbled, stale, of another length."""


class DeviceError(InstrumentError):
    """The instrument reported an error.

    Parameters
    ----------
    code
        As the instrument gives it.
    channel
        Channel number from 0, None where the error concerns none.
    """

    def __init__(
        self,
        problem: str,
        *,
        code: int,
        channel: int | None = None,
        instrument: str = "",
        advice: str = "",
    ) -> None:
        self.code = code
        self.channel = channel
        super().__init__(problem, instrument=instrument, advice=advice)


class StateLostError(DeviceError):
    """The instrument has restarted: its outputs and settings are not what was written."""


class IdentityError(InstrumentError):
    """Another instrument answers than the one that the rig file names."""


class IncompleteError(IdentityError):
    """The right kind of instrument answers, but not all of it is there.

    Parameters
    ----------
    option
        Key of the rig file that says what should be there; without it the rest can be used, as
        for making it safe.
    """

    def __init__(
        self, problem: str, *, option: str, instrument: str = "", advice: str = ""
    ) -> None:
        self.option = option
        super().__init__(problem, instrument=instrument, advice=advice)
