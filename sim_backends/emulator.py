"""The exact XY emulator: a `Substrate` that returns the equilibrium the physical flow reaches."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.experiment.validation import validated
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.registry import SubstrateFactory
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

from .clamping import InputCoupling
from .emulator_options import EmulatorOptions
from .engines import choose_engine
from .flows import DirectedFlow, Flow, ParanoidFlow, ReciprocalFlow
from .outcomes import STATUS_TABLE, merge, rows_of, wrap
from .relaxation.complex_equilibrium import complex_equilibrium
from .relaxation.interface import Bonds, Relaxation, RelaxationStatus

__all__ = ["EmulatorFactory", "EmulatorOptions", "XYEmulator"]

_log = logging.getLogger("eqp_hw.sim_backends.emulator")


@final
@dataclasses.dataclass(frozen=True, eq=False)
class _State:
    """Free phases, and the field at which each sample rests (NaN where it does not)."""

    phases: FloatArray
    rest_field: ComplexArray


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
        edges = network.free_index[network.edges[network.internal_edges]]
        self._bonds = Bonds(len(network.free), edges)
        self._engine = choose_engine(self._bonds, self._options.engine)
        self._inputs_to_field = InputCoupling(network)
        self._sites = network.free_index[network.outputs]
        self._capabilities = Capabilities(
            nudge_nodes=tuple(int(node) for node in network.outputs),
            complex_nudge=True,
            directed_couplings=True,
            fast_reprogramming=True,
        )
        self._parameters: Parameters | None = None
        self._flow: Flow | None = None
        self._inputs: FloatArray | None = None
        self._field: ComplexArray | None = None
        self._state: _State | None = None
        self._nudge: ComplexArray | None = None
        self._beta: complex = 1.0
        self._complex_phases: ComplexArray | None = None
        self._stored: dict[int, _State] = {}
        self._tokens = 0
        self._closed = False

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
        return type(self._engine).__name__

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        self._require_open()
        parameters.validate(self._network)
        effective = parameters.map(np.copy)
        self._parameters = effective
        self._flow = self._make_flow(effective)
        self._field = None
        self._complex_phases = None
        if self._state is not None:
            # What was an equilibrium need not be one of the new parameters.
            self._state = _State(self._state.phases, np.full_like(self._state.rest_field, np.nan))
        self._stored.clear()
        return effective

    def _make_flow(self, parameters: Parameters) -> Flow:
        forward, reverse = parameters.bond_coupling(self._network)
        inside = self._network.internal_edges

        def flow(factor: float) -> Flow:
            options = self._options.relaxation(factor)
            if parameters.directed:
                return DirectedFlow(self._bonds, forward[inside], reverse[inside], options)
            return ReciprocalFlow(self._engine, forward[inside], options)

        if self._options.paranoid:
            return ParanoidFlow(flow(1.0), flow(1e-2), flow(1e-4))
        return flow(1.0)

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self._require_open()
        phases = np.array(phases, dtype=np.float64)
        n_inputs = len(self._network.inputs)
        if phases.ndim != 2 or phases.shape[1] != n_inputs or len(phases) == 0:
            raise SubstrateError(
                f"inputs have shape {phases.shape}; expected (batch, {n_inputs}) with batch >= 1"
            )
        if not np.isfinite(phases).all():
            sample, node = np.argwhere(~np.isfinite(phases))[0]
            raise SubstrateError(f"input {node} of sample {sample} is not finite")
        if self._inputs is None or len(phases) != len(self._inputs):
            self._state = None
        elif self._state is not None:
            self._state = _State(self._state.phases, np.full_like(self._state.rest_field, np.nan))
        self._inputs = phases
        self._field = None
        self._nudge = None
        self._complex_phases = None
        self._stored.clear()

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._require_open()
        if field is None:
            self._nudge, self._beta = None, 1.0
        else:
            self._nudge, self._beta = self._checked_nudge(field), complex(beta)
        self._complex_phases = None

    def _checked_nudge(self, field: ComplexArray) -> ComplexArray:
        field = np.array(field, dtype=np.complex128)
        expected = (len(self._require_inputs()), len(self._sites))
        if field.shape != expected:
            raise SubstrateError(f"nudge field has shape {field.shape}; expected {expected}")
        if not np.isfinite(field).all():
            raise SubstrateError("nudge field is not finite")
        return field

    @override
    def reset(self, seed: int) -> None:
        self._require_open()
        shape = (len(self._require_inputs()), self._bonds.n)
        phases = np.random.default_rng(seed).uniform(-np.pi, np.pi, shape)
        self._state = _State(phases, np.full(shape, np.nan + 0j))
        self.apply_nudge(None)

    @override
    def settle(self) -> SettleOutcome:
        started = time.monotonic()
        state = self._require_state()
        free_field = self._free_field()
        if self._nudge is not None and self._beta.imag != 0.0:
            return self._settle_complex(free_field, state, started)
        field = free_field
        if self._nudge is not None:
            field = free_field.copy()
            field[:, self._sites] += self._beta.real * self._nudge
        result, self._state = self._relax(field, state)
        return self._outcome(result, field, started)

    def _relax(self, field: ComplexArray, state: _State) -> tuple[Relaxation, _State]:
        """Settle samples at rest by `follow`, all others by `relax`."""
        flow = self._require_flow()
        at_rest: BoolArray = np.asarray(np.isfinite(state.rest_field).all(axis=1))
        if at_rest.all():
            result = flow.follow(field, state.phases, state.rest_field)
        elif not at_rest.any():
            result = flow.relax(field, state.phases)
        else:
            result = merge(
                at_rest,
                flow.follow(field[at_rest], state.phases[at_rest], state.rest_field[at_rest]),
                flow.relax(field[~at_rest], state.phases[~at_rest]),
            )
        resting = result.status == RelaxationStatus.EQUILIBRIUM
        rest_field = np.where(resting[:, None], field, np.nan + 0j)
        return result, _State(result.phases, rest_field)

    def _settle_complex(
        self, free_field: ComplexArray, state: _State, started: float
    ) -> SettleOutcome:
        parameters = self._require_parameters()
        if parameters.directed:
            raise CapabilityError("a complex nudge needs reciprocal couplings (J_ij = J_ji)")
        at_rest = np.isfinite(state.rest_field).all(axis=1)
        if not np.array_equal(state.rest_field[at_rest], free_field[at_rest]):
            raise SubstrateError("a complex nudge starts from the free equilibrium: settle first")
        nudge = np.zeros_like(free_field)
        nudge[:, self._sites] = np.asarray(self._nudge)
        beta = np.full(len(free_field), self._beta)
        coupling = parameters.bond_coupling(self._network)[0][self._network.internal_edges]
        phases, residual, converged = complex_equilibrium(
            self._bonds, coupling, free_field, nudge, beta, state.phases
        )
        self._complex_phases = phases
        good = converged & at_rest
        status = np.where(good, SettleStatus.EQUILIBRIUM, SettleStatus.FAILED).astype(np.uint8)
        unknown = np.zeros(len(phases), dtype=bool)
        return SettleOutcome(
            status=status,
            residual=residual,
            smallest_eigenvalue=np.full(len(phases), np.nan),
            positive_definite=unknown,
            certified=unknown,
            hop=unknown,
            steps=np.zeros(len(phases), dtype=np.int64),
            duration_s=time.monotonic() - started,
        )

    def _outcome(self, result: Relaxation, field: ComplexArray, started: float) -> SettleOutcome:
        smallest = np.full(len(field), np.nan)
        parameters = self._require_parameters()
        if self._options.eigenvalues and not parameters.directed:
            coupling = parameters.bond_coupling(self._network)[0][self._network.internal_edges]
            smallest = self._engine.smallest_eigenvalue(coupling, field, result.phases)
        return SettleOutcome(
            status=STATUS_TABLE[result.status],
            residual=result.residual,
            smallest_eigenvalue=smallest,
            positive_definite=result.positive_definite,
            certified=result.certified,
            hop=result.hop,
            steps=result.steps,
            duration_s=time.monotonic() - started,
        )

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
            stacked[rows, self._sites] += complex(beta).real * self._checked_nudge(nudge)
        start = _State(np.tile(state.phases, (k, 1)), np.tile(state.rest_field, (k, 1)))
        result, end = self._relax(stacked, start)
        whole = self._outcome(result, stacked, started)
        measurements = []
        for index in range(k):
            rows = slice(index * n, (index + 1) * n)
            outcome = rows_of(whole, rows, k)
            measurements.append(Measurement(outcome, self._reading(end.phases[rows], repeats)))
        return measurements

    @override
    def store_state(self) -> StateToken:
        self._require_open()
        self._tokens += 1
        self._stored[self._tokens] = self._require_state()
        return StateToken(self._tokens)

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        self._require_open()
        if token.number not in self._stored:
            raise SubstrateError(
                "this stored state is unknown or was forgotten: states live until the next "
                "set_inputs or write_parameters"
            )
        self._state = self._stored[token.number]
        self.apply_nudge(None)
        return np.ones(len(self._state.phases), dtype=bool)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        if repeats < 1:
            raise SubstrateError(f"repeats = {repeats}: at least one read is needed")
        state = self._require_state()
        if self._complex_phases is None:
            return self._reading(state.phases, repeats)
        full = np.empty((len(state.phases), self._network.n_nodes), dtype=np.complex128)
        full[:, self._network.free] = self._complex_phases
        full[:, self._network.inputs] = self._require_inputs()
        return dataclasses.replace(
            self._reading(self._complex_phases.real, repeats), complex_phases=full
        )

    def _reading(self, free_phases: FloatArray, repeats: int) -> Reading:
        full = np.empty((len(free_phases), self._network.n_nodes))
        # The emulator reads without noise, so that repeats change nothing.
        full[:, self._network.free] = wrap(free_phases)
        full[:, self._network.inputs] = self._require_inputs()
        now = time.monotonic()
        return Reading(full, np.zeros_like(full), repeats, now, now)

    @override
    def self_test(self) -> list[SelfTestStep]:
        from .self_test import emulator_self_test  # noqa: PLC0415 - imports this module

        return emulator_self_test(self._network, self._options)

    @override
    def safe(self) -> None:
        self._nudge, self._beta, self._complex_phases = None, 1.0, None

    @override
    def close(self) -> None:
        self.safe()
        self._stored.clear()
        self._closed = True

    def _free_field(self) -> ComplexArray:
        if self._field is None:
            parameters, inputs = self._require_parameters(), self._require_inputs()
            clamped = self._inputs_to_field.field(parameters, inputs)
            self._field = clamped + parameters.bias[self._network.free]
        return self._field

    def _require_open(self) -> None:
        if self._closed:
            raise SubstrateError("the emulator was closed")

    def _require_parameters(self) -> Parameters:
        if self._parameters is None:
            raise SubstrateError("no parameters yet: call write_parameters first")
        return self._parameters

    def _require_flow(self) -> Flow:
        self._require_parameters()
        if self._flow is None:
            raise SubstrateError("no parameters yet: call write_parameters first")
        return self._flow

    def _require_inputs(self) -> FloatArray:
        if self._inputs is None:
            raise SubstrateError("no inputs yet: call set_inputs first")
        return self._inputs

    def _require_state(self) -> _State:
        self._require_open()
        self._require_inputs()
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
