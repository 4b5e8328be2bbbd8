"""Driver of the Stanford Research SR830 lock-in amplifier: X and Y as two detector voltages.

Its own command set, no SCPI: each query of a message is answered by a line of its own, and
mistakes only set bits of ``*ESR?``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, final

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.drivers.errors import ProtocolError
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.validation import STRICT

from .checks import Positive
from .interface import Digitiser, Identity, Samples
from .limits import check_channels, check_samples
from .scpi_link import ScpiLink
from .scpi_meter import ScpiMeter
from .scpi_wire import Part, ScpiReport, command, parse_number, parse_numbers, query
from .table_factory import TableFactory

__all__ = ["Sr830", "Sr830Factory", "Sr830Options"]

_OVERLOADS = {1: "the input", 2: "the filter", 4: "the output"}
"""Bits of ``LIAS?``; reading clears them."""


@final
class Sr830Options(BaseModel):
    """Options of ``kind = "sr830"``."""

    model_config = STRICT

    sensitivity: Annotated[int, Field(ge=0, le=26)] | None = Field(
        None, description="index of SENS, 0 (2 nV) to 26 (1 V); as it stands where left out"
    )
    time_constant: Annotated[int, Field(ge=0, le=19)] | None = Field(
        None, description="index of OFLT, 0 (10 us) to 19 (30 ks); as it stands where left out"
    )
    phase_deg: float | None = Field(None, ge=-360.0, le=729.99, description="reference phase, deg")
    frequency_Hz: Positive | None = Field(None, description="internal reference, Hz")
    x_channel: int | None = Field(None, description="of the simulated twin only")
    y_channel: int | None = Field(None, description="of the simulated twin only")
    serial: str | None = Field(None, description="of the simulated twin only")


def _parse_errs(text: str) -> ScpiReport | None:
    code = parse_number(text)
    if not code.is_integer() or not 0 <= code <= 255:
        raise ValueError("not an error register")
    return None if code == 0 else ScpiReport(int(code), f"error register {code:g}")


@final
class Sr830(ScpiMeter, Digitiser):
    """Lock-in amplifier; channel 0 is X, channel 1 is Y, V."""

    description: ClassVar[str] = "Stanford Research SR830 lock-in amplifier (X and Y)"

    def __init__(
        self, name: str, settings: InstrumentSettings, options: Sr830Options, transport: Transport
    ) -> None:
        link = ScpiLink(transport, name, error_query="ERRS?", parse_report=_parse_errs, join=False)
        super().__init__(name, settings, link)
        self._options = options

    @property
    @override
    def n_channels(self) -> int:
        return 2

    @override
    def _knows(self, identity: Identity) -> bool:
        return "SR830" in identity.model

    @override
    def read(self, channels: IntArray, n_samples: int = 1) -> Samples:
        index = check_channels(self.name, channels, 2)
        check_samples(self.name, n_samples, len(index))
        started_s = time.monotonic()
        rows = [self._snap() for _ in range(n_samples)]
        ended_s = time.monotonic()
        return Samples(np.array(rows)[:, index], started_s, ended_s)

    @override
    def _tests(self) -> Mapping[str, Callable[[], str]]:
        return {
            "identity": self._test_identity,
            "errors": self._test_errors,
            "conversion": self._test_conversion,
        }

    def _snap(self) -> FloatArray:
        # X and Y must be of the same instant: SNAP?, never two OUTP?.
        pair = self._link.ask("SNAP?1,2", lambda text: parse_numbers(text, 2))
        overload = int(self._link.ask("LIAS?", parse_number))
        self._link.judge(self._link.ask("*ESR?", self._link.parse_events), None)
        for bit, place in _OVERLOADS.items():
            if overload & bit:
                raise ProtocolError(
                    f"{place} was overloaded",
                    instrument=self.name,
                    advice=f"a larger instruments.{self.name}.sensitivity",
                )
        return pair

    @override
    def _configure(self) -> None:
        options = self._options
        texts = {
            "SENS": options.sensitivity,
            "OFLT": options.time_constant,
            "PHAS": options.phase_deg,
            "FREQ": options.frequency_Hz,
        }
        parts: list[Part] = [
            command(f"{name} {value:g}") for name, value in texts.items() if value is not None
        ]
        wanted = [float(value) for value in texts.values() if value is not None]
        asked = [query(f"{name}?") for name, value in texts.items() if value is not None]
        found = self._link.run(
            [*parts, *asked], lambda answers: [parse_number(text) for text in answers]
        )
        self._link.check()
        for part, want, got in zip(parts, wanted, found, strict=True):
            turn = 360.0 if part.text.startswith("PHAS") else np.inf
            error = abs(want - got)
            if min(error, abs(turn - error)) > 1e-3 * max(1.0, abs(want)):
                raise ProtocolError(f"{part.text} was set, it holds {got:g}", instrument=self.name)

    def _test_conversion(self) -> str:
        x, y = self.read(np.arange(2)).voltage_V[0]
        return f"X {x:.4g} V, Y {y:.4g} V"


@final
class Sr830Factory(TableFactory[Sr830Options, Sr830]):
    """Makes lock-in amplifiers."""

    description: ClassVar[str] = Sr830.description
    options_type = Sr830Options

    @override
    def _make(self, name: str, settings: InstrumentSettings, options: Sr830Options) -> Sr830:
        return Sr830(name, settings, options, self._wire(name, settings))
