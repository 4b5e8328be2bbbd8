"""The face of a calibration session: a rig's raw drives and detectors, nothing assumed of them.

Heaters are rows in the order of ``rig.wiring.heaters``, detectors columns in the order of
``rig.wiring.detectors``; `known` holds what the steps before have found out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Channel, Rig

from .step import AnyArray, StepData

__all__ = ["Ledger", "ReadBack", "Session", "Settling"]


@final
@dataclass(frozen=True, eq=False)
class ReadBack:
    """What the sources measure of their own outputs.

    Attributes
    ----------
    voltage_V, current_A
        (n,) in the order asked for; NaN where the source has no meter.
    """

    voltage_V: FloatArray
    current_A: FloatArray


@final
@dataclass(frozen=True, eq=False)
class Settling:
    """How a wait for the detectors ended.

    Attributes
    ----------
    stable
        Whether the last looks agreed within noise and tolerance.
    voltage_V
        (n_detectors,) mean of the looks that agreed (the last one where none did).
    noise_V
        (n_detectors,) standard deviation of a single conversion, as seen on the way.
    looks
        How many there were.
    duration_s
        Wall time.
    """

    stable: bool
    voltage_V: FloatArray
    noise_V: FloatArray
    looks: int
    duration_s: float


@final
@dataclass(frozen=True)
class Ledger:
    """Where the time went, s; the three add up to the life of the session.

    Attributes
    ----------
    transport_s
        Spent in instruments: writes (with the pauses of ramps), reads, questions.
    settling_s
        Spent waiting until the detectors agreed, looks included.
    computing_s
        The rest: our own.
    cpu_s
        Processor time of this process, drivers included; part of all three.
    transactions
        Calls of instruments.
    """

    transport_s: float
    settling_s: float
    computing_s: float
    cpu_s: float
    transactions: int

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.transport_s + self.settling_s + self.computing_s

    @property
    def wire_share(self) -> float:
        """Share of transport and settling, 1 where nothing was done."""
        total = self.total_s
        return (self.transport_s + self.settling_s) / total if total > 0 else 1.0


class Session(ABC):
    """A rig whose instruments are connected, limited and watched."""

    rig: Rig
    known: RigCalibration
    """Figures of the steps done, nominal ones elsewhere."""
    found: Mapping[str, AnyArray] = MappingProxyType({})
    """Further figures of the steps done, by name: what was found broken, among others."""
    rng: np.random.Generator
    """Of the step at hand, from the calibration's seed."""

    @property
    def n_heaters(self) -> int:
        """Number of heaters."""
        return len(self.rig.wiring.heaters)

    @property
    def n_detectors(self) -> int:
        """Number of detectors."""
        return len(self.rig.wiring.detectors)

    def row_of(self, channel: Channel) -> int:
        """Return the row of a heater's channel; ValueError where it drives none."""
        return self.rig.wiring.heaters.index(channel)

    # --- drives -------------------------------------------------------------------------------
    @property
    @abstractmethod
    def highest_V(self) -> FloatArray:
        """(n_heaters,) most that the limits of a channel allow (not those of the sum)."""

    @property
    @abstractmethod
    def resolution_V(self) -> FloatArray:
        """(n_heaters,) smallest step of a set-point."""

    @property
    @abstractmethod
    def setpoint_V(self) -> FloatArray:
        """(n_heaters,) as the sources accepted them, quantised; powers are V²/R of these."""

    @property
    def highest_W(self) -> FloatArray:
        """(n_heaters,) power at `highest_V`, by the resistances known."""
        power: FloatArray = self.highest_V**2 / self.known.resistance_ohm
        return power

    @property
    def power_W(self) -> FloatArray:
        """(n_heaters,) power at `setpoint_V`, by the resistances known."""
        power: FloatArray = self.setpoint_V**2 / self.known.resistance_ohm
        return power

    @abstractmethod
    def refuse(self, voltage_V: FloatArray) -> None:
        """See that (n_heaters,) drives are within all limits; sends nothing. NaN: as it is.

        Raises
        ------
        LimitError
            One is not; names channel and limit.
        """

    @abstractmethod
    def write_voltages(self, voltage_V: FloatArray | Mapping[Channel, float]) -> FloatArray:
        """Drive heaters; those that are NaN, or not named, stay as they are.

        Parameters
        ----------
        voltage_V
            (n_heaters,) V, or V by channel.

        Returns
        -------
        `setpoint_V` afterwards.

        Raises
        ------
        LimitError
            Not finite, negative, or above a limit; nothing was sent to any channel.
        InstrumentError
            Not accepted, and not to be recovered.
        """

    def write_powers(self, power_W: FloatArray | Mapping[Channel, float]) -> FloatArray:
        """Drive heaters to powers, by the resistances known; else as `write_voltages`.

        Returns
        -------
        (n_heaters,) `power_W` afterwards: what the quantised voltages make.
        """
        if isinstance(power_W, Mapping):
            rows = [self.row_of(channel) for channel in power_W]
            wanted = np.full(self.n_heaters, np.nan)
            wanted[rows] = list(power_W.values())
        else:
            wanted = np.asarray(power_W, dtype=float)
        # A negative power keeps its sign: the write refuses it by name.
        self.write_voltages(np.sign(wanted) * np.sqrt(np.abs(wanted) * self.known.resistance_ohm))
        return self.power_W

    @abstractmethod
    def all_zero(self) -> None:
        """Drive all heaters to 0 V (within the slew limits)."""

    @abstractmethod
    def read_back(self, rows: npt.NDArray[np.int64] | None = None) -> ReadBack:
        """Ask the sources what these heaters (all where None) really get."""

    @property
    @abstractmethod
    def has_gain_switch(self) -> bool:
        """Whether the oscillators can be turned off."""

    @abstractmethod
    def gain(self, on: bool) -> None:
        """Turn the oscillators on or off.

        Raises
        ------
        CapabilityError
            No gain switch is wired.
        """

    def gain_off_on(self) -> None:
        """Turn the oscillators off and on: they start at fresh random phases."""
        self.gain(False)
        self.gain(True)

    # --- detectors ----------------------------------------------------------------------------
    @abstractmethod
    def read_detectors(self, samples: int = 1) -> FloatArray:
        """Return (samples, n_detectors) V, single conversions.

        Sources are asked first whether they still hold what was written; where one has lost it,
        it is written again and waited for.
        """

    @abstractmethod
    def settle(
        self, *, timeout_s: float | None = None, tolerance_V: float | None = None
    ) -> Settling:
        """Wait until successive looks at all detectors agree.

        Parameters
        ----------
        timeout_s
            Longest wait; that of the rig file where None. Running into it is no error: see
            `Settling.stable`. The shortest wait is ``settle.typical_s`` where the rig states it.
        tolerance_V
            Change that may still be to come beside the noise seen; by ``settle.tolerance`` and
            the amplitudes known where None.
        """

    # --- records ------------------------------------------------------------------------------
    @abstractmethod
    def record(self, name: str, values: object, unit: str = "", description: str = "") -> None:
        """Append one row to the raw array ``name`` of the step at hand.

        It is handed to the operating system at once: what was recorded survives ``kill -9``.

        Parameters
        ----------
        values
            Numbers, truth values or texts; all rows of one name have the same shape.

        Raises
        ------
        CalibrationError
            Another shape than the rows before, or nothing that can be recorded.
        """

    @abstractmethod
    def recorded(self) -> StepData:
        """Return what the step has recorded so far: rows stacked along a new first axis.

        In a calibration that was cut off and is resumed, the rows up to the last `checkpoint` are
        there from the beginning, and `rng` draws the same numbers again: a step that looks here
        first need not repeat them.
        """

    @abstractmethod
    def checkpoint(self) -> None:
        """Say that the rows recorded so far belong together: a step may go on from here."""

    @abstractmethod
    def progress(self, done: int, total: int, doing: str = "") -> None:
        """Say how far the step is; cheap."""

    @abstractmethod
    def now_s(self) -> float:
        """Return seconds since the session began (monotonic)."""

    @abstractmethod
    def ledger(self) -> Ledger:
        """Return where the time went so far."""
