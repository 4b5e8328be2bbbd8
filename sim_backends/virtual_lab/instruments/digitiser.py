"""Kind ``scpi-digitiser``: a generic multichannel digitiser with block data (``VDIG-64``).

Channels count from 1 on the wire. A voltage beyond the range reads 9.91E+37.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.schema import InstrumentSettings, VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace

from .common import Options
from .scpi import Call, Command, ScpiEngine, ScpiError
from .scpi.parser import format_nr3, parse_channel_list, parse_choice, parse_number
from .scpi_simulator import ScpiSimulator

__all__ = ["OVERRANGE", "ScpiDigitiser", "make_digitiser"]

OVERRANGE: Final = 9.91e37
_MAX_VALUES: Final = 2_000_000
_ARM_S: Final = 2e-4


@final
class ScpiDigitiser(ScpiSimulator):
    """Simultaneous sampling of the scanned channels; each value averages some conversions."""

    def __init__(
        self,
        name: str,
        plant: PlantFace,
        *,
        channels: int,
        bits: int | None,
        range_V: float,
        rate_Hz: float,
        serial: str,
    ) -> None:
        super().__init__(plant)
        self._name = name
        self._n = channels
        self._bits = bits
        self._largest_V = range_V
        self._period_s = 1.0 / rate_Hz
        self._reset()
        self._engine = ScpiEngine(
            self._desk,
            f"EQP,VDIG-64,{serial},1.0",
            self._commands(),
            reset=self._reset,
            message_s=1e-4,
        )

    @override
    def _reset(self) -> None:
        self._scan = list(range(self._n))
        self._average = 1
        self._samples = 1
        self._range_V = self._largest_V
        self._real = False
        self._swapped = False

    def _commands(self) -> tuple[Command, ...]:
        quick = 5e-5
        return (
            Command("ROUTe:SCAN", self._set_scan, 1, quick),
            Command("ROUTe:SCAN?", lambda c: _list_text(self._scan), 0, quick),
            Command("SENSe:AVERage:COUNt", self._set_average, 1, quick),
            Command("SENSe:AVERage:COUNt?", lambda c: str(self._average), 0, quick),
            Command("SAMPle:COUNt", self._set_samples, 1, quick),
            Command("SAMPle:COUNt?", lambda c: str(self._samples), 0, quick),
            Command("FORMat[:DATA]", self._set_format, 2, quick),
            Command("FORMat[:DATA]?", lambda c: "REAL,64" if self._real else "ASC,9", 0, quick),
            Command("FORMat:BORDer", self._set_order, 1, quick),
            Command("FORMat:BORDer?", lambda c: "SWAP" if self._swapped else "NORM", 0, quick),
            Command("SENSe:VOLTage[:DC]:RANGe", self._set_range, 1, quick),
            Command("SENSe:VOLTage[:DC]:RANGe?", lambda c: format_nr3(self._range_V), 0, quick),
            Command("READ?", self._read, 0, quick),
            Command("MEASure:VOLTage[:DC]?", self._measure, 1, quick),
            Command("SYSTem:CHANnel[:COUNt]?", lambda c: str(self._n), 0, quick),
        )

    def _set_scan(self, call: Call) -> None:
        channels = parse_channel_list(call.parameter(0), self._n)
        if len(set(channels)) != len(channels):
            raise ScpiError(-221)
        self._scan = channels

    def _set_average(self, call: Call) -> None:
        self._average = round(
            parse_number(call.parameter(0), minimum=1, maximum=100_000, default=1)
        )

    def _set_samples(self, call: Call) -> None:
        self._samples = round(
            parse_number(call.parameter(0), minimum=1, maximum=100_000, default=1)
        )

    def _set_format(self, call: Call) -> None:
        kind = parse_choice(call.parameter(0), "REAL", "ASCii")
        width = None
        if len(call.parameters) > 1:
            width = parse_number(call.parameter(1))
        if kind == "REAL" and width not in {None, 64.0}:
            raise ScpiError(-224)
        self._real = kind == "REAL"

    def _set_order(self, call: Call) -> None:
        self._swapped = parse_choice(call.parameter(0), "NORMal", "SWAPped", "SWAP") == "SWAP"

    def _set_range(self, call: Call) -> None:
        self._range_V = parse_number(
            call.parameter(0), minimum=1e-3, maximum=self._largest_V, default=self._largest_V
        )

    def _convert(self, channels: list[int], samples: int) -> FloatArray:
        """Return (samples, channels) as the converter's levels, averaged."""
        conversions = samples * self._average
        if conversions * len(channels) > _MAX_VALUES:
            raise ScpiError(-223)
        self._desk.spend(_ARM_S + conversions * self._period_s)
        raw = self._plant.detector_V(self._name, channels, conversions)
        over = np.abs(raw) > self._range_V
        values = raw
        if self._bits is not None:
            step = 2.0 * self._range_V / (2**self._bits - 1)
            codes = np.round((raw + self._range_V) / step)
            values = np.clip(codes, 0, 2**self._bits - 1) * step - self._range_V
        shape = (samples, self._average, len(channels))
        mean: FloatArray = values.reshape(shape).mean(axis=1)
        mean[over.reshape(shape).any(axis=1)] = OVERRANGE
        return mean

    def _read(self, call: Call) -> bytes | str:
        if not self._scan:
            raise ScpiError(-221)
        values = self._convert(self._scan, self._samples)
        if not self._real:
            return ",".join(format_nr3(float(v)) for v in values.ravel())
        payload = values.astype("<f8" if self._swapped else ">f8").tobytes()
        length = str(len(payload))
        return f"#{len(length)}{length}".encode("ascii") + payload

    def _measure(self, call: Call) -> str:
        channels = parse_channel_list(call.parameter(0), self._n)
        return ",".join(format_nr3(float(v)) for v in self._convert(channels, 1)[0])


def _list_text(channels: list[int]) -> str:
    return "(@" + ",".join(str(k + 1) for k in channels) + ")"


def make_digitiser(
    name: str,
    settings: InstrumentSettings,
    plant: PlantFace,
    rng: np.random.Generator,
    lab: VirtualLabSettings | None = None,
) -> ScpiDigitiser:
    """Make a digitiser; options ``channels``, ``serial``, ``rate_Hz`` (conversions)."""
    options = Options(name, settings)
    truths = lab or VirtualLabSettings()
    return ScpiDigitiser(
        name,
        plant,
        channels=options.integer("channels", 64, 1, 1024),
        bits=truths.detector_bits,
        range_V=truths.detector_range_V,
        rate_Hz=options.number("rate_Hz", 1e5, 1.0, 1e9),
        serial=options.text("serial", "VL0001"),
    )
