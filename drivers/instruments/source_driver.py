"""What all voltage sources do alike: set-points that are known, recovery, and the way to zero."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.drivers.errors import InstrumentError, StateLostError
from eqp_hw.drivers.transports.session import Session
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings

from .checks import not_connected
from .clock import Clock
from .driver import Driver
from .interface import Identity, MultichannelSource
from .limits import SourceLimits
from .outputs import OutputBank
from .presence import Presence
from .safe_state import make_safe

__all__ = ["SourceDriver"]


class SourceDriver(Driver, MultichannelSource):
    """A source; a driver says how to identify it, what its limits are, how to send and ask.

    Parameters
    ----------
    name
        Name in the rig file.
    settings
        Its table there.
    session
        The dialogue with the instrument, not yet open.
    presence
        What is known of restarts.
    clock
        What ramps go by.
    """

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        session: Session,
        presence: Presence,
        clock: Clock,
    ) -> None:
        super().__init__(name, settings, session)
        self._presence = presence
        self._clock = clock
        self._bank: OutputBank | None = None

    @abstractmethod
    def _identify(self) -> Identity:
        """Open the dialogue, see who answers, and learn what it can do."""

    @abstractmethod
    def _limits(self) -> SourceLimits:
        """Join the rig's limits with those that the instrument has."""

    def _prepare(self) -> None:
        """Send, at `connect`, what the rig file wants of the instrument; moves no output."""

    @abstractmethod
    def _held(self) -> FloatArray | None:
        """Ask what outputs drive, (n_channels,) V; None where the instrument cannot tell."""

    @abstractmethod
    def _send(self, channels: IntArray, voltage_V: FloatArray) -> FloatArray | None:
        """Send set-points that were checked; see `outputs.Send`."""

    @abstractmethod
    def _present(self, channels: IntArray) -> FloatArray:
        """Ask what channels drive now: where a ramp begins whose set-points are unknown."""

    @abstractmethod
    def _resume(self, bank: OutputBank) -> tuple[bool, FloatArray | None]:
        """Bring the dialogue into step, identify again, and apply limits again.

        Returns
        -------
        Whether outputs are as they were accepted, as far as the instrument knows; and what
        they hold, None where it cannot tell.
        """

    @abstractmethod
    def _write_zeros(self) -> None:
        """Drive all outputs to zero and see that acknowledged."""

    def _surface(self) -> None:
        """Raise what the instrument has reported since the last call."""

    def _lost(self) -> None:
        """Take note that outputs may be off."""

    @property
    @override
    @final
    def setpoint_V(self) -> FloatArray:
        return self._outputs().setpoint_V

    @final
    def set_resistance(self, resistance_ohm: FloatArray) -> None:
        """Judge currents and powers by measured loads, (n_channels,) ohm."""
        self._outputs().set_resistance(resistance_ohm)

    @override
    @final
    def _connect(self) -> Identity:
        identity = self._identify()
        limits = self._limits()
        self._presence.restarted = False
        self._bank = OutputBank(limits, self.resolution_V, self._clock)
        self._prepare()
        self._lost()
        held = self._held()
        if held is not None:
            self._bank.observe(held)
        self._surface()
        return identity

    @override
    @final
    def recover(self) -> bool:
        bank = self._outputs()
        intact, held = self._resume(bank)
        survived = intact and not bank.doubtful
        if not survived:
            self._forget()
        if held is not None:
            bank.observe(held)
        bank.trust()
        self._presence.restarted = False
        self._log.info("recovered, outputs %s", "as they were" if survived else "lost")
        return survived

    @override
    @final
    def write_voltages(self, channels: IntArray, voltage_V: FloatArray) -> None:
        bank = self._ready()
        with self._noting_restarts():
            bank.write(channels, voltage_V, self._send, self._present)
        self._surface()

    @override
    @final
    def safe(self) -> None:
        bank = self._bank
        if bank is None:  # never connected, or closed and so safe
            return
        self._forget()
        # A restart is no hindrance here, and stays known.
        presence = self._presence
        restarted, presence.restarted = presence.restarted, False
        try:
            make_safe(self._session, self._write_zeros, self.safe_messages(), self._log)
        finally:
            presence.restarted |= restarted
        zeros = np.zeros(self.n_channels)
        bank.accept(np.arange(self.n_channels), zeros, zeros)
        bank.trust()

    @override
    @final
    def close(self) -> None:
        if self._bank is not None:
            try:
                self.safe()
            except InstrumentError as error:
                self._log.error("closed without safe outputs: %s", error)
            self._bank = None
        self._session.close()

    @final
    def _outputs(self) -> OutputBank:
        if self._bank is None:
            raise not_connected(self.name)
        return self._bank

    @final
    def _ready(self) -> OutputBank:
        bank = self._outputs()
        self._presence.require()
        return bank

    @final
    def _forget(self) -> None:
        """Forget all set-points."""
        self._lost()
        if self._bank is not None:
            self._bank.forget()

    @final
    def _note_restart(self) -> None:
        """Take note that the instrument has restarted; `recover` comes next."""
        self._presence.restarted = True
        self._forget()

    @final
    @contextmanager
    def _noting_restarts(self) -> Iterator[None]:
        try:
            yield
        except StateLostError:
            self._note_restart()
            raise
