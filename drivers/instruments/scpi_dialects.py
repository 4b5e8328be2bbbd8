"""How makers of multichannel sources spell the same things; pure, channels count from 0.

A unit that selects a channel and acts on it is one `Part`, so that nothing comes between.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, final

from typing_extensions import override

from eqp_hw.network.graph import FloatArray, IntArray

from .interface import Identity
from .scpi_wire import (
    Part,
    ScpiReport,
    channel_list,
    command,
    parse_number,
    parse_report,
    query,
)

__all__ = [
    "DIALECTS",
    "Keithley",
    "Keysight",
    "Qdac2",
    "RohdeSchwarz",
    "SourceDialect",
    "SourceSettings",
    "volts",
]


def volts(value: float) -> str:
    """Return a value with more digits than any source resolves."""
    return f"{value:.7f}".rstrip("0").rstrip(".") or "0"


@final
@dataclass(frozen=True)
class SourceSettings:
    """What the rig file wants programmed; None where it says nothing.

    Attributes
    ----------
    current_A, slew_V_per_s
        Limits of every channel.
    watchdog_s
        Silence after which the instrument switches off.
    low_range
        Whether the smaller output range is wanted, where there are two.
    """

    current_A: float | None
    slew_V_per_s: float | None
    watchdog_s: int | None
    low_range: bool


class SourceDialect(ABC):
    """One maker's language."""

    makers: ClassVar[tuple[str, ...]]
    """Identities that speak it begin so (upper case)."""
    default_channels: ClassVar[int]
    default_full_scale_V: ClassVar[float]
    bipolar: ClassVar[bool] = False
    native_slew: ClassVar[bool] = False
    join: ClassVar[bool] = True
    """Whether units go out together in one message."""
    events_query: ClassVar[str | None] = "*ESR?"
    error_query: ClassVar[str] = "SYST:ERR?"
    probe: ClassVar[bytes] = b"*ESE %d;*ESE?"
    counts_channels: ClassVar[bool] = False
    """Whether ``SYST:CHAN?`` is answered."""

    def knows(self, identity: Identity) -> bool:
        """Say whether such an instrument speaks this dialect."""
        return identity.raw.upper().startswith(self.makers)

    def parse_report(self, text: str) -> ScpiReport | None:
        """Read an entry of the error queue."""
        return parse_report(text)

    def full_scale(self, n_channels: int) -> list[Part]:
        """Ask for the largest voltage of every channel; empty where it cannot be asked."""
        del n_channels
        return []

    def setup(self, n_channels: int, wanted: SourceSettings) -> list[Part]:
        """Program limits; moves no output."""
        del n_channels, wanted
        return []

    @abstractmethod
    def set_voltages(self, channels: IntArray, voltage_V: FloatArray) -> list[Part]:
        """Set levels, or prepare them for `trigger`."""

    def trigger(self) -> list[Part]:
        """Apply what was prepared to all channels at once."""
        return []

    def switch(self, channels: IntArray, on: bool) -> list[Part]:
        """Switch outputs; empty where they are always on."""
        del channels, on
        return []

    @abstractmethod
    def read_back(self, channels: IntArray) -> list[Part]:
        """Ask for set-points."""

    def states(self, n_channels: int) -> list[Part]:
        """Ask which outputs are on, as 0 and 1; empty where that is never asked."""
        del n_channels
        return []

    def trips(self, n_channels: int) -> list[Part]:
        """Ask for protection trips, one whole number a channel, 0 for none."""
        del n_channels
        return []

    def measure_voltage(self, channels: IntArray) -> list[Part]:
        """Ask for measured voltages; empty where there is no such meter."""
        del channels
        return []

    @abstractmethod
    def measure_current(self, channels: IntArray) -> list[Part]:
        """Ask for measured currents, A."""


@final
class Keysight(SourceDialect):
    """N67xx, N6705, E36300: channel lists."""

    makers = ("KEYSIGHT", "AGILENT")
    default_channels = 4
    default_full_scale_V = 20.0
    native_slew = True
    counts_channels = True

    @override
    def full_scale(self, n_channels: int) -> list[Part]:
        return [query(f"VOLT? MAX,{channel_list(range(n_channels))}")]

    @override
    def setup(self, n_channels: int, wanted: SourceSettings) -> list[Part]:
        everything = channel_list(range(n_channels))
        parts = []
        if wanted.current_A is not None:
            parts.append(command(f"CURR {wanted.current_A:g},{everything}"))
        if wanted.slew_V_per_s is not None:
            parts.append(command(f"VOLT:SLEW {wanted.slew_V_per_s:g},{everything}"))
        if wanted.watchdog_s is not None:
            parts.append(command(f"OUTP:PROT:WDOG:DEL {wanted.watchdog_s}"))
            parts.append(command("OUTP:PROT:WDOG ON"))
        return parts

    @override
    def set_voltages(self, channels: IntArray, voltage_V: FloatArray) -> list[Part]:
        groups: dict[str, list[int]] = {}
        for channel, value in zip(channels, voltage_V, strict=True):
            groups.setdefault(volts(value), []).append(int(channel))
        return [command(f"VOLT {text},{channel_list(who)}") for text, who in groups.items()]

    @override
    def switch(self, channels: IntArray, on: bool) -> list[Part]:
        return [command(f"OUTP {'ON' if on else 'OFF'},{channel_list(channels)}")]

    @override
    def read_back(self, channels: IntArray) -> list[Part]:
        return [query(f"VOLT? {channel_list(channels)}")]

    @override
    def trips(self, n_channels: int) -> list[Part]:
        return [query(f"STAT:QUES:COND? {channel_list(range(n_channels))}")]

    @override
    def measure_voltage(self, channels: IntArray) -> list[Part]:
        return [query(f"MEAS:VOLT? {channel_list(channels)}")]

    @override
    def measure_current(self, channels: IntArray) -> list[Part]:
        return [query(f"MEAS:CURR? {channel_list(channels)}")]


@final
class RohdeSchwarz(SourceDialect):
    """HMP, NGP, many Rigol and Siglent: select a channel, then act."""

    makers = ("ROHDE", "HAMEG", "RIGOL", "SIGLENT")
    default_channels = 4
    default_full_scale_V = 32.0

    @override
    def full_scale(self, n_channels: int) -> list[Part]:
        return [self._on(channel, "VOLT? MAX", True) for channel in range(n_channels)]

    @override
    def setup(self, n_channels: int, wanted: SourceSettings) -> list[Part]:
        if wanted.current_A is None:
            return []
        return [self._on(channel, f"CURR {wanted.current_A:g}") for channel in range(n_channels)]

    @override
    def set_voltages(self, channels: IntArray, voltage_V: FloatArray) -> list[Part]:
        pairs = zip(channels, voltage_V, strict=True)
        return [self._on(channel, f"VOLT {volts(value)}") for channel, value in pairs]

    @override
    def switch(self, channels: IntArray, on: bool) -> list[Part]:
        word = "ON" if on else "OFF"
        return [self._on(channel, f"OUTP {word}") for channel in channels]

    @override
    def read_back(self, channels: IntArray) -> list[Part]:
        return [self._on(channel, "VOLT?", True) for channel in channels]

    @override
    def measure_voltage(self, channels: IntArray) -> list[Part]:
        return [self._on(channel, "MEAS:VOLT?", True) for channel in channels]

    @override
    def measure_current(self, channels: IntArray) -> list[Part]:
        return [self._on(channel, "MEAS:CURR?", True) for channel in channels]

    @staticmethod
    def _on(channel: int, text: str, answers: bool = False) -> Part:
        return Part(f"INST:NSEL {channel + 1};:{text}", answers)


@final
class Keithley(SourceDialect):
    """2600 series (TSP): ``smua``, ``smub``; further pairs are further nodes."""

    makers = ("KEITHLEY",)
    default_channels = 2
    default_full_scale_V = 40.0
    bipolar = True
    join = False
    events_query = None
    error_query = "print(errorqueue.next())"
    probe = b"print(%d)"

    @override
    def parse_report(self, text: str) -> ScpiReport | None:
        fields = text.split("\t")
        code = parse_number(fields[0])
        if not code.is_integer() or len(fields) < 2:
            raise ValueError("no entry of the error queue")
        return None if code == 0 else ScpiReport(int(code), fields[1])

    @override
    def setup(self, n_channels: int, wanted: SourceSettings) -> list[Part]:
        if wanted.current_A is None:
            return []
        return [
            command(f"{self._unit(k)}.source.limiti={wanted.current_A:g}")
            for k in range(n_channels)
        ]

    @override
    def set_voltages(self, channels: IntArray, voltage_V: FloatArray) -> list[Part]:
        pairs = zip(channels, voltage_V, strict=True)
        return [command(f"{self._unit(k)}.source.levelv={volts(value)}") for k, value in pairs]

    @override
    def switch(self, channels: IntArray, on: bool) -> list[Part]:
        return [command(f"{self._unit(k)}.source.output={int(on)}") for k in channels]

    @override
    def read_back(self, channels: IntArray) -> list[Part]:
        return [self._print(channels, "source.levelv")]

    @override
    def states(self, n_channels: int) -> list[Part]:
        return [self._print(range(n_channels), "source.output")]

    @override
    def measure_voltage(self, channels: IntArray) -> list[Part]:
        return [self._print([k], "measure.v()") for k in channels]

    @override
    def measure_current(self, channels: IntArray) -> list[Part]:
        return [self._print([k], "measure.i()") for k in channels]

    def _print(self, channels: IntArray | Sequence[int], attribute: str) -> Part:
        return query(f"print({', '.join(f'{self._unit(k)}.{attribute}' for k in channels)})")

    @staticmethod
    def _unit(channel: int) -> str:
        node, side = divmod(int(channel), 2)
        return ("" if node == 0 else f"node[{node + 1}].") + f"smu{'ab'[side]}"


@final
class Qdac2(SourceDialect):
    """QDevil QDAC-II: ±10 V or ±2 V, slew rates, triggered simultaneous update, no voltmeter."""

    makers = ("QDEVIL",)
    default_channels = 24
    default_full_scale_V = 10.0
    bipolar = True
    native_slew = True

    @override
    def setup(self, n_channels: int, wanted: SourceSettings) -> list[Part]:
        everything = channel_list(range(n_channels))
        parts = [
            command(f"sour:volt:mode fix,{everything}"),
            command(f"sour:rang {'low' if wanted.low_range else 'high'},{everything}"),
        ]
        if wanted.slew_V_per_s is not None:
            parts.append(command(f"sour:volt:slew {wanted.slew_V_per_s:g},{everything}"))
        return parts

    @override
    def set_voltages(self, channels: IntArray, voltage_V: FloatArray) -> list[Part]:
        pairs = zip(channels, voltage_V, strict=True)
        return [command(f"sour{k + 1}:volt:trig {volts(value)}") for k, value in pairs]

    @override
    def trigger(self) -> list[Part]:
        return [command("*trg")]

    @override
    def read_back(self, channels: IntArray) -> list[Part]:
        return [query(f"sour:volt? {channel_list(channels)}")]

    @override
    def measure_current(self, channels: IntArray) -> list[Part]:
        return [query(f"read? {channel_list(channels)}")]


DialectName = Literal["keysight", "rohde-schwarz", "keithley-tsp", "qdac2"]

DIALECTS: Mapping[DialectName, SourceDialect] = MappingProxyType(
    {
        "keysight": Keysight(),
        "rohde-schwarz": RohdeSchwarz(),
        "keithley-tsp": Keithley(),
        "qdac2": Qdac2(),
    }
)
