"""Driver of Thorlabs PM100D and PM400 optical power meters (SCPI); the older PM100 is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, final

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.validation import STRICT

from .checks import Count, Positive
from .interface import Identity
from .limits import check_samples
from .scpi_link import ScpiLink
from .scpi_meter import ScpiMeter
from .scpi_wire import Part, command, parse_number, query
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
class Pm100(ScpiMeter):
    """Optical power of one sensor."""

    description: ClassVar[str] = "Thorlabs PM100D, PM400 optical power meter"

    def __init__(
        self, name: str, settings: InstrumentSettings, options: Pm100Options, transport: Transport
    ) -> None:
        super().__init__(name, settings, ScpiLink(transport, name))
        self._options = options

    @override
    def _knows(self, identity: Identity) -> bool:
        return identity.model.upper().startswith(("PM100", "PM400"))

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
        check_samples(self.name, n_readings, quantity="n_readings")
        return np.array([self._read() for _ in range(n_readings)])

    def zero(self) -> None:
        """Take the present light as zero: the sensor must be dark."""
        self._link.run([command("SENS:CORR:COLL:ZERO"), query("*OPC?")], list)
        self._link.check()

    @override
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        return {
            "identity": self._test_identity,
            "sensor": lambda: self._link.ask("SYST:SENS:IDN?", str),
            "errors": self._test_errors,
            "reading": lambda: f"{self.read_power_W()[0]:.4g} W",
        }

    def _read(self) -> float:
        # After a restart the meter answers too, for another wavelength.
        reading, events = self._link.run(
            [query("READ?"), query("*ESR?")],
            lambda texts: (parse_number(texts[0]), self._link.parse_events(texts[1])),
        )
        self._link.judge(events, None)
        return reading

    @override
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


@final
class Pm100Factory(TableFactory[Pm100Options, Pm100]):
    """Makes power meters."""

    description: ClassVar[str] = Pm100.description
    options_type = Pm100Options

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: Pm100Options) -> Pm100:
        return Pm100(name, settings, options, self._wire(name, settings))
