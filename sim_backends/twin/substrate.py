"""The twin of a rig as a `Substrate`: what the rig refuses is refused, the rest goes on inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.learning.interleave import measure_to_and_fro
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.imperfections.substrate import ImperfectSubstrate
from eqp_hw.sim_backends.imperfections.truth import Truth
from eqp_hw.substrate import (
    BoolArray,
    Measurement,
    Reading,
    SelfTestStep,
    SettleOutcome,
    StateToken,
    Substrate,
)
from eqp_hw.substrate_parts import Latch

__all__ = ["TwinSubstrate"]


@final
class TwinSubstrate(Substrate):
    """An emulator behind a rig's imperfections, with the manners of the rig.

    Parameters
    ----------
    inner
        The imperfect emulator; its capabilities are those of the rig. Closed with this one.
    name
        Of the rig.
    interleave
        Nudges are measured to and fro, as the rig file says.
    record
        Which measured calibration it was made from, for run files.
    """

    def __init__(
        self,
        inner: ImperfectSubstrate,
        name: str,
        *,
        interleave: bool = False,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self._inner = inner
        self._name = name
        self._interleave = interleave
        self._record = record
        self._latch = Latch("the twin")

    @property
    @override
    def network(self) -> Network:
        return self._inner.network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    @property
    def engine_name(self) -> str:
        """What relaxes the phases, for records."""
        return f"twin of rig {self._name}"

    @property
    def calibration_record(self) -> dict[str, Any] | None:
        """Which measured calibration it was made from; None for nominal figures."""
        return None if self._record is None else dict(self._record)

    def truth(self) -> Truth:
        """Return what is hidden from controllers; for tests alone."""
        return self._inner.truth()

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        self._latch.require_open()
        if parameters.directed:
            raise CapabilityError(
                "this rig's couplers act both ways",
                field="coupling_reverse",
                allowed="reciprocal couplings (none)",
            )
        return self._inner.write_parameters(parameters)

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self._latch.require_open()
        phases, n_inputs = np.array(phases, dtype=np.float64), len(self.network.inputs)
        if phases.shape != (1, n_inputs):
            raise SubstrateError(
                f"inputs have shape {phases.shape}; expected (1, {n_inputs}): hardware holds one "
                "sample at a time"
            )
        if not np.isfinite(phases).all():
            raise SubstrateError(
                f"input {int(np.argwhere(~np.isfinite(phases))[0, 1])} is not finite"
            )
        self._inner.set_inputs(phases)

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._latch.require_open()
        self._inner.apply_nudge(None if field is None else self._made(field, beta))

    def _made(self, field: ComplexArray, beta: complex) -> ComplexArray:
        """Return the field β·f that the injection channels are to make, if they can."""
        field = np.array(field, dtype=np.complex128)
        expected = (1, len(self.network.outputs))
        if field.shape != expected:
            raise SubstrateError(f"nudge field has shape {field.shape}; expected {expected}")
        if not (np.isfinite(field).all() and np.isfinite(beta)):
            raise SubstrateError("nudge field is not finite")
        if complex(beta).imag != 0.0:
            raise CapabilityError(
                "hardware cannot make a complex nudge", field="beta", value=beta, allowed="real"
            )
        made: ComplexArray = complex(beta).real * field
        limit, largest = self.capabilities.nudge_maximum, float(np.abs(made).max())
        if largest > limit * (1 + 1e-12):
            raise CapabilityError(
                "above what the injection channels can make",
                field="nudge",
                value=largest,
                allowed=f"amplitudes up to {limit:.6g}",
            )
        return made

    @override
    def reset(self, seed: int) -> None:
        self._inner.reset(seed)

    @override
    def settle(self) -> SettleOutcome:
        self._latch.require_open()
        outcome = self._inner.settle()
        # What an instrument cannot know.
        unknown, none = np.full(1, np.nan), np.zeros(1, dtype=bool)
        return dataclasses.replace(
            outcome,
            residual=unknown,
            smallest_eigenvalue=unknown.copy(),
            positive_definite=none,
            certified=none.copy(),
        )

    @override
    def store_state(self) -> StateToken:
        return self._inner.store_state()

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        if not self.capabilities.state_restore:
            raise CapabilityError(
                "without bias fields nothing leads this rig back to a stored state",
                field="wiring.bias_amplitude",
                allowed="bias fields at all free nodes",
            )
        return self._inner.restore_state(token)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        self._latch.require_open()
        return self._inner.read_phases(repeats)

    @override
    def measure_nudged(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> list[Measurement]:
        """With ``readout.interleave`` the nudges are measured to and fro, as on the rig."""
        made = [(self._made(field, beta), 1.0 + 0.0j) for field, beta in fields]
        if self._interleave and len(made) > 1:
            return measure_to_and_fro(self._inner.measure_nudged, free, made, repeats)
        return self._inner.measure_nudged(free, made, repeats)

    @override
    def store_memory(self) -> Mapping[str, FloatArray]:
        return self._inner.store_memory()

    @override
    def restore_memory(self, memory: Mapping[str, FloatArray]) -> None:
        self._inner.restore_memory(memory)

    @override
    def self_test(self) -> list[SelfTestStep]:
        return self._inner.self_test()

    @override
    def safe(self) -> None:
        self._inner.safe()

    @override
    def close(self) -> None:
        self._latch.close()
        self._inner.close()
