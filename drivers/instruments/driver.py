"""What every driver does alike: public verbs over small hooks that a new driver fills in."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import final

from typing_extensions import override

from eqp_hw.drivers.transports.session import Session
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.substrate import SelfTestStep

from .checks import named_step
from .interface import Identity, Instrument

__all__ = ["Driver"]


class Driver(Instrument):
    """A driver of one instrument on one dialogue.

    Parameters
    ----------
    name
        Name in the rig file.
    settings
        Its table there.
    session
        The dialogue with the instrument, not yet open.
    """

    def __init__(self, name: str, settings: InstrumentSettings, session: Session) -> None:
        self.name = name
        self._settings = settings
        self._session = session
        self._log = logging.getLogger(f"eqp_hw.drivers.{name}")

    @override
    @final
    def connect(self) -> Identity:
        try:
            return self._connect()
        except BaseException:
            self._session.close()
            raise

    @abstractmethod
    def _connect(self) -> Identity:
        """Open the dialogue and identify; the wire is closed where this raises."""

    @override
    @final
    def self_test(self) -> list[SelfTestStep]:
        return [named_step(name, run) for name, run in self._tests().items()]

    @abstractmethod
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        """Return the named steps of the self-test; each returns what it found, or raises."""

    def _test_errors(self) -> str:
        self.check_errors()
        return "none"
