"""Read-outs: which detector channels make which phases; composed of digitisers and formulas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.drivers.actuators.side_by_side import Retry, no_retry, side_by_side
from eqp_hw.drivers.errors import LimitError, ProtocolError
from eqp_hw.drivers.instruments.interface import Digitiser, Samples
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.load import Channel

from .formulas import Quadratures, correct_quadratures, stepped_phase

__all__ = ["DetectorArray", "IQReadout", "NStepReadout", "PhaseReads", "Readout"]


@final
@dataclass(frozen=True, eq=False)
class PhaseReads:
    """Single reads of all free nodes.

    Attributes
    ----------
    phases
        (repeats, n_free) in (−π, π].
    started_s, ended_s
        Monotonic clock, s.
    """

    phases: FloatArray
    started_s: float
    ended_s: float


class Readout(ABC):
    """Reads the phases of the free nodes as they are now."""

    @abstractmethod
    def read(self, repeats: int = 1) -> PhaseReads:
        """Read ``repeats`` times.

        Raises
        ------
        InstrumentError
            A digitiser failed, or its voltages make no phase; never returned as data.
        """


@final
class DetectorArray:
    """Voltages of detectors that may sit on several digitisers.

    Parameters
    ----------
    digitisers
        Connected, by name in the rig file.
    channels
        (n,) one a detector.
    retry
        Reads again after a recovery.
    """

    def __init__(
        self,
        digitisers: Mapping[str, Digitiser],
        channels: Sequence[Channel],
        retry: Retry = no_retry,
    ) -> None:
        self._digitisers = digitisers
        self._retry = retry
        owner = np.array([channel.instrument for channel in channels], dtype=object)
        number = np.array([channel.number for channel in channels], dtype=np.int64)
        self._rows: dict[str, IntArray] = {
            name: np.flatnonzero(owner == name) for name in dict.fromkeys(owner)
        }
        self._number: dict[str, IntArray] = {n: number[rows] for n, rows in self._rows.items()}
        for name, numbers in self._number.items():
            if numbers.max() >= digitisers[name].n_channels:
                raise LimitError(
                    f"the instrument has {digitisers[name].n_channels} channels",
                    field="readout",
                    value=f"{name}:{numbers.max()}",
                    allowed=f"{name}:0 to {name}:{digitisers[name].n_channels - 1}",
                )
        self._n = len(channels)

    def read(self, n_samples: int) -> Samples:
        """Return (n_samples, n) voltages; different digitisers convert side by side."""
        jobs = {
            name: partial(
                self._retry, name, partial(self._digitisers[name].read, numbers, n_samples)
            )
            for name, numbers in self._number.items()
        }
        found = side_by_side(jobs)
        voltage = np.empty((n_samples, self._n))
        for name, samples in found.items():
            if samples.voltage_V.shape != (n_samples, len(self._rows[name])):
                raise ProtocolError(
                    f"a block of shape {samples.voltage_V.shape}, expected "
                    f"{(n_samples, len(self._rows[name]))}",
                    instrument=name,
                )
            voltage[:, self._rows[name]] = samples.voltage_V
        return Samples(
            voltage,
            min(samples.started_s for samples in found.values()),
            max(samples.ended_s for samples in found.values()),
        )

    def name_of(self, detector: int) -> str:
        """Return the digitiser of a detector."""
        return next(name for name, rows in self._rows.items() if detector in rows)


@final
class IQReadout(Readout):
    """In-phase and quadrature detectors.

    Parameters
    ----------
    detectors
        n_free in-phase detectors, then n_free quadrature ones.
    known
        Calibrated imperfections.
    samples
        Conversions averaged for one read.
    radius_tolerance
        How far √(cos² + sin²) may be from 1: signals beyond are no phase.
    """

    def __init__(
        self,
        detectors: DetectorArray,
        known: Quadratures,
        *,
        samples: int = 1,
        radius_tolerance: float = 0.4,
    ) -> None:
        self._detectors = detectors
        self._known = known
        self._samples = samples
        self._tolerance = radius_tolerance

    @override
    def read(self, repeats: int = 1) -> PhaseReads:
        raw = self._detectors.read(repeats * self._samples)
        n = raw.voltage_V.shape[1] // 2
        voltage = raw.voltage_V.reshape(repeats, self._samples, 2 * n).mean(axis=1)
        phases, radius = correct_quadratures(voltage[:, :n], voltage[:, n:], self._known)
        wrong = ~(np.abs(radius - 1.0) <= self._tolerance)
        if wrong.any():
            read, node = (int(k) for k in np.argwhere(wrong)[0])
            raise ProtocolError(
                f"free node {node}: {voltage[read, node]:.4g} V in phase and "
                f"{voltage[read, n + node]:.4g} V in quadrature are no phase "
                f"(radius {radius[read, node]:.3g}, expected 1)",
                instrument=self._detectors.name_of(node),
                advice="a garbled block, a dead detector, or a calibration that does not fit",
            )
        return PhaseReads(phases, raw.started_s, raw.ended_s)


@final
class NStepReadout(Readout):
    """Phase-stepping interferometry with one shifter in the reference arm.

    Parameters
    ----------
    detectors
        n_free intensity detectors.
    step_to
        Drives the shifter to a phase and returns the phase that it really makes; the wait for
        it is part of it.
    steps
        N, equally spaced steps are asked for, least squares takes what they really are.
    amplitude_V
        (n_free,) fringe amplitudes.
    samples, tolerance
        As in `IQReadout`, of the fringe amplitude.
    """

    def __init__(
        self,
        detectors: DetectorArray,
        step_to: Callable[[float], float],
        steps: int,
        amplitude_V: FloatArray,
        *,
        samples: int = 1,
        tolerance: float = 0.4,
    ) -> None:
        self._detectors = detectors
        self._step_to = step_to
        self._steps = 2 * np.pi * np.arange(steps) / steps
        self._amplitude_V = amplitude_V
        self._samples = samples
        self._tolerance = tolerance
        self._up = True

    @override
    def read(self, repeats: int = 1) -> PhaseReads:
        made, blocks = [], []
        # To and fro: the way back to the first step would be one more wait.
        order = self._steps if self._up else self._steps[::-1]
        self._up = not self._up
        for step in order:
            made.append(self._step_to(float(step)))
            blocks.append(self._detectors.read(repeats * self._samples))
        n = blocks[0].voltage_V.shape[1]
        signal = np.stack([block.voltage_V for block in blocks])
        signal = signal.reshape(len(order), repeats, self._samples, n).mean(axis=2)
        phases, amplitude = stepped_phase(signal, np.array(made))
        wrong = ~(np.abs(amplitude / self._amplitude_V - 1.0) <= self._tolerance)
        if wrong.any():
            read, node = (int(k) for k in np.argwhere(wrong)[0])
            raise ProtocolError(
                f"free node {node}: fringes of {amplitude[read, node]:.3g} V, expected "
                f"{self._amplitude_V[node]:.3g} V",
                instrument=self._detectors.name_of(node),
                advice="a garbled block, a dead detector, or a calibration that does not fit",
            )
        return PhaseReads(phases, blocks[0].started_s, blocks[-1].ended_s)
