"""What all instruments do alike that measure, drive nothing, and speak IEEE 488.2."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import final

from typing_extensions import override

from eqp_hw.rig.schema import InstrumentSettings

from .driver import Driver
from .interface import Identity
from .scpi_link import ScpiLink

__all__ = ["ScpiMeter"]


class ScpiMeter(Driver):
    """A meter; a driver says which it knows, how it is configured and what it reads.

    Parameters
    ----------
    name
        Name in the rig file.
    settings
        Its table there.
    link
        The messages to the instrument.
    """

    def __init__(self, name: str, settings: InstrumentSettings, link: ScpiLink) -> None:
        super().__init__(name, settings, link.session)
        self._link = link

    @abstractmethod
    def _knows(self, identity: Identity) -> bool:
        """Say whether this driver is made for such an instrument."""

    def _learn(self) -> None:
        """Ask, at `connect` only, what the instrument can do."""

    def _configure(self) -> None:
        """Send the settings of the rig file, and see that they were taken."""

    @override
    @final
    def _connect(self) -> Identity:
        identity = self._link.connect(self._settings.identity, self._knows)
        self._learn()
        self._configure()
        return identity

    @override
    @final
    def recover(self) -> bool:
        self._link.recover(self._settings.timeout_s)
        survived = not self._link.presence.restarted
        self._link.presence.restarted = False
        self._configure()
        return survived

    @override
    @final
    def check_errors(self) -> None:
        self._link.check()

    @override
    @final
    def safe(self) -> None:
        """Do nothing: a meter drives no output."""

    @override
    @final
    def close(self) -> None:
        self._session.close()

    @override
    @final
    def safe_messages(self) -> Sequence[bytes]:
        return ()

    def _test_identity(self) -> str:
        return self._link.ask("*IDN?", str)
