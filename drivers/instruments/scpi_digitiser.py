"""Driver of a many-channel SCPI digitiser that answers in binary blocks.

Grammar (generic, IEEE 488.2 style): ``ROUT:SCAN``, ``SAMP:COUN``, ``SENS:AVER:COUN``,
``SENS:VOLT:RANG``, ``FORM:DATA REAL,64``, ``FORM:BORD``, ``READ?``, ``SYST:CHAN?``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.drivers.errors import (
    LimitError,
    LostError,
)
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.drivers.transports.line_protocol import NonceProbe
from eqp_hw.network.graph import IntArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.substrate import SelfTestStep
from eqp_hw.validation import STRICT

from .checks import Count, Positive, named_step, twice
from .interface import Digitiser, Identity, Samples
from .limits import check_channels
from .scpi_link import ScpiLink
from .scpi_wire import (
    Part,
    block_values,
    channel_list,
    command,
    parse_number,
    parse_report,
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
class ScpiDigitiser(Digitiser):
    """Detector voltages by ``READ?``.

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

    description: ClassVar[str] = "SCPI digitiser, many voltages at once as binary blocks"

    def __init__(
        self,
        name: str,
        settings: InstrumentSettings,
        options: ScpiDigitiserOptions,
        transport: Transport,
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
        self._n_channels = 0
        self._scanned: tuple[int, ...] = ()
        self._n_samples = 0
        self._asked: tuple[IntArray, IntArray, tuple[int, ...]] | None = None
        self._log = logging.getLogger(f"eqp_hw.drivers.{name}")

    @property
    @override
    def n_channels(self) -> int:
        if not self._n_channels:
            raise LostError("not connected", instrument=self.name, advice="connect first")
        return self._n_channels

    @override
    def connect(self) -> Identity:
        identity = self._link.connect(
            self._settings.identity, lambda found: "VDIG" in found.model.upper()
        )
        try:
            self._asked = None
            self._n_channels = twice(self.name, lambda: self._link.ask("SYST:CHAN?", _parse_count))
            wanted = self._options.channels
            if wanted is not None and wanted > self._n_channels:
                raise LimitError(
                    f"the instrument has {self._n_channels} channels",
                    field=f"instruments.{self.name}.channels",
                    value=wanted,
                    allowed=f"at most {self._n_channels}",
                )
            self._configure()
        except BaseException:
            self._link.session.close()
            raise
        return identity

    @override
    def recover(self) -> bool:
        _ = self.n_channels
        self._link.recover(self._settings.timeout_s)
        survived = not self._link.restarted
        self._link.restarted = False
        self._configure()
        return survived

    @override
    def check_errors(self) -> None:
        self._link.check()

    @override
    def read(self, channels: IntArray, n_samples: int = 1) -> Samples:
        order, scan = self._scan_of(channels)
        if n_samples < 1 or not scan:
            raise LimitError(
                "nothing to read", field=f"{self.name}.n_samples", value=n_samples, allowed=">= 1"
            )
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
    def self_test(self) -> list[SelfTestStep]:
        return [
            named_step("identity", self._test_identity),
            named_step("errors", self._test_errors),
            named_step("conversion", self._test_conversion),
        ]

    @override
    def safe(self) -> None:
        """Do nothing: a digitiser drives no output."""

    @override
    def close(self) -> None:
        self._link.session.close()

    @override
    def safe_messages(self) -> Sequence[bytes]:
        return ()

    def _scan_of(self, channels: IntArray) -> tuple[IntArray, tuple[int, ...]]:
        """Return how to sort ``channels``, and them sorted; the same ones come again and again."""
        n_channels, asked = self.n_channels, np.asarray(channels)
        if self._asked is None or not np.array_equal(asked, self._asked[0]):
            index = check_channels(self.name, channels, n_channels)
            order = np.argsort(index)
            self._asked = (index.copy(), order, tuple(index[order].tolist()))
        return self._asked[1], self._asked[2]

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

    def _test_identity(self) -> str:
        return self._link.ask("*IDN?", str)

    def _test_errors(self) -> str:
        self.check_errors()
        return "none"

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
