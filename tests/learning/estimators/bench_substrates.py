"""Substrates that do one thing otherwise than the emulator inside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.network.graph import FloatArray, Network
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


class Around(Substrate):
    """Hands every verb on, one at a time, and may claim other capabilities."""

    def __init__(self, inner: Substrate, **able: object) -> None:
        self.inner = inner
        self._able = dataclasses.replace(inner.capabilities, **able)

    @property
    @override
    def network(self) -> Network:
        return self.inner.network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._able

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        return self.inner.write_parameters(parameters)

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self.inner.set_inputs(phases)

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self.inner.apply_nudge(field, beta)

    @override
    def reset(self, seed: int) -> None:
        self.inner.reset(seed)

    @override
    def settle(self) -> SettleOutcome:
        return self.inner.settle()

    @override
    def store_state(self) -> StateToken:
        return self.inner.store_state()

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        return self.inner.restore_state(token)

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        return self.inner.read_phases(repeats)

    @override
    def clamp_outputs(self, phases: FloatArray | None) -> None:
        self.inner.clamp_outputs(phases)

    @override
    def self_test(self) -> list[SelfTestStep]:
        return self.inner.self_test()

    @override
    def safe(self) -> None:
        self.inner.safe()

    @override
    def close(self) -> None:
        self.inner.close()


@final
class QuasiStatic(Around):
    """Oscillates infinitely slowly: each read is of an equilibrium, with white noise on top."""

    def __init__(self, inner: Substrate, sigma: float = 0.0, seed: int = 17) -> None:
        super().__init__(inner, oscillating_nudge=True, readout_noise=sigma)
        self._sigma = sigma
        self._rng = np.random.default_rng(seed)

    @override
    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        reads = oscillation.periods * oscillation.reads_per_period
        angles = 2 * np.pi * np.arange(reads) / oscillation.reads_per_period
        nudges = [(field * np.cos(angle), 1.0) for angle in angles]
        found = self.inner.measure_nudged(free, nudges)
        phases = np.stack([one.reading.phases for one in found])
        noise = self._sigma * self._rng.standard_normal(phases.shape)
        noise[..., self.network.inputs] = 0.0
        return OscillatingReading(
            angles,
            phases + noise,
            np.full(phases.shape, np.nan if self._sigma else 0.0),
            np.all([one.outcome.settled & ~one.outcome.hop for one in found], axis=0),
        )


@final
class Drifting(Around):
    """The read-out of each free phase drifts linearly with every raw read."""

    def __init__(self, inner: Substrate, rate: float) -> None:
        super().__init__(inner)
        nodes = np.zeros(inner.network.n_nodes)
        nodes[inner.network.free] = np.random.default_rng(8).normal(
            0, rate, len(inner.network.free)
        )
        self._rate = nodes
        self._reads = 0

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        reading = self.inner.read_phases(repeats)
        mean_time = self._reads + (repeats - 1) / 2
        self._reads += repeats
        return dataclasses.replace(reading, phases=reading.phases + self._rate * mean_time)


@final
class Skewed(Around):
    """The first nudged state of an estimate reads a little high, the second a little low."""

    def __init__(self, inner: Substrate, skew: float) -> None:
        super().__init__(inner)
        nodes = np.zeros(inner.network.n_nodes)
        nodes[inner.network.free] = np.random.default_rng(9).normal(
            0, skew, len(inner.network.free)
        )
        self._skew = nodes

    @override
    def measure_nudged(
        self, free: StateToken, fields: Sequence[tuple[ComplexArray, complex]], repeats: int = 1
    ) -> list[Measurement]:
        found = super().measure_nudged(free, fields, repeats)
        signs = [1.0, -1.0] * len(found)
        return [
            Measurement(
                one.outcome,
                dataclasses.replace(one.reading, phases=one.reading.phases + sign * self._skew),
            )
            for one, sign in zip(found, signs, strict=False)
        ]
