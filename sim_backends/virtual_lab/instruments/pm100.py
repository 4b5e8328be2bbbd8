"""Kind ``pm100``: a Thorlabs PM100D-style power meter (SCPI).

The light is the detector voltage of one plant channel (option ``channel``) times
``watt_per_volt``; a beam that is not there reads zero and noise.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace

from .common import Options
from .scpi import Call, Command, ScpiEngine
from .scpi.parser import format_nr3, parse_boolean, parse_choice, parse_number
from .scpi_simulator import ScpiSimulator

__all__ = ["Pm100", "make_pm100"]

RANGES_W: Final = tuple(5.0 * 10.0**k for k in range(-9, 1))
WAVELENGTH_NM: Final = (700.0, 1800.0)
_CONVERSION_S: Final = 3e-4
_OVERRANGE: Final = 9.91e37


@final
class Pm100(ScpiSimulator):
    """Power of one beam; ``READ?`` converts, ``FETC?`` repeats the last value."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        *,
        channel: int,
        watt_per_volt: float,
        bits: int | None,
        serial: str,
    ) -> None:
        super().__init__(plant)
        self._name = name
        self._channel = channel
        self._scale = watt_per_volt
        self._bits = bits
        self._reset()
        self._engine = ScpiEngine(
            self._desk,
            f"Thorlabs,PM100D,{serial},2.4.0",
            self._commands(),
            reset=self._reset,
            zero_error="+0",
            message_s=1e-3,
        )

    @override
    def _reset(self) -> None:
        self._wavelength_nm = 1550.0
        self._auto = True
        self._range_W = RANGES_W[-1]
        self._average = 1
        self._zero_W = 0.0
        self._last_W = 0.0
        self._dbm = False

    def _commands(self) -> tuple[Command, ...]:
        correction = "[SENSe]:CORRection"
        power = "[SENSe]:POWer[:DC]"
        low, high = WAVELENGTH_NM
        return (
            Command("SYSTem:SENSor:IDN?", lambda c: "S132C,18010100,01-Jan-2024,1,3,289"),
            Command(f"{correction}:WAVelength", self._set_wavelength, 1),
            Command(
                f"{correction}:WAVelength?",
                lambda c: format_nr3(
                    parse_number(c.parameters[0], minimum=low, maximum=high)
                    if c.parameters
                    else self._wavelength_nm
                ),
                1,
            ),
            Command(f"{correction}:COLLect:ZERO[:INITiate]", self._zero, busy_s=0.1),
            Command(f"{correction}:COLLect:ZERO:MAGNitude?", lambda c: format_nr3(self._zero_W)),
            Command(f"{correction}:COLLect:ZERO:STATe?", lambda c: "0"),
            Command(f"{power}:RANGe:AUTO", self._set_auto, 1),
            Command(f"{power}:RANGe:AUTO?", lambda c: str(int(self._auto))),
            Command(f"{power}:RANGe[:UPPer]", self._set_range, 1),
            Command(f"{power}:RANGe[:UPPer]?", lambda c: format_nr3(self._range_W)),
            Command(f"{power}:UNIT", self._set_unit, 1),
            Command(f"{power}:UNIT?", lambda c: "DBM" if self._dbm else "W"),
            Command("[SENSe]:AVERage[:COUNt]", self._set_average, 1),
            Command("[SENSe]:AVERage[:COUNt]?", lambda c: str(self._average)),
            Command("CONFigure[:SCALar][:POWer]", lambda c: None),
            Command("CONFigure?", lambda c: "POW"),
            Command("INITiate[:IMMediate]", self._convert),
            Command("FETCh?", lambda c: self._text()),
            Command("READ?", self._read),
            Command("MEASure[:SCALar][:POWer]?", self._read),
        )

    def _set_wavelength(self, call: Call) -> None:
        low, high = WAVELENGTH_NM
        self._wavelength_nm = parse_number(call.parameter(0), minimum=low, maximum=high)

    def _set_auto(self, call: Call) -> None:
        self._auto = parse_boolean(call.parameter(0))

    def _set_range(self, call: Call) -> None:
        wanted = parse_number(call.parameter(0), minimum=0.0, maximum=RANGES_W[-1], unit="W")
        self._auto = False
        self._range_W = next(r for r in RANGES_W if r >= wanted)

    def _set_unit(self, call: Call) -> None:
        self._dbm = parse_choice(call.parameter(0), "W", "DBM") == "DBM"

    def _set_average(self, call: Call) -> None:
        self._average = round(parse_number(call.parameter(0), minimum=1, maximum=10_000))

    def _light_W(self) -> float:
        self._desk.spend(self._average * _CONVERSION_S)
        volts = self._plant.detector_V(self._name, [self._channel], self._average)
        return self._scale * float(volts.mean())

    def _zero(self, call: Call) -> None:
        self._zero_W = self._light_W()

    def _convert(self, call: Call) -> None:
        light = self._light_W() - self._zero_W
        if self._auto:
            self._range_W = next((r for r in RANGES_W if r >= abs(light)), RANGES_W[-1])
        if abs(light) > 1.05 * self._range_W:
            self._last_W = _OVERRANGE
        elif self._bits is None:
            self._last_W = light
        else:
            step = self._range_W / 2 ** (self._bits - 1)
            self._last_W = round(light / step) * step

    def _text(self) -> str:
        if self._dbm and self._last_W != _OVERRANGE:
            return format_nr3(10.0 * float(np.log10(max(self._last_W, 1e-15) * 1e3)))
        return format_nr3(self._last_W)

    def _read(self, call: Call) -> str:
        self._convert(call)
        return self._text()


def make_pm100(
    name: str,
    settings: InstrumentSettings,
    plant: PlantFace,
    rng: np.random.Generator,
    lab: VirtualLabSettings | None = None,
) -> Pm100:
    """Make a power meter; options ``channel``, ``watt_per_volt``, ``serial``."""
    options = Options(name, settings)
    return Pm100(
        name,
        plant,
        channel=options.integer("channel", 0, 0, 4095),
        watt_per_volt=options.number("watt_per_volt", 1e-3, 1e-12, 1.0),
        bits=(lab or VirtualLabSettings()).detector_bits,
        serial=options.text("serial", "P0000001"),
    )
