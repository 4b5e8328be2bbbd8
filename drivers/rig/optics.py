"""Actuators and read-out of a rig: drive, settle, read, and recover from what goes wrong.

Everything here is absolute (set-points, reads), so that it may be repeated after a recovery.
No reading is handed on before the sources have been asked whether they still hold what was
written, and none that no second one confirms.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import final

import numpy as np

from eqp_hw.drivers.actuators.phase_shifters import PhaseShifterArray
from eqp_hw.drivers.errors import ProtocolError
from eqp_hw.drivers.readout.formulas import Quadratures
from eqp_hw.drivers.readout.readouts import (
    DetectorArray,
    IQReadout,
    NStepReadout,
    PhaseReads,
    Readout,
)
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import phasor_average, wrap
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.actuation.curves import refuse_coupling, refuse_field
from eqp_hw.rig.actuation.drive import Drive, DriveMap
from eqp_hw.rig.actuation.heaters import HeaterModel
from eqp_hw.rig.calibration import RigCalibration

from .bench import Bench
from .gain import refuse_gain_drive
from .settling import Settled, StabilityRule, rule_of, wait_until_stable

__all__ = ["Optics"]

_log = logging.getLogger("eqp_hw.drivers.rig")

ATTEMPTS = 4
"""How often a read is taken before it is an error that no two agree."""


@final
class Optics:
    """The optics of one rig.

    Parameters
    ----------
    bench
        Connected instruments.
    calibration
        Figures that everything is computed with.

    Raises
    ------
    LimitError
        A limit leaves no room for what will be driven; nothing is sent.
    """

    def __init__(self, bench: Bench, calibration: RigCalibration) -> None:
        rig = bench.rig
        self._bench = bench
        self._calibration = calibration
        self._settings = rig.settings
        self._map = DriveMap(rig, calibration)
        self._shifters = PhaseShifterArray(
            bench.sources,
            rig.wiring.heaters,
            HeaterModel.of(calibration),
            {name: rig.settings.instruments[name].limits for name in bench.sources},
        )
        at_rest = self._map.wanted(self._map.at_rest, self._shifters.held)
        resting_W = self._shifters.refuse_small_limits(self._map.span, at_rest)
        refuse_gain_drive(rig, bench.sources, resting_W)
        self._readout = self._make_readout()
        self._rule = rule_of(rig.settings.settle, self.noise, rig.settings.readout.bits)
        self.drive = Drive()
        self._theta = np.full(len(rig.wiring.heaters), np.nan)

    def _make_readout(self) -> Readout:
        rig, known = self._bench.rig, self._calibration
        detectors = DetectorArray(self._bench.digitisers, rig.wiring.detectors, self._bench.retry)
        table = rig.settings.readout
        if table.kind == "n-step":
            return NStepReadout(
                detectors,
                self._step_to,
                table.steps,
                known.readout_amplitude_V[0],
                samples=table.samples,
            )
        (offset_I, offset_Q), (amplitude_I, amplitude_Q) = (
            known.readout_offset_V,
            known.readout_amplitude_V,
        )
        return IQReadout(
            detectors,
            Quadratures(offset_I, offset_Q, amplitude_I, amplitude_Q, known.quadrature_error),
            samples=table.samples,
        )

    @property
    def noise(self) -> float:
        """Standard deviation of one phase read, rad."""
        return self._calibration.readout_noise

    @property
    def coupling_maximum(self) -> FloatArray:
        """(n_couplings,)."""
        return self._calibration.coupling_maximum

    @property
    def bias_maximum(self) -> FloatArray:
        """(n_free,), or empty."""
        return self._calibration.bias_maximum

    @property
    def nudge_maximum(self) -> FloatArray:
        """(n_outputs,)."""
        return self._calibration.nudge_maximum

    @property
    def coupling_error(self) -> float:
        """Largest error of a coupling that the sources' resolution causes."""
        rows = self._map.couplers.rows
        return float((self.coupling_maximum * self._shifters.phase_error[rows]).max())

    @property
    def coupling(self) -> FloatArray:
        """(n_couplings,) as really held."""
        return self._map.couplers.held(self._theta)

    @property
    def bias(self) -> ComplexArray:
        """(n_free,) as really held, zeros where none is wired."""
        if not len(self.bias_maximum):
            return np.zeros(len(self._bench.rig.network.free), dtype=np.complex128)
        return self._map.bias.held(self._theta)

    @property
    def inputs(self) -> FloatArray:
        """(n_inputs,) as really held, in (−π, π]."""
        return wrap(self._map.inputs(self._theta))

    def refuse_beyond_range(self, coupling: FloatArray) -> None:
        """Refuse a coupling that not every coupler can make; ParameterError."""
        refuse_coupling(coupling, np.full(len(coupling), self.coupling_maximum.min()))

    def refuse_nudge(self, field: ComplexArray) -> None:
        """Refuse a nudge that not every channel can make; CapabilityError."""
        refuse_field(field, np.full(len(field), self.nudge_maximum.min()), "nudge")

    def apply(self, drive: Drive) -> None:
        """Drive the heaters; only changed channels are written.

        Raises
        ------
        ConfigurationError
            Out of range; nothing was sent.
        InstrumentError
            Not accepted, and not to be recovered.
        """
        fields = drive
        if drive.nudge is None:
            fields = dataclasses.replace(drive, nudge=np.zeros(len(self.nudge_maximum), complex))
        wanted = self._map.wanted(fields, self._shifters.held)
        plan = self._shifters.plan(wanted)
        self.drive = drive
        self._theta = self._shifters.write(plan, self._bench.retry)
        self._repair()

    def forget(self) -> None:
        """Say that outputs are no longer what was written, as after `Bench.safe`."""
        self.drive = Drive()
        self._shifters.forget()
        self._theta = np.full(len(self._shifters), np.nan)

    def switch_gain(self) -> None:
        """Switch the oscillators off and on: they start at fresh random phases."""
        self._write_gain(self._settings.wiring.gain_off_V)
        self._write_gain(0.0)
        self._repair()

    def _write_gain(self, voltage_V: float) -> None:
        channel = self._bench.rig.wiring.gain_switch
        assert channel is not None
        source = self._bench.sources[channel.instrument]
        number = np.array([channel.number])
        self._bench.retry(
            channel.instrument, lambda: source.write_voltages(number, np.array([voltage_V]))
        )

    def strongest_pull(self, phases: FloatArray, bias: ComplexArray) -> ComplexArray:
        """Return s·exp(iφ) with the largest s ≥ 0 that the channels can add to ``bias``."""
        towards = np.exp(1j * phases)
        along = (np.conj(towards) * bias).real
        room = (0.999 * self.bias_maximum) ** 2 - np.abs(bias) ** 2
        strength = np.maximum(-along + np.sqrt(np.maximum(along**2 + room, 0.0)), 0.0)
        pull: ComplexArray = np.where(room > 0, strength, 0.0) * towards
        return pull

    def settle(self) -> Settled:
        """Wait until the phases no longer move, with all sources holding what was written."""
        while True:
            policy = self._settings.settle
            least_s = min(policy.typical_s or 0.0, policy.timeout_s)
            settled = wait_until_stable(self._look, self._rule, policy.timeout_s, least_s=least_s)
            self._bench.watch()
            if not self._repair():
                return settled

    def read(
        self, repeats: int, expected: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, float, float]:
        """Return phasor-averaged phases, standard errors, and time stamps.

        Parameters
        ----------
        repeats
            Reads averaged.
        expected
            (n_free,) what was read before at the same drives; a read that differs is taken
            again, and counts only once another one agrees with it.
        """
        for _ in range(ATTEMPTS):
            reads = self._sound_read(repeats)
            mean, error = phasor_average(reads.phases)
            spread = np.abs(wrap(reads.phases - mean)).max(initial=0.0)
            agreed = expected is not None and self._agree(mean, expected)
            self._bench.watch()
            if self._repair():
                expected = self.settle().phases
            elif agreed and spread <= self._rule.tolerance + self._rule.floor:
                return mean, error, reads.started_s, reads.ended_s
            else:
                if expected is not None:
                    _log.warning("a read differs from the one before: taking another one")
                expected = mean
        raise ProtocolError(
            f"no two of {ATTEMPTS} reads of the phases agree within "
            f"{self._rule.tolerance + self._rule.floor:.3g} rad",
            instrument=", ".join(self._bench.digitisers),
            advice="more noise than calibration.readout_noise states, or a bad line",
        )

    def single_reads(self, repeats: int) -> FloatArray:
        """Return (repeats, n_free) reads, not averaged; for finding the read-out's noise."""
        return self._sound_read(repeats).phases

    def same_state(self, phases: FloatArray, stored: FloatArray) -> bool:
        """Tell whether two readings belong to the same basin."""
        allowed = self._settings.settle.return_tolerance + self._rule.floor
        return bool(np.abs(wrap(phases - stored)).max(initial=0.0) <= allowed)

    def _agree(self, one: FloatArray, other: FloatArray) -> bool:
        allowed = self._rule.tolerance + self._rule.floor
        return bool(np.abs(wrap(one - other)).max(initial=0.0) <= allowed)

    def _look(self) -> FloatArray:
        phases: FloatArray = self._sound_read(1).phases[0]
        return phases

    def _sound_read(self, repeats: int) -> PhaseReads:
        """Read; once more where the voltages make no phase (a garbled block, a restart)."""
        for attempt in range(1, ATTEMPTS):
            try:
                return self._readout.read(repeats)
            except ProtocolError as error:
                _log.warning("%s; reading again (attempt %d)", error, attempt)
                self._bench.watch()
                self._repair()
        return self._readout.read(repeats)

    def _repair(self) -> bool:
        """Write again what sources have lost; tell whether any had."""
        repaired = False
        while self._bench.take_lost():
            repaired = True
            self._shifters.rewrite(self._bench.retry)
            if self._bench.rig.wiring.gain_switch is not None:
                self._write_gain(0.0)
        return repaired

    def _step_to(self, phase: float) -> float:
        """Drive the reference arm's shifter, wait until the detectors show it, return it."""
        self.apply(dataclasses.replace(self.drive, step=phase))
        detectors = DetectorArray(
            self._bench.digitisers, self._bench.rig.wiring.detectors, self._bench.retry
        )
        amplitude = self._calibration.readout_amplitude_V[0]

        def look() -> FloatArray:
            scaled: FloatArray = np.divide(detectors.read(1).voltage_V[0], amplitude)
            return scaled

        # What the shifter still lacks enters the phase: it must be well below the tolerance.
        settle = self._settings.settle
        rule = StabilityRule(settle.tolerance / 4, self.noise, 0.0, settle.agreeing)
        wait_until_stable(look, rule, settle.timeout_s)
        row = self._map.step_row
        assert row is not None
        return float(self._theta[row])
