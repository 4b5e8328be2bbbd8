"""Book-keeping of a source's outputs: set-points, what is unknown, slew.

The driver says how to send and how to measure; this says what may be sent, in which steps, and
what is known afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import final

import numpy as np

from eqp_hw.drivers.errors import LimitError, ProtocolError
from eqp_hw.network.graph import FloatArray, IntArray

from .clock import Clock
from .limits import SourceLimits, check_voltages

__all__ = ["OutputBank", "Send", "ramp"]

Send = Callable[[IntArray, FloatArray], FloatArray | None]
"""Sends channels and quantised voltages; returns what was accepted, None for just that."""

RAMP_TICK_S = 0.01
"""Time between the steps of a ramp."""


def ramp(start_V: FloatArray, end_V: FloatArray, largest_step_V: float) -> list[FloatArray]:
    """Return the steps from ``start_V`` to ``end_V``, the last one exactly ``end_V``.

    Every channel moves by at most ``largest_step_V`` a step and stops when it has arrived.
    """
    change = end_V - start_V
    farthest = float(np.abs(change).max(initial=0.0))
    n_steps = max(1, int(np.ceil(farthest / largest_step_V - 1e-9)))
    steps = [
        start_V + np.clip(change, -k * largest_step_V, k * largest_step_V)
        for k in range(1, n_steps)
    ]
    return [*steps, end_V.copy()]


@final
class OutputBank:
    """Set-points of one source.

    Parameters
    ----------
    limits
        What may be asked for.
    step_V
        Resolution of a set-point.
    clock
        What ramps go by.
    """

    def __init__(self, limits: SourceLimits, step_V: float, clock: Clock) -> None:
        self._limits = limits
        self._step_V = step_V
        self._clock = clock
        n = limits.n_channels
        self._asked_V = np.full(n, np.nan)
        self._setpoint_V = np.full(n, np.nan)
        # Where a set-point is unknown the total power is judged by the worst that may stand.
        self._worst_V = np.zeros(n)
        self._free_at_s = -np.inf
        self._doubtful = False

    @property
    def limits(self) -> SourceLimits:
        """What may be asked for."""
        return self._limits

    @property
    def setpoint_V(self) -> FloatArray:
        """(n_channels,) accepted set-points, NaN where unknown; a copy."""
        return self._setpoint_V.copy()

    def set_resistance(self, resistance_ohm: FloatArray) -> None:
        """Judge currents and powers with these resistances from now on, (n_channels,) ohm.

        Raises
        ------
        LimitError
            Of another shape, not finite or not positive.
        """
        value = np.array(resistance_ohm, dtype=float)
        if value.shape != (self._limits.n_channels,) or not (value > 0).all():
            raise LimitError(
                "not one positive resistance a channel",
                field=f"instruments.{self._limits.instrument}.resistance_ohm",
                value=value.tolist(),
                allowed=f"{self._limits.n_channels} positive numbers",
            )
        self._limits = dataclasses.replace(self._limits, resistance_ohm=value)

    @property
    def doubtful(self) -> bool:
        """Whether set-points got lost that no failed write will repeat; see `trust`."""
        return self._doubtful

    def trust(self) -> None:
        """Say that the owner has been told, or that all is known again."""
        self._doubtful = False

    def forget(self, channels: IntArray | None = None) -> None:
        """Say that set-points are not known any more, all of them or some."""
        self._doubtful = True
        self._unknown(channels)

    def _unknown(self, channels: IntArray | None) -> None:
        where = slice(None) if channels is None else channels
        self._asked_V[where] = np.nan
        self._setpoint_V[where] = np.nan

    def agrees(self, voltage_V: FloatArray, slack_V: FloatArray | float) -> bool:
        """Say whether (n_channels,) outputs are at their set-points, where these are known."""
        known = ~np.isnan(self._setpoint_V)
        close = np.abs(voltage_V - self._setpoint_V) <= slack_V
        return bool(close[known].all())

    def observe(self, voltage_V: FloatArray) -> None:
        """Say what all channels drive as measured; set-points stay as they are."""
        self._worst_V = np.abs(np.asarray(voltage_V, dtype=float))

    def accept(self, channels: IntArray, asked_V: FloatArray, accepted_V: FloatArray) -> None:
        """Say that the instrument holds these set-points."""
        self._asked_V[channels] = asked_V
        self._setpoint_V[channels] = accepted_V
        self._worst_V[channels] = np.abs(accepted_V)

    def quantise(self, channels: IntArray, voltage_V: FloatArray) -> FloatArray:
        """Return the nearest set-points of the instrument that are within the limits."""
        code = np.rint(voltage_V / self._step_V)
        high, low = self._limits.highest_V[channels], self._limits.lowest_V[channels]
        code = np.minimum(code, np.floor(high / self._step_V + 1e-6))
        code = np.maximum(code, np.ceil(low / self._step_V - 1e-6))
        quantised: FloatArray = code * self._step_V + 0.0
        return quantised

    def write(
        self,
        channels: IntArray,
        voltage_V: FloatArray,
        send: Send,
        measure: Callable[[IntArray], FloatArray],
    ) -> None:
        """Check, quantise, leave out what is unchanged, and send at the allowed slew.

        Where ``send`` raises, the channels of that step are unknown afterwards; all channels
        after a `ProtocolError`.

        Raises
        ------
        LimitError
            Before anything is sent.
        """
        held = np.where(np.isnan(self._setpoint_V), self._worst_V, np.abs(self._setpoint_V))
        index, voltage = check_voltages(self._limits, channels, voltage_V, held)
        target = self.quantise(index, voltage)
        changed = ~(self._asked_V[index] == target)
        index, target = index[changed], target[changed]
        if not len(index):
            return
        for step in self._steps(index, target, measure):
            moved = ~(self._asked_V[index] == step)
            self._send(index[moved], step[moved], send)

    def _steps(
        self,
        index: IntArray,
        target: FloatArray,
        measure: Callable[[IntArray], FloatArray],
    ) -> list[FloatArray]:
        slew = self._limits.slew_V_per_s
        if slew is None:
            return [target]
        start = self._setpoint_V[index]
        unknown = np.isnan(start)
        if unknown.any():
            start[unknown] = measure(index[unknown])
        # Whole codes a step: rounding must not make a step larger than the slew allows.
        codes = max(1.0, np.floor(slew * RAMP_TICK_S / self._step_V - 0.5))
        return [self.quantise(index, s) for s in ramp(start, target, codes * self._step_V)]

    def _send(self, index: IntArray, voltage_V: FloatArray, send: Send) -> None:
        if not len(index):
            return
        if self._limits.slew_V_per_s is not None:
            self._clock.wait(self._free_at_s - self._clock.now_s())
        self._unknown(index)
        self._worst_V[index] = np.maximum(self._worst_V[index], np.abs(voltage_V))
        try:
            accepted = send(index, voltage_V)
        except ProtocolError:
            # What was garbled may have been a channel number: any output may have moved.
            self.forget()
            raise
        finally:
            self._pace()
        self.accept(index, voltage_V, voltage_V if accepted is None else accepted)

    def _pace(self) -> None:
        slew = self._limits.slew_V_per_s
        if slew is not None:
            tick = max(RAMP_TICK_S, self._step_V / slew)
            self._free_at_s = self._clock.now_s() + tick
