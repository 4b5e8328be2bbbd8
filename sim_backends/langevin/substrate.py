"""The Langevin substrate: phases in thermal motion, or settled for a finite time at T = 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.lag import checked_lag
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.clamping import InputCoupling
from eqp_hw.sim_backends.controls import Controls
from eqp_hw.sim_backends.outcomes import rows_of
from eqp_hw.sim_backends.relaxation.oscillation import checked_oscillation, read_times
from eqp_hw.sim_backends.verbs import oscillating_reading, random_phases
from eqp_hw.substrate import (
    BoolArray,
    Measurement,
    OscillatingReading,
    Oscillation,
    Reading,
    SelfTestStep,
    SettleOutcome,
    StateToken,
    Substrate,
)
from eqp_hw.substrate_parts import Latch, StoredStates, check_repeats, check_replicas

from .bound import ProgrammedNetwork, checked_step
from .measuring import (
    View,
    noise_source,
    oscillate,
    read_moving,
    rows_of_reading,
    settle_for,
)
from .options import LangevinOptions
from .scheme import Motion

__all__ = ["LangevinSubstrate"]

_REPLICAS: Final = 2
_CLOCK: Final = "langevin clock"


@final
class LangevinSubstrate(Substrate):
    """Overdamped Langevin dynamics dφ = −∂F/∂φ·dt + √(2T)·dW of an XY network.

    A settling lasts `LangevinOptions.settle_time`, no more and no less. Noise comes from a
    generator seeded by `reset`. Time stamps of readings are simulated time, in its own unit.

    Parameters
    ----------
    network
        The graph.
    options
        Temperature and times; `LangevinOptions` states the defaults.
    noise_seed
        Replicas that are reset alike begin in the same phases; with another seed each, their
        thermal noise is independent, as that of two machines is.
    """

    def __init__(
        self,
        network: Network,
        options: LangevinOptions | None = None,
        noise_seed: int = 0,
    ) -> None:
        self._network = network
        self._options = (LangevinOptions() if options is None else options).checked()
        self._inputs_to_field = InputCoupling(network)
        self._controls = Controls(network, self._options.nudge_sites)
        self._capabilities = Capabilities(
            nudge_nodes=self._controls.nudge_nodes,
            hidden_nudge=self._controls.nudges_hidden,
            oscillating_nudge=True,
            directed_couplings=True,
            fast_reprogramming=True,
            phase_clamp=True,
            coupling_lag=True,
            replicas=_REPLICAS,
            # Thermal motion of a phase of unit stiffness.
            readout_noise=float(np.sqrt(self._options.temperature)),
        )
        self._programmed: ProgrammedNetwork | None = None
        self._lag: FloatArray | None = None
        self._phases: FloatArray | None = None
        self._noise_seed = noise_seed
        self._rng = noise_source(noise_seed, 0)
        self._clock = 0.0
        self._between_reads = 0.0
        self._stored = StoredStates[FloatArray]()
        self._latch = Latch("the Langevin substrate")

    @property
    @override
    def network(self) -> Network:
        return self._network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def options(self) -> LangevinOptions:
        """Temperature and times."""
        return self._options

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        self._latch.require_open()
        parameters.validate(self._network)
        effective = parameters.map(np.copy)
        self._program(effective)
        return effective

    @override
    def set_coupling_lag(self, lag: FloatArray | None) -> None:
        self._latch.require_open()
        self._lag = checked_lag(self._network, lag)
        if self._programmed is not None:
            self._program(self._programmed.parameters)

    def _program(self, parameters: Parameters) -> None:
        programmed = ProgrammedNetwork(self._network, self._inputs_to_field, parameters, self._lag)
        checked_step(self._options.time_step, programmed, None)
        self._programmed = programmed

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self._latch.require_open()
        if not self._controls.set_inputs(phases):
            self._phases = None
        self._between_reads = 0.0
        self._stored.clear()

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._latch.require_open()
        if field is None:
            self._controls.nudge = None
            return
        if complex(beta).imag != 0.0:
            raise CapabilityError("moving phases cannot be nudged by a complex β")
        self._controls.nudge = self._nudge_field(field, complex(beta).real)

    def _nudge_field(self, field: ComplexArray, beta: float) -> ComplexArray:
        batch = len(self._controls.inputs)
        nudge = np.zeros((batch, len(self._network.free)), dtype=np.complex128)
        nudge[:, self._controls.sites] = beta * self._controls.checked_nudge(field)
        return nudge

    @override
    def clamp_outputs(self, phases: FloatArray | None) -> None:
        self._latch.require_open()
        held = self._controls.hold(phases)
        if held is not None and self._phases is not None:
            self._phases = self._phases.copy()
            self._phases[:, self._network.free_index[self._network.outputs]] = held

    @override
    def reset(self, seed: int) -> None:
        self._latch.require_open()
        batch = len(self._controls.inputs)
        self._phases = random_phases(self._network, batch, np.random.default_rng(seed))
        self._rng = noise_source(self._noise_seed, seed)
        self._controls.release()
        self._between_reads = 0.0

    @override
    def settle(self) -> SettleOutcome:
        phases = self._require_phases()
        self._between_reads = 0.0
        motion, field = self._motion(self._controls.nudge), self._field(self._controls.nudge)
        self._phases, outcome = settle_for(motion, self._options, phases, field)
        self._clock += self._options.settle_time
        return outcome

    @override
    def store_state(self) -> StateToken:
        return self._stored.store(self._require_phases().copy())

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        """Return to the stored phases exactly; the noise goes on."""
        self._latch.require_open()
        self._phases = self._stored.recall(token).copy()
        self._controls.release()
        self._between_reads = 0.0
        return np.ones(len(self._phases), dtype=bool)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        """Read the moving phases; time passes between reads and during each."""
        check_repeats(repeats)
        phases = self._require_phases()
        motion, field = self._motion(self._controls.nudge), self._field(self._controls.nudge)
        view = View(self._network, self._controls.inputs, self._clock, self._between_reads)
        self._phases, reading = read_moving(motion, self._options, phases, field, view, repeats)
        self._clock = reading.ended_s
        self._between_reads = self._options.read_interval - self._options.read_time
        return reading

    @override
    def measure_together(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> tuple[list[Measurement], list[Reading]]:
        """Nudge up to two replicas that begin in the same phases and feel their own noise."""
        check_replicas(len(fields), _REPLICAS)
        self.restore_state(free)
        if not fields:
            return [], []
        nudges = []
        for field, beta in fields:
            self.apply_nudge(field, beta)
            nudges.append(self._field(self._controls.nudge) - self._field(None))
        self.apply_nudge(None)
        k, n = len(fields), len(self._controls.inputs)
        inputs, quiet = np.tile(self._controls.inputs, (k, 1)), np.tile(self._field(None), (k, 1))
        nudge = np.vstack(nudges)
        phases = np.tile(self._require_phases(), (k, 1))
        motion, options = self._motion(nudge), self._options
        view = View(self._network, inputs, self._clock)
        phases, before = read_moving(motion, options, phases, quiet, view, repeats)
        phases, outcome = settle_for(motion, options, phases, quiet + nudge)
        view = View(self._network, inputs, before.ended_s + options.settle_time)
        _, after = read_moving(motion, options, phases, quiet + nudge, view, repeats)
        self._clock = after.ended_s
        rows = [slice(index * n, (index + 1) * n) for index in range(k)]
        measurements = [
            Measurement(rows_of(outcome, part, k), rows_of_reading(after, part)) for part in rows
        ]
        self.restore_state(free)
        return measurements, [rows_of_reading(before, part) for part in rows]

    @override
    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        """Integrate under the oscillating nudge; each read is instantaneous.

        `relaxation.oscillation` says how the nudge begins. ``settled`` says that the phases
        stayed finite: thermal motion hides whether they would have come back.
        """
        checked_oscillation(oscillation)
        self.restore_state(free)
        nudge, quiet = self._nudge_field(field, 1.0), self._field(None)
        motion, phases = self._motion(nudge), self._require_phases()
        path = oscillate(motion, phases, quiet, nudge, oscillation)
        self._clock += float(read_times(oscillation)[-1])
        self.restore_state(free)
        settled: BoolArray = np.asarray(np.isfinite(path).all(axis=(0, 2)))
        reading = oscillating_reading(
            self._network, path, self._controls.inputs, oscillation, settled
        )
        if self._options.temperature > 0.0:
            reading.standard_error[..., self._network.free] = np.nan
        return reading

    @override
    def store_memory(self) -> Mapping[str, FloatArray]:
        return {_CLOCK: np.array([self._clock])}

    @override
    def restore_memory(self, memory: Mapping[str, FloatArray]) -> None:
        rest = {name: value for name, value in memory.items() if name != _CLOCK}
        super().restore_memory(rest)
        if _CLOCK in memory:
            self._clock = float(memory[_CLOCK][0])

    @override
    def self_test(self) -> list[SelfTestStep]:
        from .self_test import langevin_self_test  # noqa: PLC0415 - imports this module

        return langevin_self_test(self._network, self._options)

    @override
    def safe(self) -> None:
        self._controls.release()

    @override
    def close(self) -> None:
        self.safe()
        self._stored.clear()
        self._latch.close()

    def _motion(self, nudge: ComplexArray | None) -> Motion:
        step = checked_step(self._options.time_step, self._programmed, nudge)
        assert self._programmed is not None
        held = self._network.free_index[self._network.outputs]
        return Motion(
            self._programmed.force,
            self._options.temperature,
            step,
            self._rng,
            None if self._controls.held is None else held,
        )

    def _field(self, nudge: ComplexArray | None) -> ComplexArray:
        if self._programmed is None:
            raise SubstrateError("no parameters yet: call write_parameters first")
        field = self._programmed.field(self._controls.inputs)
        return field if nudge is None else field + nudge

    def _require_phases(self) -> FloatArray:
        self._latch.require_open()
        _ = self._controls.inputs
        if self._phases is None:
            raise SubstrateError("the phases are undefined for this batch: call reset first")
        return self._phases
