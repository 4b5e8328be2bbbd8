"""The instruments of a rig: connected together, recovered one by one, made safe together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Self, TypeVar, final

from eqp_hw.drivers.actuators.side_by_side import side_by_side
from eqp_hw.drivers.errors import IdentityError, InstrumentError, LimitError
from eqp_hw.drivers.instruments.interface import (
    Digitiser,
    Identity,
    Instrument,
    MultichannelSource,
)
from eqp_hw.drivers.instruments.registry import make_instrument
from eqp_hw.drivers.instruments.wire import baud_rate_of
from eqp_hw.drivers.safety.guard import Guard, Ward
from eqp_hw.errors import ConfigurationError, EqpError
from eqp_hw.rig.load import Channel, Rig
from eqp_hw.rig.schema import InstrumentSettings

__all__ = ["Bench", "InstrumentMaker"]

_log = logging.getLogger("eqp_hw.drivers.rig")

T = TypeVar("T")
InstrumentMaker = Callable[[str, InstrumentSettings], Instrument]

ATTEMPTS = 3
"""How often an absolute action is tried in all."""


@final
class Bench:
    """All instruments of one rig.

    Parameters
    ----------
    rig
        The rig.
    make
        Makes an instrument from its table.

    Raises
    ------
    ConfigurationError
        An instrument of the wrong kind is wired, or an option is wrong; nothing is opened.
    """

    def __init__(self, rig: Rig, make: InstrumentMaker = make_instrument) -> None:
        self.rig = rig
        self.instruments = {
            name: make(name, table) for name, table in rig.settings.instruments.items()
        }
        wiring = rig.wiring
        driven = wiring.heaters + (() if wiring.gain_switch is None else (wiring.gain_switch,))
        self.sources: dict[str, MultichannelSource] = {}
        self.digitisers: dict[str, Digitiser] = {}
        for channel in driven:
            source = self.instruments[channel.instrument]
            if not isinstance(source, MultichannelSource):
                raise self._misfit(channel, "a voltage source")
            self.sources[channel.instrument] = source
        for channel in wiring.detectors:
            digitiser = self.instruments[channel.instrument]
            if not isinstance(digitiser, Digitiser):
                raise self._misfit(channel, "a digitiser")
            self.digitisers[channel.instrument] = digitiser
        self.identities: dict[str, Identity] = {}
        self._lost: set[str] = set()
        self._guard: Guard | None = None
        self._connected = False
        self._closed = False

    def _misfit(self, channel: Channel, needed: str) -> ConfigurationError:
        return ConfigurationError(
            f"is wired as {channel} where {needed} is needed",
            field=f"instruments.{channel.instrument}.kind",
            value=self.rig.settings.instruments[channel.instrument].kind,
        )

    def connect(self) -> Mapping[str, Identity]:
        """Open, identify and limit all instruments; moves no output.

        Raises
        ------
        InstrumentError
            One cannot be used; all are closed again.
        """
        try:
            # Instruments may share an address space (VISA), none shares a wire.
            self.identities = side_by_side(
                {name: one.connect for name, one in self.instruments.items()}
            )
        except BaseException:
            self.close()
            raise
        self._connected = True
        return self.identities

    def refuse_missing_channels(self) -> None:
        """See that connected instruments have the channels that are wired.

        Raises
        ------
        LimitError
            One has not; names the role that the channel is wired as.
        """
        wiring = self.rig.wiring
        for item in dataclasses.fields(wiring):
            value = getattr(wiring, item.name)
            table = "wiring" if hasattr(self.rig.settings.wiring, item.name) else "readout"
            for channel in value if isinstance(value, tuple) else (value,) if value else ():
                name = channel.instrument
                n = (self.sources | self.digitisers)[name].n_channels
                if channel.number >= n:
                    raise LimitError(
                        f"the instrument has {n} channels",
                        field=f"{table}.{item.name}",
                        value=str(channel),
                        allowed=f"{name}:0 to {name}:{n - 1}",
                    )

    def take_over(self, identities: Mapping[str, Identity]) -> None:
        """Say that all instruments have been connected one by one, and who they are."""
        self.identities = dict(identities)
        self._connected = True

    @property
    def lasting_identities(self) -> dict[str, str]:
        """Who each wired instrument is, whatever its firmware; known once connected."""
        wired = {**self.sources, **self.digitisers}
        return {name: self.identities[name].lasting for name in sorted(wired)}

    def start_guard(self) -> int:
        """Start the guardian process; from now on outputs are safe even after ``kill -9``.

        Returns
        -------
        Its process number.
        """
        if self._guard is None:
            self._guard = Guard(
                [
                    Ward(
                        name,
                        self.rig.settings.instruments[name].address,
                        tuple(bytes(message) for message in source.safe_messages()),
                        baud_rate_of(self.rig.settings.instruments[name]),
                    )
                    for name, source in self.sources.items()
                ]
            )
        return self._guard.pid

    def retry(self, instrument: str, action: Callable[[], T]) -> T:
        """Run an absolute action; recover the instrument and run it again where it failed.

        Raises
        ------
        InstrumentError
            It failed too often, or the instrument cannot be recovered.
        """
        attempt = 1
        while True:
            try:
                return action()
            except IdentityError:
                raise
            except InstrumentError as error:
                if attempt == ATTEMPTS:
                    raise
                _log.warning("%s; recovering (attempt %d)", error, attempt)
                self.recover(instrument)
                attempt += 1

    def recover(self, instrument: str) -> None:
        """Bring an instrument back; where its state was lost, `take_lost` will say so.

        Raises
        ------
        InstrumentError
            It does not come back.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                survived = self.instruments[instrument].recover()
                break
            except IdentityError:
                raise
            except InstrumentError as error:
                if attempt == ATTEMPTS:
                    raise
                _log.warning("%s; recovering again (attempt %d)", error, attempt)
        if not survived:
            _log.warning("%s has lost its outputs: writing them again", instrument)
            self._lost.add(instrument)

    def watch(self) -> None:
        """Ask all sources for errors and restarts; recover those that report any.

        Raises
        ------
        InstrumentError
            One cannot be recovered, or reports an error again and again.
        """
        side_by_side(
            {
                name: partial(self.retry, name, source.check_errors)
                for name, source in self.sources.items()
            }
        )

    def take_lost(self) -> set[str]:
        """Return instruments that lost their outputs since the last call."""
        lost, self._lost = self._lost, set()
        return lost

    def safe(self) -> None:
        """Drive all outputs to zero, whatever else is wrong; see `safe_all`.

        Raises
        ------
        InstrumentError
            After all have been tried: the first that could not be made safe.
        """
        failures = safe_all(self.instruments)
        if failures:
            raise next(iter(failures.values()))

    def close(self) -> None:
        """Make safe and release everything; idempotent, never raises."""
        if self._closed:
            return
        self._closed = True
        failures = safe_all(self.sources) if self._connected else {}
        for name, error in failures.items():
            _log.error("%s could not be made safe: %s", name, error)
        for name, instrument in self.instruments.items():
            try:
                instrument.close()
            except EqpError as error:
                _log.error("%s could not be closed: %s", name, error)
        if self._guard is not None:
            # Where an output may still be up the guardian is not sent home: it tries again.
            self._guard.end(farewell=not failures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def safe_all(instruments: Mapping[str, Instrument]) -> dict[str, EqpError]:
    """Make every instrument safe, side by side; return what failed, by name."""
    failures: dict[str, EqpError] = {}

    def make_safe(name: str, instrument: Instrument) -> None:
        try:
            instrument.safe()
        except EqpError as error:
            failures[name] = error

    side_by_side({name: partial(make_safe, name, one) for name, one in instruments.items()})
    return failures
