"""A rig of instruments as a `Substrate`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import (
    CapabilityError,
    ConfigurationError,
    ParameterError,
    SubstrateError,
)
from eqp_hw.learning.interleave import measure_to_and_fro
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration, refuse_incomplete
from eqp_hw.rig.calibrations import MeasuredCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.substrate import (
    BoolArray,
    Measurement,
    Reading,
    SelfTestStep,
    SettleOutcome,
    SettleStatus,
    StateToken,
    Substrate,
)

from .bench import Bench
from .capabilities import rig_capabilities
from .measured import measured_calibration
from .optics import Optics
from .self_test import rig_self_test
from .settling import Settled

__all__ = ["RigSubstrate"]

_log = logging.getLogger("eqp_hw.drivers.rig")

WEAKENED = 0.05
"""What is left of couplings and fields while phases are pulled to where they shall be."""
LETTING_GO = tuple(0.5**k for k in range(10))
"""Strength of the pull, stage by stage."""


@final
@dataclasses.dataclass(frozen=True, eq=False)
class _Stored:
    """Free phases of a stored state, as read."""

    phases: FloatArray


@final
class RigSubstrate(Substrate):
    """Phases of a real network, driven and read by the instruments of a rig file.

    Hardware holds one sample. After a nudge it falls back to its free state by itself;
    `restore_state` sees whether it did, and leads it back by strong bias fields where it hopped.

    Parameters
    ----------
    bench
        Connected instruments; closed with the substrate.
    calibration
        Figures of heaters, couplers and detectors; by default those that the rig file names: a
        measured calibration of this very rig, or the nominal ones.

    Raises
    ------
    ConfigurationError
        The rig can neither switch its gain nor inject bias fields: no fresh start is possible.
        A channel that an instrument has not, or that the calibration does not know.
    """

    def __init__(
        self, bench: Bench, calibration: RigCalibration | MeasuredCalibration | None = None
    ) -> None:
        rig = bench.rig
        if rig.wiring.gain_switch is None and not rig.wiring.bias_amplitude:
            raise ConfigurationError(
                "a rig without it and without bias fields cannot be reset to random phases",
                field="wiring.gain_switch",
                allowed='a source channel, e.g. "heaters:106", or wired bias fields',
            )
        self._bench = bench
        self._network = rig.network
        self._settings = rig.settings
        if calibration is None:
            calibration = measured_calibration(bench) or nominal_calibration(rig)
            rig = bench.rig
        self._measured: MeasuredCalibration | None = None
        if isinstance(calibration, MeasuredCalibration):
            self._measured, calibration = calibration, calibration.calibration
        refuse_incomplete(rig, calibration)
        bench.refuse_missing_channels()
        self._optics = Optics(bench, calibration)
        self._capabilities = rig_capabilities(rig, self._optics)
        self._parameters: Parameters | None = None
        self._present: FloatArray | None = None
        self._stored: dict[int, _Stored] = {}
        self._tokens = 0
        self._at: int | None = None
        self._astray = 0
        self._closed = False
        self._also_close = ExitStack()

    @classmethod
    def open(
        cls,
        rig: Rig,
        calibration: RigCalibration | MeasuredCalibration | None = None,
        *,
        guarded: bool = True,
    ) -> RigSubstrate:
        """Connect the instruments of ``rig`` and start the guardian; no output moves yet.

        Raises
        ------
        InstrumentError
            An instrument is not there, busy, or another one.
        ConfigurationError
            Wiring or limits do not fit the instruments.
        """
        bench = Bench(rig)
        bench.connect()
        try:
            substrate = cls(bench, calibration)
            if guarded:
                bench.start_guard()
        except BaseException:
            bench.close()
            raise
        return substrate

    def close_later(self, others: ExitStack) -> None:
        """Take over things to be closed after the instruments, as a simulated twin."""
        self._also_close.push(others)

    @property
    @override
    def network(self) -> Network:
        return self._network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def engine_name(self) -> str:
        """What relaxes the phases, for records."""
        if self._measured is None:
            return f"rig {self._settings.rig.name}"
        known = self._measured
        return f"rig {self._settings.rig.name}, calibration {known.path.name} {known.sha256[:8]}"

    @property
    def calibration_record(self) -> dict[str, Any] | None:
        """Which measured calibration is in force, for run files; None for nominal figures."""
        return None if self._measured is None else self._measured.record()

    @property
    def optics(self) -> Optics:
        """Actuators and read-out."""
        return self._optics

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        self._require_open()
        if parameters.directed:
            raise CapabilityError(
                "this rig's couplers act both ways",
                field="coupling_reverse",
                allowed="reciprocal couplings (none)",
            )
        parameters.validate(self._network)
        bias = self._checked_bias(parameters)
        self._optics.refuse_beyond_range(parameters.coupling)
        drive = self._optics.drive
        self._optics.apply(
            dataclasses.replace(drive, coupling=parameters.coupling.copy(), bias=bias, nudge=None)
        )
        self._stored.clear()
        self._moved()
        effective = Parameters.zeros(self._network)
        effective.bias[self._network.free] = self._optics.bias
        self._parameters = Parameters(self._optics.coupling, effective.bias)
        return self._parameters.map(np.copy)

    def _checked_bias(self, parameters: Parameters) -> ComplexArray | None:
        bias = parameters.bias[self._network.free]
        if self._capabilities.bias_control == "none":
            if bias.any():
                node = int(self._network.free[np.flatnonzero(bias)[0]])
                raise ParameterError(
                    "this rig injects no bias fields",
                    field=f"bias[{node}]",
                    value=complex(parameters.bias[node]),
                    allowed="0",
                )
            return None
        limit = self._optics.bias_maximum
        wrong = np.flatnonzero(np.abs(bias) > limit)
        if len(wrong):
            node = int(self._network.free[wrong[0]])
            raise ParameterError(
                "above what the injection channel can make",
                field=f"bias[{node}]",
                value=complex(parameters.bias[node]),
                allowed=f"amplitudes up to {limit[wrong[0]]:.6g}",
            )
        return bias.copy()

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self._require_open()
        phases = np.array(phases, dtype=np.float64)
        n_inputs = len(self._network.inputs)
        if phases.shape != (1, n_inputs):
            raise SubstrateError(
                f"inputs have shape {phases.shape}; expected (1, {n_inputs}): hardware holds one "
                "sample at a time"
            )
        if not np.isfinite(phases).all():
            raise SubstrateError(
                f"input {int(np.argwhere(~np.isfinite(phases))[0, 1])} is not finite"
            )
        self._optics.apply(dataclasses.replace(self._optics.drive, inputs=phases[0], nudge=None))
        self._stored.clear()
        self._moved()

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._require_open()
        nudge = None if field is None else self._checked_nudge(field, complex(beta))
        if nudge is None and self._optics.drive.nudge is None:
            return
        self._optics.apply(dataclasses.replace(self._optics.drive, nudge=nudge))
        self._moved()

    def _checked_nudge(self, field: ComplexArray, beta: complex) -> ComplexArray:
        self._require_inputs()
        field = np.array(field, dtype=np.complex128)
        expected = (1, len(self._network.outputs))
        if field.shape != expected:
            raise SubstrateError(f"nudge field has shape {field.shape}; expected {expected}")
        if not (np.isfinite(field).all() and np.isfinite(beta)):
            raise SubstrateError("nudge field is not finite")
        if beta.imag != 0.0:
            raise CapabilityError(
                "hardware cannot make a complex nudge", field="beta", value=beta, allowed="real"
            )
        self._optics.refuse_nudge(beta.real * field[0])
        nudge: ComplexArray = beta.real * field[0]
        return nudge

    @override
    def reset(self, seed: int) -> None:
        """Start the free phases anew, at random; see `Substrate.reset`.

        With a gain switch the oscillators are switched off and on: their phases are then those
        of real noise, and ``seed`` has no say. Without one, strong bias fields of random angles
        drawn from ``seed`` turn the phases, and are taken away again.
        """
        self._require_open()
        self._require_inputs()
        self.apply_nudge(None)
        if self._settings.wiring.gain_switch is not None:
            self._optics.switch_gain()
        else:
            angle = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(self._network.free))
            self._pull(angle)
        self._moved()

    @override
    def settle(self) -> SettleOutcome:
        self._require_ready()
        settled = self._wait()
        hop = False
        if self._stored and self._optics.drive.nudge is None:
            hop = not self._is_back(next(reversed(self._stored.values())))
        status = SettleStatus.EQUILIBRIUM if settled.stable else SettleStatus.NOT_SETTLED
        unknown = np.zeros(1, dtype=bool)
        return SettleOutcome(
            status=np.array([status], dtype=np.uint8),
            residual=np.full(1, np.nan),
            smallest_eigenvalue=np.full(1, np.nan),
            positive_definite=unknown,
            certified=unknown,
            hop=np.array([hop]),
            steps=np.zeros(1, dtype=np.int64),
            duration_s=settled.duration_s,
        )

    @override
    def store_state(self) -> StateToken:
        self._require_ready()
        if self._present is None:
            self._wait()
        assert self._present is not None
        self._tokens += 1
        self._stored[self._tokens] = _Stored(self._present.copy())
        if self._optics.drive.nudge is None:
            self._at = self._tokens
        return StateToken(self._tokens)

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        self._require_ready()
        stored = self._stored.get(token.number)
        if not self._capabilities.state_restore:
            raise CapabilityError(
                "without bias fields nothing leads this rig back to a stored state",
                field="wiring.bias_amplitude",
                allowed="bias fields at all free nodes",
            )
        if stored is None:
            raise SubstrateError(
                "this stored state is unknown or was forgotten: states live until the next "
                "set_inputs or write_parameters"
            )
        if self._at == token.number:
            return np.ones(1, dtype=bool)
        self.apply_nudge(None)
        settled = self._wait()
        returned = settled.stable and self._is_back(stored)
        if not returned:
            # The stored state is an equilibrium of the pulled network as well, whatever the
            # strength of the pull: it stays one while the pull is taken away.
            self._pull(stored.phases)
            settled = self._wait()
            if not (settled.stable and self._is_back(stored)):
                self._astray += 1
                # An uncalibrated rig may do so thousands of times: told at 1, 10, 100, ...
                told = str(self._astray).strip("0") == "1"
                _log.log(
                    logging.WARNING if told else logging.DEBUG,
                    "a sample hopped and could not be led back to its free state (%d so far)",
                    self._astray,
                )
                return np.zeros(1, dtype=bool)
        self._at = token.number
        return np.array([returned])

    def _is_back(self, stored: _Stored) -> bool:
        return self._present is not None and self._optics.same_state(self._present, stored.phases)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        self._require_ready()
        if repeats < 1:
            raise SubstrateError(f"repeats = {repeats}: at least one read is needed")
        mean, error, started_s, ended_s = self._optics.read(repeats, self._present)
        self._present = mean
        phases, errors = np.empty((1, self._network.n_nodes)), np.zeros((1, self._network.n_nodes))
        phases[0, self._network.free], errors[0, self._network.free] = mean, error
        phases[0, self._network.inputs] = self._optics.inputs
        return Reading(phases, errors, repeats, started_s, ended_s)

    @override
    def measure_nudged(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> list[Measurement]:
        """With ``readout.interleave`` the nudges are measured to and fro (+ − − +)."""
        if not self._settings.readout.interleave or len(fields) < 2:
            return super().measure_nudged(free, fields, repeats)
        return measure_to_and_fro(super().measure_nudged, free, fields, repeats)

    @override
    def self_test(self) -> list[SelfTestStep]:
        self._require_open()
        return rig_self_test(self._bench)

    @override
    def safe(self) -> None:
        if self._closed:
            return
        self._parameters = None
        self._stored.clear()
        self._moved()
        self._optics.forget()
        self._bench.safe()

    @override
    def close(self) -> None:
        self._closed = True
        self._stored.clear()
        self._bench.close()
        self._also_close.close()

    def _wait(self) -> Settled:
        settled = self._optics.settle()
        self._present = settled.phases
        if not settled.stable:
            _log.warning(
                "phases still move by %.3g rad after %.3g s",
                settled.last_change,
                settled.duration_s,
            )
        return settled

    def _pull(self, phases: FloatArray) -> None:
        """Pull the free phases to ``phases`` by the strongest bias fields there are; let go.

        At first couplings and fields are weakened, all by the same factor: the pull is then the
        one attractor. An equilibrium of the network is one of all these stages as well, and
        stays stable: its energy is scaled, and the pull adds to the curvature.
        """
        drive = self._optics.drive
        bias = np.zeros(len(phases), complex) if drive.bias is None else drive.bias
        stages = []
        if drive.coupling is not None:
            pull = self._optics.strongest_pull(phases, WEAKENED * bias)
            weak = dataclasses.replace(
                drive, coupling=WEAKENED * drive.coupling, bias=WEAKENED * bias + pull
            )
            stages.append(weak)
        pull = self._optics.strongest_pull(phases, bias)
        # Let go little by little: heaters take their time, and a strong field whose amplitude
        # and phase change at once would push the phases somewhere on its way.
        stages += [dataclasses.replace(drive, bias=bias + share * pull) for share in LETTING_GO]
        for stage in stages:
            self._optics.apply(stage)
            self._optics.settle()
        self._optics.apply(drive)
        self._moved()

    def _moved(self) -> None:
        """Say that outputs have changed: what was read before holds no more."""
        self._present, self._at = None, None

    def _require_open(self) -> None:
        if self._closed:
            raise SubstrateError("the rig was closed")

    def _require_inputs(self) -> None:
        self._require_open()
        if self._optics.drive.inputs is None:
            raise SubstrateError("no inputs yet: call set_inputs first")

    def _require_ready(self) -> None:
        self._require_open()
        if self._parameters is None:
            raise SubstrateError("no parameters yet: call write_parameters first")
        self._require_inputs()
