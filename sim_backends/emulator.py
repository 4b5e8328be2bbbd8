"""The exact XY emulator: a `Substrate` that returns the equilibrium the physical flow reaches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.lag import checked_lag
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.registry import SubstrateFactory
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
from eqp_hw.validation import validated

from .bound_network import BoundNetwork, State
from .clamped_outputs import ClampedOutputs
from .complex_nudge import settle_complex
from .controls import Controls
from .emulator_options import EmulatorOptions
from .oscillating_nudge import driven_reading
from .outcomes import rows_of, settle_outcome
from .relaxation.interface import Relaxation
from .verbs import noiseless_reading, random_phases

__all__ = ["EmulatorFactory", "EmulatorOptions", "XYEmulator"]

_REPLICAS = 2


@final
class XYEmulator(Substrate):
    """Numerically exact XY network (relaxation of arXiv 2402.08579, eq. 2; docs/exactness.md).

    Parameters
    ----------
    network
        The graph.
    options
        Accuracy and engine; `EmulatorOptions` states the defaults.
    """

    def __init__(self, network: Network, options: EmulatorOptions | None = None) -> None:
        self._network = network
        self._options = EmulatorOptions() if options is None else options
        self._bound = BoundNetwork(network, self._options)
        self._clamped = ClampedOutputs(network, self._options)
        self._controls = Controls(network, self._options.nudge_sites)
        self._capabilities = Capabilities(
            nudge_nodes=self._controls.nudge_nodes,
            hidden_nudge=self._controls.nudges_hidden,
            oscillating_nudge=True,
            complex_nudge=True,
            directed_couplings=True,
            fast_reprogramming=True,
            phase_clamp=True,
            coupling_lag=True,
            replicas=_REPLICAS,
        )
        self._lag: FloatArray | None = None
        self._field: ComplexArray | None = None
        self._state: State | None = None
        self._beta: complex = 1.0
        self._complex_phases: ComplexArray | None = None
        self._stored = StoredStates[State]()
        self._latch = Latch("the emulator")

    @property
    @override
    def network(self) -> Network:
        return self._network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def options(self) -> EmulatorOptions:
        """The accuracy this emulator works at."""
        return self._options

    @property
    def engine_name(self) -> str:
        """Class name of the relaxation engine in use."""
        return type(self._bound.engine).__name__

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
        if self._bound.programmed:
            self._program(self._bound.parameters)

    def _program(self, parameters: Parameters) -> None:
        self._bound.program(parameters, self._lag)
        self._clamped.reprogrammed()
        self._field = None
        self._complex_phases = None
        # What was an equilibrium need not be one now; the phases are still there.
        if self._state is not None:
            self._state = self._state.stirred()
        self._stored.change(State.stirred)

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self._latch.require_open()
        if not self._controls.set_inputs(phases):
            self._state = None
        elif self._state is not None:
            self._state = self._state.stirred()
        self._field = None
        self._complex_phases = None
        self._stored.clear()

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._latch.require_open()
        if field is None:
            self._controls.nudge, self._beta = None, 1.0
        else:
            self._controls.nudge = self._controls.checked_nudge(field)
            self._beta = complex(beta)
        self._complex_phases = None

    @override
    def clamp_outputs(self, phases: FloatArray | None) -> None:
        """Hold the outputs exactly; see `Substrate.clamp_outputs`.

        From a settled state the hidden phases follow, with the same hop test as for nudges.
        """
        self._latch.require_open()
        self._controls.hold(phases)
        self._complex_phases = None

    @override
    def reset(self, seed: int) -> None:
        self._latch.require_open()
        batch = len(self._controls.inputs)
        rng = np.random.default_rng(seed)
        self._state = State.moving(random_phases(self._network, batch, rng))
        self._let_go()

    @override
    def settle(self) -> SettleOutcome:
        started = time.monotonic()
        state = self._require_state()
        free_field, nudge, held = self._free_field(), self._controls.nudge, self._controls.held
        if nudge is not None and self._beta.imag != 0.0:
            if held is not None:
                raise SubstrateError("a complex nudge needs free outputs: let them go first")
            self._complex_phases, outcome = settle_complex(
                self._bound, self._controls.sites, nudge, self._beta, free_field, state
            )
            return outcome
        field = free_field
        if nudge is not None:
            field = free_field.copy()
            field[:, self._controls.sites] += self._beta.real * nudge
        if held is None:
            result, self._state = self._relax(field, state)
            smallest = self._bound.smallest_eigenvalue(field, result.phases)
        else:
            result, smallest, self._state = self._clamped.settle(
                self._bound.parameters,
                self._lag,
                self._controls.inputs,
                held,
                free_field,
                field,
                state,
            )
        return settle_outcome(result, smallest, started)

    def _relax(self, field: ComplexArray, state: State) -> tuple[Relaxation, State]:
        if state.held is not None:
            state = state.stirred()
        result, resting = self._bound.relax(field, state.phases, state.rest_field)
        rest_field = np.where(resting[:, None], field, np.nan + 0j)
        return result, State(result.phases, rest_field)

    @override
    def measure_nudged(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> list[Measurement]:
        """Fused: all real nudges relax side by side in one batch."""
        if any(complex(beta).imag != 0.0 for _, beta in fields) or not fields:
            return super().measure_nudged(free, fields, repeats)
        self.restore_state(free)
        state, free_field = self._require_state(), self._free_field()
        started, n, k = time.monotonic(), len(free_field), len(fields)
        stacked = np.tile(free_field, (k, 1))
        for index, (nudge, beta) in enumerate(fields):
            rows = slice(index * n, (index + 1) * n)
            checked = self._controls.checked_nudge(nudge)
            stacked[rows, self._controls.sites] += complex(beta).real * checked
        start = State(np.tile(state.phases, (k, 1)), np.tile(state.rest_field, (k, 1)))
        result, end = self._relax(stacked, start)
        smallest = self._bound.smallest_eigenvalue(stacked, result.phases)
        whole = settle_outcome(result, smallest, started)
        measurements = []
        for index in range(k):
            rows = slice(index * n, (index + 1) * n)
            outcome = rows_of(whole, rows, k)
            measurements.append(Measurement(outcome, self._reading(end.phases[rows], repeats)))
        return measurements

    @override
    def measure_together(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> tuple[list[Measurement], list[Reading]]:
        """Nudge up to two replicas; being identical, their free readings never differ."""
        check_replicas(len(fields), _REPLICAS)
        self.restore_state(free)
        before = self.read_phases(repeats)
        return self.measure_nudged(free, fields, repeats), [before for _ in fields]

    @override
    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        """Integrate the flow to about 1e-9 rad; see `oscillating_nudge`."""
        self.restore_state(free)
        state, free_field = self._require_state(), self._free_field()
        nudge = np.zeros_like(free_field)
        nudge[:, self._controls.sites] = self._controls.checked_nudge(field)
        inputs = self._controls.inputs
        return driven_reading(self._bound, state, free_field, nudge, inputs, oscillation)

    @override
    def store_state(self) -> StateToken:
        self._latch.require_open()
        return self._stored.store(self._require_state())

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        self._latch.require_open()
        self._state = self._stored.recall(token)
        self._let_go()
        return np.ones(len(self._state.phases), dtype=bool)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        check_repeats(repeats)
        state = self._require_state()
        if self._complex_phases is None:
            return self._reading(state.phases, repeats)
        full = np.empty((len(state.phases), self._network.n_nodes), dtype=np.complex128)
        full[:, self._network.free] = self._complex_phases
        full[:, self._network.inputs] = self._controls.inputs
        return dataclasses.replace(
            self._reading(self._complex_phases.real, repeats), complex_phases=full
        )

    def _reading(self, free_phases: FloatArray, repeats: int) -> Reading:
        reading = noiseless_reading(self._network, free_phases, self._controls.inputs, repeats)
        if self._controls.held is not None:
            reading.phases[:, self._network.outputs] = wrap(self._controls.held)
        return reading

    @override
    def self_test(self) -> list[SelfTestStep]:
        from .self_test import emulator_self_test  # noqa: PLC0415 - imports this module

        return emulator_self_test(self._network, self._options)

    @override
    def safe(self) -> None:
        self._let_go()

    @override
    def close(self) -> None:
        self.safe()
        self._stored.clear()
        self._latch.close()

    def _let_go(self) -> None:
        """Take away the nudge, and the hold on outputs."""
        self._controls.release()
        self._beta, self._complex_phases = 1.0, None

    def _free_field(self) -> ComplexArray:
        if self._field is None:
            self._field = self._bound.field(self._controls.inputs)
        return self._field

    def _require_state(self) -> State:
        self._latch.require_open()
        _ = self._controls.inputs
        if self._state is None:
            raise SubstrateError("the phases are undefined for this batch: call reset first")
        return self._state


@final
class EmulatorFactory(SubstrateFactory):
    """Makes `XYEmulator` from the ``[substrate]`` table."""

    description = "numerically exact XY network on this computer"

    @override
    def options(self) -> Mapping[str, str]:
        fields = EmulatorOptions.model_fields
        return {name: f"default {info.default!r}" for name, info in fields.items()}

    @override
    def create(self, network: Network, options: Mapping[str, object]) -> XYEmulator:
        return XYEmulator(network, validated(EmulatorOptions, options, field="substrate"))
