"""The read-out of a twin: detectors that differ from their figures, noise as measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.imperfections.interface import Draws, Imperfection, RawReads, Setup

__all__ = ["DetectorErrors", "MeasuredNoise", "ReadNoise", "read_noise"]


@final
class DetectorErrors(Imperfection):
    """Offsets, amplitudes and quadrature of the rig drawn, corrected with those of the known one.

    Parameters
    ----------
    setup
        As for all imperfections.
    known, true
        Figures of the calibration, and of the rig that was drawn.
    """

    def __init__(self, setup: Setup, known: RigCalibration, true: RigCalibration) -> None:
        super().__init__(setup)
        self._known, self._true = known, true
        self.reference = 0.0
        """Error of the reference arm's phase, rad."""

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        free, known, true = self.setup.network.free, self._known, self._true
        if len(known.readout_offset_V) < 2:
            # N steps of one detector: its offset and amplitude cancel, the reference does not.
            phases[..., free] += self.reference
            return phases
        angle = phases[..., free]
        (offset_I, offset_Q), (gain_I, gain_Q) = true.readout_offset_V, true.readout_amplitude_V
        in_phase_V = offset_I + gain_I * np.cos(angle)
        quadrature_V = offset_Q + gain_Q * np.sin(angle + true.quadrature_error)
        (offset_I, offset_Q), (gain_I, gain_Q) = known.readout_offset_V, known.readout_amplitude_V
        cosine = (in_phase_V - offset_I) / gain_I
        skewed, skew = (quadrature_V - offset_Q) / gain_Q, known.quadrature_error
        sine = (skewed - cosine * np.sin(skew)) / np.cos(skew)
        phases[..., free] = np.arctan2(sine, cosine)
        return phases

    @override
    def truth(self) -> Draws:
        return {}


@final
@dataclasses.dataclass(frozen=True, eq=False)
class ReadNoise:
    """Noise of one read, (n_free,) rad: what averages out, and what does not."""

    white: FloatArray
    floor: FloatArray


def read_noise(rig: Rig, known: RigCalibration, further: Mapping[str, FloatArray]) -> ReadNoise:
    """Return the noise of a read of ``readout.samples`` conversions, node by node.

    From the noise of averages that the calibration has measured (``noise_averaged``,
    ``noise_scaling_V``), interpolated; beyond the longest average, and between reads, what stays
    is ``noise_floor_V``. Without them, what the calibration states of one read.

    σ² of an average of N is white²/N + floor²; a floor stays when reads are averaged.
    """
    n, samples = len(rig.network.free), rig.settings.readout.samples
    shape = known.readout_amplitude_V.shape
    averaged = np.asarray(further.get("noise_averaged", np.empty(0)), dtype=np.float64)
    volts = np.asarray(further.get("noise_scaling_V", np.empty((0, 0))), dtype=np.float64)
    floor_V = np.asarray(further.get("noise_floor_V", np.zeros(shape).ravel()), dtype=np.float64)
    usable = volts.shape == (len(averaged), np.size(known.readout_amplitude_V))
    usable = usable and len(averaged) > 0 and bool((volts > 0).all())
    if not usable or floor_V.shape != volts.shape[1:]:
        return ReadNoise(np.full(n, known.readout_noise), np.zeros(n))
    of_read = np.empty(volts.shape[1])
    for column in range(volts.shape[1]):
        log = np.interp(np.log(samples), np.log(averaged), np.log(volts[:, column]))
        of_read[column] = np.exp(log)
    if samples > averaged[-1]:
        white2 = np.maximum(volts[-1] ** 2 - floor_V**2, 0.0) * averaged[-1] / samples
        of_read = np.sqrt(white2 + floor_V**2)
    stepped = rig.settings.readout.kind == "n-step"
    enters = np.sqrt(2 / rig.settings.readout.steps) if stepped else 1.0

    def in_phase(noise_V: FloatArray) -> FloatArray:
        relative = noise_V.reshape(shape) / known.readout_amplitude_V
        phase: FloatArray = enters * np.sqrt((relative**2).mean(axis=0))
        return phase

    total, floor = in_phase(of_read), in_phase(np.minimum(floor_V, of_read))
    return ReadNoise(np.sqrt(total**2 - floor**2), floor)


@final
class MeasuredNoise(Imperfection):
    """White noise on every raw read, and a floor that all raw reads of one reading share.

    Parameters
    ----------
    setup
        As for all imperfections.
    noise
        Of one read.
    """

    def __init__(self, setup: Setup, noise: ReadNoise) -> None:
        super().__init__(setup)
        self._noise = noise

    @property
    @override
    def draws_reads(self) -> bool:
        return bool((self._noise.white > 0).any() or (self._noise.floor > 0).any())

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        free = self.setup.network.free
        shape = (*phases.shape[:2], len(free))
        phases[..., free] += self._noise.white * self.rng.standard_normal(shape)
        if self._noise.floor.any():
            phases[..., free] += self._noise.floor * self.rng.standard_normal((1, *shape[1:]))
        return phases

    @override
    def truth(self) -> Draws:
        return {"noise": self._noise.white, "floor": self._noise.floor}
