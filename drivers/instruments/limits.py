"""The one check that every set-point passes before its first byte leaves.

A value outside a limit is refused, never clipped; all channels of a request are checked before
any of them is sent. Powers are V²/R with the resistance that the rig states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.schema import LimitSettings

__all__ = [
    "SourceLimits",
    "check_channel_count",
    "check_channels",
    "check_samples",
    "check_voltages",
    "source_limits",
]

_ROUNDING = 1e-9


@final
@dataclass(frozen=True, eq=False)
class SourceLimits:
    """What a source may be asked for.

    Attributes
    ----------
    instrument
        Name in the rig file.
    lowest_V, highest_V
        (n_channels,) range of a set-point.
    current_A, power_W, total_power_W
        None where there is no such limit.
    slew_V_per_s
        None: steps of any size go out at once.
    resistance_ohm
        (n_channels,) of the loads, None where unknown.
    """

    instrument: str
    lowest_V: FloatArray
    highest_V: FloatArray
    current_A: float | None = None
    power_W: float | None = None
    total_power_W: float | None = None
    slew_V_per_s: float | None = None
    resistance_ohm: FloatArray | None = None

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.highest_V)


def source_limits(
    instrument: str,
    settings: LimitSettings,
    *,
    highest_V: FloatArray,
    bipolar: bool,
    full_scale_A: float | None = None,
    resistance_ohm: float | None = None,
) -> SourceLimits:
    """Join the rig's limits with the instrument's own.

    Parameters
    ----------
    highest_V
        (n_channels,) what the instrument itself allows.
    bipolar
        Whether −highest_V is allowed as well.
    full_scale_A
        Largest current of a channel, None where unknown.

    Raises
    ------
    LimitError
        The rig allows more than the instrument can do; names ``instruments.NAME.limits.…``.
    """
    field = f"instruments.{instrument}.limits"
    own = np.asarray(highest_V, dtype=float)
    if settings.voltage_V is not None:
        low = float(own.min())
        if settings.voltage_V > low * (1 + _ROUNDING):
            raise LimitError(
                f"above the limit of channel {int(own.argmin())} in the instrument itself",
                field=f"{field}.voltage_V",
                value=settings.voltage_V,
                allowed=f"at most {low:g} V",
            )
        own = np.full(len(own), settings.voltage_V)
    asked_A = settings.current_A
    if asked_A is not None and full_scale_A is not None and asked_A > full_scale_A * (1 + 1e-6):
        raise LimitError(
            "above the instrument's full scale",
            field=f"{field}.current_A",
            value=asked_A,
            allowed=f"at most {full_scale_A:g} A",
        )
    return SourceLimits(
        instrument=instrument,
        lowest_V=-own if bipolar else np.zeros(len(own)),
        highest_V=own,
        current_A=asked_A,
        power_W=settings.power_W,
        total_power_W=settings.total_power_W,
        slew_V_per_s=settings.slew_V_per_s,
        resistance_ohm=None if resistance_ohm is None else np.full(len(own), resistance_ohm),
    )


def check_channels(instrument: str, channels: IntArray, n_channels: int) -> IntArray:
    """Return ``channels`` as an index array.

    Raises
    ------
    LimitError
        No such channel, one named twice, or not a one-dimensional list of whole numbers.
    """
    index = np.asarray(channels)
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise LimitError(
            "not a list of channel numbers", field=f"{instrument}.channels", value=channels
        )
    index = index.astype(np.int64)
    bad = index[(index < 0) | (index >= n_channels)]
    if bad.size:
        raise LimitError(
            "there is no such channel",
            field=f"{instrument}.channels",
            value=int(bad[0]),
            allowed=f"0 to {n_channels - 1}",
        )
    if len(np.unique(index)) != len(index):
        raise LimitError(
            "a channel is named twice", field=f"{instrument}.channels", value=index.tolist()
        )
    return index


def check_channel_count(instrument: str, wanted: int | None, n_channels: int) -> None:
    """See that an instrument has as many channels as the rig file wants.

    Raises
    ------
    LimitError
        It has fewer; names ``instruments.NAME.channels``.
    """
    if wanted is not None and wanted > n_channels:
        raise LimitError(
            f"the instrument has {n_channels} channels",
            field=f"instruments.{instrument}.channels",
            value=wanted,
            allowed=f"at most {n_channels}",
        )


def check_samples(
    instrument: str, count: int, n_channels: int = 1, *, quantity: str = "n_samples"
) -> None:
    """See that there is something to read.

    Raises
    ------
    LimitError
        Less than one sample, or no channel.
    """
    if count < 1 or n_channels < 1:
        raise LimitError(
            "nothing to read", field=f"{instrument}.{quantity}", value=count, allowed=">= 1"
        )


def check_voltages(
    limits: SourceLimits, channels: IntArray, voltage_V: FloatArray, held_V: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Check a request whole; return its channels and voltages as arrays.

    Parameters
    ----------
    held_V
        (n_channels,) magnitudes that the channels hold now, at worst; for the total power.

    Raises
    ------
    LimitError
        Not finite, out of range, no such channel, too much current or power; names the channel.
    """
    index = check_channels(limits.instrument, channels, limits.n_channels)
    voltage = np.asarray(voltage_V, dtype=float)
    if voltage.shape != index.shape:
        raise LimitError(
            f"{voltage.shape} voltages for {len(index)} channels",
            field=f"{limits.instrument}.voltage_V",
            allowed="one each",
        )
    _refuse(limits, "voltage_V", index, voltage, ~np.isfinite(voltage), "not finite", "a number")
    low, high = limits.lowest_V[index], limits.highest_V[index]
    slack = _ROUNDING * high
    for wrong, text in (
        (voltage > high + slack, "above the limit"),
        (voltage < low - slack, "below the limit"),
    ):
        allowed = f"{low[wrong][0]:g} to {high[wrong][0]:g} V" if wrong.any() else ""
        _refuse(limits, "voltage_V", index, voltage, wrong, text, allowed)
    _check_load(limits, index, voltage, held_V)
    return index, voltage


def _check_load(
    limits: SourceLimits, index: IntArray, voltage: FloatArray, held_V: FloatArray
) -> None:
    resistance = limits.resistance_ohm
    if resistance is None:
        if limits.power_W is not None or limits.total_power_W is not None:
            raise LimitError(
                "a power limit needs the resistance of the loads",
                field=f"instruments.{limits.instrument}.resistance_ohm",
                allowed="a positive number, or a calibration that states it",
            )
        return
    load = resistance[index]
    current, power = np.abs(voltage) / load, voltage**2 / load
    for quantity, value, limit in (
        ("current_A", current, limits.current_A),
        ("power_W", power, limits.power_W),
    ):
        if limit is not None:
            too_much = value > limit * (1 + _ROUNDING)
            _refuse(limits, quantity, index, value, too_much, "above the limit", f"{limit:g}")
    if limits.total_power_W is not None:
        everything = np.array(held_V, dtype=float)
        everything[index] = voltage
        total = float(np.sum(everything**2 / resistance))
        if not total <= limits.total_power_W * (1 + _ROUNDING):
            raise LimitError(
                "the sum over the instrument is above the limit",
                field=f"{limits.instrument}.total_power_W",
                value=total,
                allowed=f"at most {limits.total_power_W:g}",
            )


def _refuse(
    limits: SourceLimits,
    quantity: str,
    index: IntArray,
    value: FloatArray,
    wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    problem: str,
    allowed: str,
) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise LimitError(
            problem,
            field=f"{limits.instrument}:{int(index[first])}.{quantity}",
            value=float(value[first]),
            allowed=allowed,
        )
