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
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.rig.actuation.curves import refuse_field
from eqp_hw.rig.actuation.drive import Drive
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.imperfections.substrate import ImperfectSubstrate
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

from .chain import Chain
from .detectors import DetectorErrors
from .known import refuse_out_of_range
from .optics import Made, MovedInputs, TrueOptics
from .walk import OffsetWalk

__all__ = ["TwinSubstrate", "TwinTruth"]

_INNER, _OWN = "inner ", "twin "


@final
@dataclasses.dataclass(frozen=True, eq=False)
class _Stored:
    """A state kept by the emulator inside, and its free phases."""

    token: StateToken
    phases: FloatArray


@final
@dataclasses.dataclass(frozen=True, eq=False)
class TwinTruth:
    """What no controller may know, for tests.

    Attributes
    ----------
    figures
        Of the rig that was drawn.
    setpoint_V, phases
        (n_heaters,) as they are now.
    made
        What they make; None before `Substrate.write_parameters`.
    """

    figures: RigCalibration
    setpoint_V: FloatArray
    phases: FloatArray
    made: Made | None


@final
class TwinSubstrate(Substrate):
    """An exact emulator driven by the heaters of a drawn rig, with the manners of the rig.

    Whatever is commanded (couplings, fields, inputs, a nudge) goes through the whole chain: all
    heaters' phases by the calibration, powers with its crosstalk taken off, volts in whole steps,
    and then what these make in the rig that was drawn. So heat that was not taken off moves with
    the drives.

    Parameters
    ----------
    inner
        The emulator behind the rig's read-out; its bonds each have a coupling of their own, and
        fields act on all free nodes. Closed with this one.
    rig
        Network, name, settling and interleaving.
    known, drawn
        Figures of the calibration, and of the rig that was drawn.
    chain, optics, walk, detectors
        Its heaters and what they make; how their offsets walk; its detectors.
    capabilities
        Those of the rig.
    settle_s
        What a settling takes on the simulated clock.
    record
        Which measured calibration it was made from, for run files.
    """

    def __init__(
        self,
        inner: ImperfectSubstrate,
        rig: Rig,
        known: RigCalibration,
        drawn: RigCalibration,
        *,
        chain: Chain,
        optics: TrueOptics,
        walk: OffsetWalk,
        detectors: DetectorErrors,
        capabilities: Capabilities,
        settle_s: float,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self._inner = inner
        self._rig = rig
        self._known, self._drawn = known, drawn
        self._chain, self._optics, self._walk = chain, optics, walk
        self._detectors = detectors
        self._capabilities = capabilities
        self._settle_s = settle_s
        self._record = record
        self._leaked = MovedInputs(rig.network)
        self._drive = Drive()
        self._theta = np.full(len(rig.wiring.heaters), np.nan)
        self._setpoint_V = np.full(len(rig.wiring.heaters), np.nan)
        self._walked = walk.offset
        self._made: Made | None = None
        self._clamped: FloatArray | None = None
        self._stored: dict[int, _Stored] = {}
        self._tokens = 0
        self._at: int | None = None
        self._latch = Latch("the twin")

    @property
    @override
    def network(self) -> Network:
        return self._rig.network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def engine_name(self) -> str:
        """What relaxes the phases, for records."""
        return f"twin of rig {self._rig.settings.rig.name}"

    @property
    def calibration_record(self) -> dict[str, Any] | None:
        """Which measured calibration it was made from; None for nominal figures."""
        return None if self._record is None else dict(self._record)

    def truth(self) -> TwinTruth:
        """Return what is hidden from controllers; for tests alone."""
        phases = self._optics.phases(self._setpoint_V) + self._walk.offset
        return TwinTruth(self._drawn, self._setpoint_V.copy(), phases, self._made)

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        self._latch.require_open()
        if parameters.directed:
            raise CapabilityError(
                "this rig's couplers act both ways",
                field="coupling_reverse",
                allowed="reciprocal couplings (none)",
            )
        network, able = self.network, len(self._known.bias_maximum) > 0
        parameters.validate(network)
        refuse_out_of_range(network, self._known, parameters)
        bias = parameters.bias[network.free].copy() if able else None
        drive = dataclasses.replace(self._drive, coupling=parameters.coupling.copy(), bias=bias)
        self._apply(dataclasses.replace(drive, nudge=None))
        self._stored.clear()
        effective = Parameters.zeros(network)
        if able:
            effective.bias[network.free] = self._chain.map.bias.held(self._theta)
        return Parameters(self._chain.map.couplers.held(self._theta), effective.bias)

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
        self._apply(dataclasses.replace(self._drive, inputs=phases[0], nudge=None), clamp=True)
        self._stored.clear()

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._latch.require_open()
        nudge = None if field is None else self._checked_nudge(field, beta)
        if nudge is None and self._drive.nudge is None:
            return
        self._apply(dataclasses.replace(self._drive, nudge=nudge))

    def _checked_nudge(self, field: ComplexArray, beta: complex) -> ComplexArray:
        """Return the (n_outputs,) field β·f that the channels are to make, if they can."""
        self._require_inputs()
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
        made: ComplexArray = complex(beta).real * field[0]
        refuse_field(made, np.full(len(made), self._known.nudge_maximum.min()), "nudge")
        return made

    def _apply(self, drive: Drive, *, clamp: bool = False) -> None:
        """Drive the heaters; with ``clamp`` the emulator takes up new inputs."""
        off = np.zeros(len(self._known.nudge_maximum), dtype=np.complex128)
        full = drive if drive.nudge is not None else dataclasses.replace(drive, nudge=off)
        self._chain.apply(full)
        self._drive, self._at = drive, None
        setpoint_V = self._chain.setpoint_V
        moved = not np.array_equal(setpoint_V, self._setpoint_V)
        if moved:
            self._setpoint_V = setpoint_V
            self._theta = self._chain.phases(setpoint_V)
        if clamp:
            self._clamped = wrap(self._chain.map.inputs(self._theta))
            self._inner.set_inputs(self._clamped[None])
        if moved or clamp or self._made is None:
            self._program()

    def _program(self) -> None:
        """Give the emulator what the heaters really make now."""
        if self._drive.coupling is None:
            return
        self._walked = self._walk.offset
        made = self._optics.made(self._optics.phases(self._setpoint_V) + self._walked, self._theta)
        self._made, self._detectors.reference = made, made.reference
        one_way = np.array_equal(made.forward, made.reverse)
        bias = np.zeros(self.network.n_nodes, dtype=np.complex128)
        bonds = Parameters(made.forward, bias, None if one_way else made.reverse)
        free = self.network.free
        bias[free] = made.field
        if self._clamped is not None:
            # The emulator forgets states where inputs move. They move with every nudge, by what
            # its heat adds: that is a field at their neighbours, the same for all that is free.
            bias[free] += self._leaked.field(made, self._clamped)
        # Nothing of the read-out is on this way.
        self._inner.inner.write_parameters(bonds)

    @override
    def reset(self, seed: int) -> None:
        self._latch.require_open()
        self._require_inputs()
        self.apply_nudge(None)
        self._inner.reset(seed)
        self._at = None

    @override
    def settle(self) -> SettleOutcome:
        self._require_ready()
        outcome = self._relax()
        hop = np.zeros(1, dtype=bool)
        if self._stored and self._drive.nudge is None:
            hop = np.array([not self._is_back(next(reversed(self._stored.values())))])
        # What an instrument cannot know.
        unknown, none = np.full(1, np.nan), np.zeros(1, dtype=bool)
        return dataclasses.replace(
            outcome,
            residual=unknown,
            smallest_eigenvalue=unknown.copy(),
            positive_definite=none,
            certified=none.copy(),
            hop=hop,
        )

    def _relax(self) -> SettleOutcome:
        self._walk.advance(self._settle_s)
        if self._walk.offset is not self._walked:
            self._program()
        return self._inner.settle()

    def _phases(self) -> FloatArray:
        """Return the (n_free,) phases as they are."""
        phases: FloatArray = self._inner.inner.read_phases().phases[0, self.network.free]
        return phases

    @override
    def store_state(self) -> StateToken:
        self._require_ready()
        self._tokens += 1
        self._stored[self._tokens] = _Stored(self._inner.store_state(), self._phases())
        if self._drive.nudge is None:
            self._at = self._tokens
        return StateToken(self._tokens)

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        self._require_ready()
        if not self.capabilities.state_restore:
            raise CapabilityError(
                "without bias fields nothing leads this rig back to a stored state",
                field="wiring.bias_amplitude",
                allowed="bias fields at all free nodes",
            )
        stored = self._stored.get(token.number)
        if stored is None:
            raise SubstrateError(
                "this stored state is unknown or was forgotten: states live until the next "
                "set_inputs or write_parameters"
            )
        if self._at == token.number:
            return np.ones(1, dtype=bool)
        self.apply_nudge(None)
        self._relax()
        returned = self._is_back(stored)
        if not returned:
            # The rig leads the phases back by strong fields; here they are put there.
            self._inner.restore_state(stored.token)
            self._relax()
            if not self._is_back(stored):
                return np.zeros(1, dtype=bool)
        self._at = token.number
        return np.array([returned])

    def _is_back(self, stored: _Stored) -> bool:
        allowed = self._rig.settings.settle.return_tolerance
        return bool(np.abs(wrap(self._phases() - stored.phases)).max(initial=0.0) <= allowed)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        self._require_ready()
        return self._inner.read_phases(repeats)

    @override
    def measure_nudged(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> list[Measurement]:
        """With ``readout.interleave`` the nudges are measured to and fro, as on the rig."""
        if not self._rig.settings.readout.interleave or len(fields) < 2:
            return super().measure_nudged(free, fields, repeats)
        return measure_to_and_fro(super().measure_nudged, free, fields, repeats)

    @override
    def store_memory(self) -> Mapping[str, FloatArray]:
        memory = {_INNER + key: value for key, value in self._inner.store_memory().items()}
        own = self._chain.memory() | {f"walk {k}": v for k, v in self._walk.memory().items()}
        return memory | {_OWN + key: value for key, value in own.items()}

    @override
    def restore_memory(self, memory: Mapping[str, FloatArray]) -> None:
        own = {k.removeprefix(_OWN): v for k, v in memory.items() if k.startswith(_OWN)}
        n, missing = len(self._theta), {"held", "sent_V", "walk offset", "walk advances"} - set(own)
        if missing or any(np.shape(own[k]) != (n,) for k in ("held", "sent_V", "walk offset")):
            raise SubstrateError(
                "the memory kept of the run is not that of this rig's twin: continue it with the "
                "rig file and the version of eqp_hw that it began with"
            )
        self._chain.remember(own)
        self._walk.remember({k.removeprefix("walk "): v for k, v in own.items() if "walk" in k})
        inner = {k.removeprefix(_INNER): v for k, v in memory.items() if k.startswith(_INNER)}
        self._inner.restore_memory(inner)

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

    def _require_inputs(self) -> None:
        self._latch.require_open()
        if self._clamped is None:
            raise SubstrateError("no inputs yet: call set_inputs first")

    def _require_ready(self) -> None:
        self._latch.require_open()
        if self._drive.coupling is None:
            raise SubstrateError("no parameters yet: call write_parameters first")
        self._require_inputs()
