"""Driver of a many-channel SCPI digitiser that answers in binary blocks.

Grammar (generic, IEEE 488.2 style): ``ROUT:SCAN``, ``SAMP:COUN``, ``SENS:AVER:COUN``,
``SENS:VOLT:RANG``, ``FORM:DATA REAL,64``, ``FORM:BORD``, ``READ?``, ``SYST:CHAN?``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.network.graph import IntArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.validation import STRICT

from .checks import Count, Positive, not_connected, twice
from .interface import Digitiser, Identity, Samples
from .limits import check_channel_count, check_channels, check_samples
from .scpi_link import ScpiLink
from .scpi_meter import ScpiMeter
from .scpi_wire import (
    Part,
    block_values,
    channel_list,
    command,
    parse_number,
    query,
)
from .table_factory import TableFactory

__all__ = ["ScpiDigitiser", "ScpiDigitiserFactory", "ScpiDigitiserOptions"]

_HEADROOM = 1.1
"""Converters reach a little beyond their nominal range."""


@final
class ScpiDigitiserOptions(BaseModel):
    """Options of ``kind = "scpi-digitiser"``."""

    model_config = STRICT

    range_V: Positive = Field(2.0, description="input range, V")
    averages: Count = Field(1, description="samples that the instrument averages a conversion")
    byte_order: Literal["normal", "swapped"] = Field(
        "swapped", description="of binary blocks: big-endian or little-endian"
    )
    channels: Count | None = Field(None, description="channels that the instrument must have")
    serial: str | None = Field(None, description="of the simulated twin only")
    rate_Hz: Positive | None = Field(None, description="of the simulated twin only")


@final
class ScpiDigitiser(ScpiMeter, Digitiser):
    """Detector voltages by ``READ?``."""

    description: ClassVar[str] = "SCPI digitiser, many voltages at once as binary blocks"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: ScpiDigitiserOptions,
        transport: Transport,
    ) -> None:
        super().__init__(name, settings, ScpiLink(transport, name))
        self._options = options
        self._n_channels = 0
        self._scanned: tuple[int, ...] = ()
        self._n_samples = 0
        self._asked: tuple[IntArray, IntArray, tuple[int, ...]] | None = None

    @property
    @override
    def n_channels(self) -> int:
        if not self._n_channels:
            raise not_connected(self.name)
        return self._n_channels

    @override
    def _knows(self, identity: Identity) -> bool:
        return "VDIG" in identity.model.upper()

    @override
    def _learn(self) -> None:
        self._asked = None
        self._n_channels = twice(self.name, lambda: self._link.ask("SYST:CHAN?", _parse_count))
        check_channel_count(self.name, self._options.channels, self._n_channels)

    @override
    def read(self, channels: IntArray, n_samples: int = 1) -> Samples:
        order, scan = self._scan_of(channels)
        check_samples(self.name, n_samples, len(scan))
        text = ";:".join([*self._scan_texts(scan, n_samples), "READ?"])
        largest = _HEADROOM * self._options.range_V
        swapped = self._options.byte_order == "swapped"
        # Until the block is there it is not known whether the scan was set.
        self._scanned = ()
        started_s = time.monotonic()
        values = self._link.ask_block(
            text,
            lambda data: block_values(data, n_samples, len(scan), swapped=swapped, largest=largest),
            8 * n_samples * len(scan),
        )
        ended_s = time.monotonic()
        self._scanned, self._n_samples = scan, n_samples
        in_order = np.empty_like(values)
        in_order[:, order] = values
        return Samples(in_order, started_s, ended_s)

    @override
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        return {
            "identity": self._test_identity,
            "errors": self._test_errors,
            "conversion": self._test_conversion,
        }

    def _scan_of(self, channels: IntArray) -> tuple[IntArray, tuple[int, ...]]:
        """Return how to sort ``channels``, and them sorted; the same ones come again and again."""
        n_channels, asked = self.n_channels, np.asarray(channels)
        if self._asked is None or not np.array_equal(asked, self._asked[0]):
            index = check_channels(self.name, channels, n_channels)
            order = np.argsort(index)
            self._asked = (index.copy(), order, tuple(index[order].tolist()))
        return self._asked[1], self._asked[2]

    @override
    def _configure(self) -> None:
        order = "SWAP" if self._options.byte_order == "swapped" else "NORM"
        parts: list[Part] = [
            command("FORM:DATA REAL,64"),
            command(f"FORM:BORD {order}"),
            command(f"SENS:VOLT:RANG {self._options.range_V:g}"),
            command(f"SENS:AVER:COUN {self._options.averages}"),
            query("*OPC?"),
        ]
        self._scanned, self._n_samples = (), 0
        self._link.run(parts, list)
        self._link.check()

    def _scan_texts(self, scan: tuple[int, ...], n_samples: int) -> list[str]:
        if scan == self._scanned and n_samples == self._n_samples:
            return []
        return [f"ROUT:SCAN {channel_list(scan)}", f"SAMP:COUN {n_samples}"]

    def _test_conversion(self) -> str:
        samples = self.read(np.arange(self.n_channels), 2).voltage_V
        return f"{samples.min():.4f} to {samples.max():.4f} V"


def _parse_count(text: str) -> int:
    value = parse_number(text)
    if not value.is_integer() or not 1 <= value <= 10_000:
        raise ValueError("not a number of channels")
    return int(value)


@final
class ScpiDigitiserFactory(TableFactory[ScpiDigitiserOptions, ScpiDigitiser]):
    """Makes SCPI digitisers."""

    description: ClassVar[str] = ScpiDigitiser.description
    options_type = ScpiDigitiserOptions

    @override
    def _make(
        self, name: str, settings: InstrumentSettings, options: ScpiDigitiserOptions
    ) -> ScpiDigitiser:
        return ScpiDigitiser(name, settings, options, self._wire(name, settings))
