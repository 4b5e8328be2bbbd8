"""Any substrate, with imperfections around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import ComplexArray, Parameters
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
from eqp_hw.substrate_parts import check_repeats

from .interface import Imperfection, RawReads
from .late_phases import LatePhases
from .memory import collect, distribute
from .programming import WritePath
from .reading import ReadPath, joined, split
from .settling import Clock
from .truth import Truth

__all__ = ["ImperfectSubstrate"]


@final
class ImperfectSubstrate(Substrate):
    """A substrate behind imperfections; docs/imperfections.md says what each one does.

    Parameters
    ----------
    inner
        The substrate that is wrapped; closed with this one.
    imperfections
        In the order in which signals meet them: from the controller to the network on the
        write path, from the network to the controller on the read path.
    network
        The graph as the controller sees it: that of ``inner`` by default, or one whose bonds
        share couplings where those of ``inner`` have their own.
    clock
        Simulated time of settling and reading.
    moving
        Whether phases move from read to read though the substrate states no read noise.
    """

    def __init__(
        self,
        inner: Substrate,
        imperfections: Sequence[Imperfection],
        network: Network | None = None,
        clock: Clock | None = None,
        *,
        moving: bool = False,
    ) -> None:
        self._inner = inner
        self._imperfections = tuple(imperfections)
        self._network = inner.network if network is None else network
        self._clock = Clock() if clock is None else clock
        able = inner.capabilities
        self._write_path = WritePath(
            self._network, inner.network, able.coupling_range, self._imperfections
        )
        self._read_path = ReadPath(self._network, self._imperfections)
        self._capabilities = self._derived(able)
        # Copies of one read stand for many where the substrate inside reads without noise.
        self._exact = able.readout_noise == 0 and able.readout_bits is None and not moving
        self._drifts = any(one.programs_in_time for one in self._imperfections)
        self._late = LatePhases(self._network, self._imperfections)
        lags = [lag for one in self._imperfections if (lag := one.coupling_lag()) is not None]
        self._own_lag = np.sum(lags, axis=0) if lags else None
        self._lag = self._own_lag
        if self._own_lag is not None:
            inner.set_coupling_lag(self._own_lag)
        self._asked: Parameters | None = None
        self._true: Parameters | None = None
        self._programmed_s = self._time_s = 0.0
        self._nudges, self._nudged = 0, False
        self._batch = 0
        self._held: FloatArray | None = None
        self._believed: FloatArray | None = None

    def _derived(self, able: Capabilities) -> Capabilities:
        for one in self._imperfections:
            able = one.capabilities(able)
        if self._clock.known:
            able = dataclasses.replace(able, settle_s=self._clock.settle_s)
        continued = able.complex_nudge and self._read_path.reads_complex
        return dataclasses.replace(able, complex_nudge=continued)

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
        name = getattr(self._inner, "engine_name", type(self._inner).__name__)
        n = sum(one.setup.address[0] != "clock" for one in self._imperfections)
        return f"{name} with {n} imperfection{'' if n == 1 else 's'}"

    @property
    def inner(self) -> Substrate:
        """The substrate that is wrapped."""
        return self._inner

    def truth(self) -> Truth:
        """Return what is hidden from controllers; for tests alone."""
        draws = tuple(one.truth() for one in self._imperfections)
        return Truth(self._inner.network, self._true, self._lag, draws)

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        parameters.validate(self._network)
        effective = self._program(parameters)
        self._asked = parameters.map(np.copy)
        return effective

    def _program(self, asked: Parameters) -> Parameters:
        known, true = self._write_path.signals(asked, self._time_s, self._lag)
        written = self._write_path.parameters(true, asked)
        held = self._inner.write_parameters(written)
        self._true, self._programmed_s = written, self._time_s
        return self._write_path.effective(known, true, held, asked)

    def _drift_on(self) -> None:
        """Program anew what has drifted since."""
        if self._drifts and self._asked is not None and self._time_s != self._programmed_s:
            self._program(self._asked)

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        phases = np.array(phases, dtype=np.float64)
        known = true = phases
        if phases.ndim == 2 and phases.shape[1] == len(self._network.inputs):
            for one in self._imperfections:
                true = one.inputs(true)
                known = one.inputs(known) if one.known else known
        self._inner.set_inputs(true)  # refuses wrong shapes and values
        if not self._capabilities.fast_reprogramming:
            self._drift_on()
        self._believed = None if np.array_equal(known, true) else known
        self._held, self._nudged, self._nudges = None, False, 0
        self._batch = len(phases)
        self._late.forget()

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        if field is None:
            self._inner.apply_nudge(None)
            self._nudged = False
            return
        self._inner.apply_nudge(self._field(field, beta), beta)
        self._nudges += 1
        self._nudged = True

    def _field(self, field: ComplexArray, beta: complex) -> ComplexArray:
        if complex(beta).imag != 0.0 and not self._capabilities.complex_nudge:
            raise CapabilityError(
                "phases under a complex nudge cannot be read through these imperfections",
                field="beta",
                value=beta,
                allowed="real",
            )
        field = np.asarray(field, dtype=np.complex128)
        if field.ndim == 2 and field.shape[1] == len(self._capabilities.nudge_nodes):
            for one in self._imperfections:
                field = one.nudge(field)
        return field

    @property
    def _channel(self) -> int:
        """Channel of a read: 0 for a free one; nudges alternate, +1 first."""
        return _channel_of(self._nudges - 1) if self._nudged else 0

    @override
    def reset(self, seed: int) -> None:
        self._inner.reset(seed)
        for one in self._imperfections:
            one.reseed(seed)
        self._held, self._nudged, self._nudges = None, False, 0
        if self._late.active:
            self._late.start(seed, self._batch)

    @override
    def settle(self) -> SettleOutcome:
        self._pass_settling()
        outcome = self._inner.settle()
        if self._late.active:
            self._late.settle(self._inner.read_phases().phases, self._held)
        return outcome

    def _pass_settling(self) -> None:
        self._time_s += self._clock.settle_s
        if self._capabilities.fast_reprogramming:
            self._drift_on()

    @override
    def store_state(self) -> StateToken:
        token = self._inner.store_state()
        self._late.store(token.number)
        self._nudges = 0
        return token

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        returned = self._inner.restore_state(token)
        self._back_to(token)
        return returned

    def _back_to(self, free: StateToken) -> None:
        self._late.restore(free.number)
        self._nudged, self._held = False, None

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        check_repeats(repeats)
        inner = [self._inner.read_phases() for _ in range(1 if self._exact else repeats)]
        return self._read(inner, repeats, self._channel, self._late.shift)

    def _read(
        self,
        inner: Sequence[Reading],
        repeats: int,
        channel: int | IntArray,
        shift: FloatArray | None,
    ) -> Reading:
        times_s = self._time_s + self._clock.read_s * np.arange(repeats, dtype=np.float64)
        reads = RawReads(times_s, channel)
        self._time_s += self._clock.read_s * repeats
        reading = self._read_path.reading(inner, shift, reads)
        if self._believed is not None:
            copies = len(reading.phases) // len(self._believed)
            reading.phases[:, self._network.inputs] = np.tile(self._believed, (copies, 1))
        return reading

    @override
    def measure_nudged(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> list[Measurement]:
        """Fused where the substrate inside reads without noise and no coupling drifts."""
        self._nudges = 0
        if not self._exact or self._drifts or repeats < 1:
            return super().measure_nudged(free, fields, repeats)
        sent = [(self._field(field, beta), beta) for field, beta in fields]
        measured = self._inner.measure_nudged(free, sent)
        measurements = []
        for number, one in enumerate(measured):
            self._pass_settling()
            shift = self._shift_of(free, one.reading)
            reading = self._read([one.reading], repeats, _channel_of(number), shift)
            measurements.append(Measurement(one.outcome, reading))
        self._back_to(free)
        return measurements

    def _shift_of(self, free: StateToken, nudged: Reading) -> FloatArray | None:
        """Return by how much phases lag behind a nudged rest, having started from ``free``."""
        self._late.restore(free.number)
        if self._late.active:
            self._late.settle(nudged.phases, None)
        return self._late.shift

    @override
    def measure_together(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> tuple[list[Measurement], list[Reading]]:
        """Replica k is read on channel k mod 2, free and nudged, all at the same times.

        The replicas share what is hidden; each read has noise of its own. Where the substrate
        inside reads with noise, that is averaged before these imperfections act.
        """
        sent = [(self._field(field, beta), beta) for field, beta in fields]
        self._back_to(free)
        if self._capabilities.fast_reprogramming:
            free_s = self._time_s
            self._time_s = free_s + self._clock.read_s * repeats + self._clock.settle_s
            self._drift_on()
            self._time_s = free_s
        nudged, frees = self._inner.measure_together(free, sent, 1 if self._exact else repeats)
        shifts = [self._late.shift] * len(frees)
        readings = self._read_together(frees, shifts, repeats)
        self._time_s += self._clock.settle_s
        shifts = [self._shift_of(free, one.reading) for one in nudged]
        found = self._read_together([one.reading for one in nudged], shifts, repeats)
        self._back_to(free)
        pairs = zip(nudged, found, strict=True)
        return [Measurement(one.outcome, reading) for one, reading in pairs], readings

    def _read_together(
        self, inner: Sequence[Reading], shifts: Sequence[FloatArray | None], repeats: int
    ) -> list[Reading]:
        """Read replicas at the same times, side by side as one batch."""
        if not inner:
            return []
        parts = [shift for shift in shifts if shift is not None]
        channels = [np.full((len(r.phases), 1), _channel_of(k)) for k, r in enumerate(inner)]
        whole = self._read(
            [joined(inner)],
            repeats,
            np.concatenate(channels),
            np.concatenate(parts) if parts else None,
        )
        return split(whole, len(inner))

    @override
    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        """Measure; each read passes the read path at its own time of the simulated clock.

        Incomplete settling does not apply: the phases are followed as they move.
        """
        reading = self._inner.measure_oscillating(free, self._field(field, 1.0), oscillation)
        omega = oscillation.angular_frequency
        start_s = self._time_s + 2 * np.pi * oscillation.lead_periods / omega
        self._time_s = start_s + 2 * np.pi * oscillation.periods / omega
        reads = RawReads(start_s + reading.angles / omega, 0)
        phases = wrap(self._read_path.raw(reading.phases, reads))
        error = reading.standard_error.copy()
        if self._read_path.draws:
            error[:, :, self._network.free] = np.nan
        inputs = self._network.inputs
        phases[:, :, inputs] = reading.phases[:, :, inputs]
        if self._believed is not None:
            phases[:, :, inputs] = self._believed
        self._back_to(free)
        return dataclasses.replace(reading, phases=phases, standard_error=error)

    @override
    def clamp_outputs(self, phases: FloatArray | None) -> None:
        self._inner.clamp_outputs(phases)
        self._held = None if phases is None else np.array(phases, dtype=np.float64)

    @override
    def set_coupling_lag(self, lag: FloatArray | None) -> None:
        total = lag
        if self._own_lag is not None:
            total = self._own_lag if lag is None else self._own_lag + np.asarray(lag)
        self._inner.set_coupling_lag(total)
        self._lag = total
        if self._asked is not None:
            self._program(self._asked)  # what stuck nodes exert on their neighbours turns too

    @override
    def store_memory(self) -> Mapping[str, FloatArray]:
        return collect(self._inner, self._imperfections, self._time_s)

    @override
    def restore_memory(self, memory: Mapping[str, FloatArray]) -> None:
        self._time_s = distribute(memory, self._inner, self._imperfections)

    @override
    def self_test(self) -> list[SelfTestStep]:
        steps = self._inner.self_test()
        for number, one in enumerate(self._imperfections):
            kind, _ = one.setup.address
            name = f"imperfection {number}: {kind}"
            steps.append(SelfTestStep(name, True, "simulated, on purpose"))
        return steps

    @override
    def safe(self) -> None:
        self._nudged, self._held = False, None
        self._inner.safe()

    @override
    def close(self) -> None:
        self._inner.close()


def _channel_of(nudge: int) -> int:
    """Return the read channel of the nudge numbered from 0: +1, −1, +1 ..."""
    return 1 if nudge % 2 == 0 else -1
