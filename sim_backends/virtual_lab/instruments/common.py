"""What the simulators share: options, quantisation, lines out of portions, and time spent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import final

from eqp_hw.errors import ConfigurationError
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply

__all__ = [
    "Desk",
    "LineAssembler",
    "Options",
    "adc_count",
    "quantised",
    "wire_time_s",
]


def quantised(value: float, low: float, high: float, bits: int | None) -> float:
    """Return the nearest of 2**bits levels from ``low`` to ``high``; ``bits`` None: the value.

    A value outside goes to the end of the scale, as a converter does.
    """
    if bits is None:
        return value
    top = (1 << bits) - 1
    code = round((value - low) / (high - low) * top)
    return low + min(max(code, 0), top) * (high - low) / top


def adc_count(value: float, low: float, high: float, bits: int) -> int:
    """Return the unsigned code of a converter from ``low`` to ``high``; ends saturate."""
    top = (1 << bits) - 1
    return min(max(round((value - low) / (high - low) * top), 0), top)


def wire_time_s(n_bytes: int, baud: int = 115200) -> float:
    """Return how long bytes take on a serial line with 8N1 framing, s."""
    return 10.0 * n_bytes / baud


@final
class Options:
    """The options of one instrument's table; keys that only the driver knows are left alone."""

    def __init__(self, name: str, settings: InstrumentSettings) -> None:
        self._name = name
        self._options = settings.options

    def _error(self, key: str, allowed: str) -> ConfigurationError:
        return ConfigurationError(
            "the simulated instrument cannot use this",
            field=f"instruments.{self._name}.{key}",
            value=self._options[key],
            allowed=allowed,
        )

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``."""
        value = self._options.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._error(key, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """Return a finite number from ``low`` to ``high``."""
        value = self._options.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(key, f"a number from {low:g} to {high:g}")
        if not (math.isfinite(value) and low <= value <= high):
            raise self._error(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def text(self, key: str, default: str, allowed: Sequence[str] | None = None) -> str:
        """Return a text, one of ``allowed`` where that is given."""
        value = self._options.get(key, default)
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise self._error(key, "printable ASCII text")
        if allowed is not None and value not in allowed:
            raise self._error(key, ", ".join(allowed))
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._options.get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, "true or false")
        return value


@final
class LineAssembler:
    """Cuts a stream into lines; holds at most ``limit`` bytes of an unfinished one."""

    def __init__(self, ends: bytes = b"\n", limit: int = 4096) -> None:
        self._ends = re.compile(b"[" + re.escape(ends) + b"]")
        self._limit = limit
        self._line = bytearray()
        self._overrun = False

    def clear(self) -> None:
        """Forget the unfinished line."""
        self._line.clear()
        self._overrun = False

    def add(self, data: bytes) -> Iterator[bytes | None]:
        """Yield finished lines without their end; None for a line that was too long."""
        at = 0
        for end in self._ends.finditer(data):
            self._append(data[at : end.start()])
            line = None if self._overrun else bytes(self._line)
            self.clear()
            at = end.end()
            yield line
        self._append(data[at:])

    def _append(self, part: bytes) -> None:
        room = self._limit - len(self._line)
        self._overrun = self._overrun or len(part) > room
        self._line += part[:room]


@final
class Desk:
    """One instrument does one thing after another: what it says and when.

    On a clock that moves with each transaction `spend` moves it; on a real clock the wait shows
    in ``Reply.after_s`` alone, also the wait for what an earlier portion has begun.
    """

    def __init__(self, plant: PlantFace) -> None:
        self._plant = plant
        self._asked_s = plant.now_s
        self._at_s = plant.now_s
        self._replies: list[Reply] = []

    def begin(self) -> None:
        """Take up a portion of input."""
        now = self._plant.now_s
        self._asked_s = now
        self._at_s = max(self._at_s, now)

    def spend(self, duration_s: float) -> None:
        """Be busy."""
        self._plant.elapse(duration_s)
        self._at_s += duration_s

    def say(self, data: bytes, *, later_s: float = 0.0, asynchronous: bool = False) -> None:
        """Send something, now or a little later."""
        after = max(self._at_s - self._asked_s, 0.0) + later_s
        self._replies.append(Reply(data, after, asynchronous))

    def end(self) -> list[Reply]:
        """Return what was said since `begin`."""
        replies, self._replies = self._replies, []
        return replies

    def restart(self) -> None:
        """Forget what was under way (power cycle)."""
        self._at_s = self._plant.now_s
        self._replies.clear()
