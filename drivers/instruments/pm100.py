"""Driver of Thorlabs PM100D and PM400 optical power meters (SCPI); the older PM100 is another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.drivers.errors import LimitError
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import NonceProbe
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.substrate import SelfTestStep
from eqp_hw.validation import STRICT

from .checks import Count, Positive, named_step
from .interface import Identity, Instrument
from .scpi_link import ScpiLink
from .scpi_wire import Part, command, parse_number, parse_report, query
from .table_factory import TableFactory

__all__ = ["Pm100", "Pm100Factory", "Pm100Options"]


@final
class Pm100Options(BaseModel):
    """Options of ``kind = "pm100"``."""

    model_config = STRICT

    wavelength_nm: Positive = Field(1550.0, description="wavelength of the light, nm")
    averages: Count = Field(1, description="conversions that the meter averages")
    range_W: Positive | None = Field(None, description="fixed range, W; automatic where left out")
    channel: int | None = Field(None, description="of the simulated twin only")
    watt_per_volt: Positive | None = Field(None, description="of the simulated twin only")
    serial: str | None = Field(None, description="of the simulated twin only")


@final
class Pm100(Instrument):
    """Optical power of one sensor.

    Parameters
    ----------
    name
        Name in the rig file.
    settings
        Its table there.
    options
        The options of this kind.
    transport
        The wire.
    """

    description: ClassVar[str] = "Thorlabs PM100D, PM400 optical power meter"

    def __init__(
        self, name: str, settings: InstrumentSettings, options: Pm100Options, transport: Transport
    ) -> None:
        self.name = name
        self._settings = settings
        self._options = options
        self._link = ScpiLink(
            transport,
            name,
            probe=NonceProbe(b"*ESE %d;*ESE?"),
            error_query="SYST:ERR?",
            parse_report=parse_report,
        )

    @override
    def connect(self) -> Identity:
        identity = self._link.connect(
            self._settings.identity,
            lambda found: found.model.upper().startswith(("PM100", "PM400")),
        )
        try:
            self._configure()
        except BaseException:
            self._link.session.close()
            raise
        return identity

    @override
    def recover(self) -> bool:
        self._link.recover(self._settings.timeout_s)
        survived = not self._link.restarted
        self._link.restarted = False
        self._configure()
        return survived

    def read_power_W(self, n_readings: int = 1) -> FloatArray:
        """Return (n_readings,) optical powers, W.

        Raises
        ------
        LimitError
            Less than one reading.
        ProtocolError
            Overrange or no number; never returned as data.
        StateLostError
            It has restarted and measures with other settings.
        """
        if n_readings < 1:
            raise LimitError(
                "nothing to read", field=f"{self.name}.n_readings", value=n_readings, allowed=">= 1"
            )
        return np.array([self._read() for _ in range(n_readings)])

    def zero(self) -> None:
        """Take the present light as zero: the sensor must be dark."""
        self._link.run([command("SENS:CORR:COLL:ZERO"), query("*OPC?")], list)
        self._link.check()

    @override
    def check_errors(self) -> None:
        self._link.check()

    @override
    def self_test(self) -> list[SelfTestStep]:
        return [
            named_step("identity", lambda: self._link.ask("*IDN?", str)),
            named_step("sensor", lambda: self._link.ask("SYST:SENS:IDN?", str)),
            named_step("errors", self._test_errors),
            named_step("reading", lambda: f"{self.read_power_W()[0]:.4g} W"),
        ]

    @override
    def safe(self) -> None:
        """Do nothing: a meter drives no output."""

    @override
    def close(self) -> None:
        self._link.session.close()

    @override
    def safe_messages(self) -> Sequence[bytes]:
        return ()

    def _read(self) -> float:
        # After a restart the meter answers too, for another wavelength.
        reading, events = self._link.run(
            [query("READ?"), query("*ESR?")],
            lambda texts: (parse_number(texts[0]), self._link.parse_events(texts[1])),
        )
        self._link.judge(events, None)
        return reading

    def _configure(self) -> None:
        fixed_W = self._options.range_W
        ranging = "SENS:POW:RANG:AUTO ON" if fixed_W is None else f"SENS:POW:RANG {fixed_W:g}"
        parts: list[Part] = [
            command("CONF:POW"),
            command("SENS:POW:UNIT W"),
            command(f"SENS:CORR:WAV {self._options.wavelength_nm:g}"),
            command(ranging),
            command(f"SENS:AVER:COUN {self._options.averages}"),
            query("*OPC?"),
        ]
        self._link.run(parts, list)
        self._link.check()

    def _test_errors(self) -> str:
        self.check_errors()
        return "none"


@final
class Pm100Factory(TableFactory[Pm100Options, Pm100]):
    """Makes power meters."""

    description: ClassVar[str] = Pm100.description
    options_type = Pm100Options

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: Pm100Options) -> Pm100:
        return Pm100(name, settings, options, self._wire(name, settings))
