"""A wire in memory with a byte-level simulator at its end, and a plant of plain resistors."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

import numpy as np
from typing_extensions import override

from eqp_hw.drivers.errors import LostError
from eqp_hw.drivers.instruments.clock import Clock
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.network.graph import FloatArray
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, SimulatedInstrument

RESISTANCE_OHM = 500.0


class Resistors(PlantFace):
    """Every source channel drives 500 ohm; detectors see the sine of their number."""

    def __init__(self) -> None:
        self.voltages: defaultdict[int, float] = defaultdict(float)
        self.time_s = 0.0
        self.shift = 0.0
        self.also_s: Callable[[], float] = float
        self.history: list[tuple[float, int, float]] = []

    @property
    @override
    def now_s(self) -> float:
        return self.time_s

    @override
    def elapse(self, duration_s: float) -> None:
        self.time_s += duration_s

    @override
    def set_voltage(self, instrument: str, channel: int, voltage_V: float) -> None:
        self.voltages[channel] = voltage_V
        self.history.append((self.time_s + self.also_s(), channel, voltage_V))

    @override
    def voltage_V(self, instrument: str, channel: int) -> float:
        return self.voltages[channel]

    @override
    def current_A(self, instrument: str, channel: int) -> float:
        return self.voltages[channel] / RESISTANCE_OHM

    @override
    def detector_V(self, instrument: str, channels: list[int], n_samples: int) -> FloatArray:
        return np.tile(np.sin(1.0 + self.shift + np.array(channels)), (n_samples, 1))


class FakeClock(Clock):
    """Time passes only where something waits."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.waited: list[float] = []

    @override
    def now_s(self) -> float:
        return self.time_s

    @override
    def wait(self, duration_s: float) -> None:
        if duration_s > 0:
            self.time_s += duration_s
            self.waited.append(duration_s)


class MemoryWire(Transport):
    """Feeds a simulator at once; silence is a time-out at once, so that nothing ever waits."""

    def __init__(self, instrument: SimulatedInstrument) -> None:
        super().__init__("tcp:memory:1", timeout_s=0.5)
        self.instrument = instrument
        self.sent: list[bytes] = []
        self.plugged = True
        self.late_replies = 0
        """Replies that are held back until the next request goes out."""
        self.lost_replies = 0
        self.doubled_replies = 0
        self.swallowed_requests = 0
        self.garble_requests = 0
        """Requests whose first letter is changed on the way."""
        self._line: deque[bytes] = deque()
        self._held: list[bytes] = []

    @property
    def pending(self) -> int:
        """Bytes on the line that the driver has not taken yet."""
        return sum(map(len, self._line))

    def say(self, data: bytes) -> None:
        """Send something unasked."""
        self._line.append(data)

    @override
    def _open(self) -> None:
        if not self.plugged:
            raise LostError("unplugged", instrument=self.address)
        self._line.clear()
        self._held.clear()

    @override
    def _close(self) -> None:
        self._line.clear()

    @override
    def _send(self, data: bytes) -> None:
        if not self.plugged:
            raise LostError("unplugged", instrument=self.address)
        self.sent.append(data)
        self._line.extend(self._held)
        self._held.clear()
        if self.swallowed_requests:
            self.swallowed_requests -= 1
            return
        if self.garble_requests:
            self.garble_requests -= 1
            data = b"?" + data[1:]
        replies = [reply.data for reply in self.instrument.feed(data)]
        if replies and self.late_replies:
            self.late_replies -= 1
            self._held.extend(replies)
        elif replies and self.lost_replies:
            self.lost_replies -= 1
        elif replies and self.doubled_replies:
            self.doubled_replies -= 1
            self._line.extend([*replies, *replies])
        else:
            self._line.extend(replies)

    @override
    def _receive(self, most: int, timeout_s: float) -> bytes:
        if not self.plugged:
            raise LostError("unplugged", instrument=self.address)
        if not self._line:
            return b""
        data = self._line.popleft()
        if len(data) > most:
            self._line.appendleft(data[most:])
        return data[:most]
