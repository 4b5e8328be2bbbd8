"""A substrate whose nudge has few levels: the emulator behind a coarse modulator."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.substrate import (
    BoolArray,
    Reading,
    SelfTestStep,
    SettleOutcome,
    StateToken,
    Substrate,
)


@final
class LevelSubstrate(Substrate):
    """Rounds the nudge amplitude at each node to a level, in silence, as a modulator would.

    ``rounding`` is the largest relative change that this made, ``moves`` how often it settled.
    """

    def __init__(self, emulator: XYEmulator, levels: tuple[float, ...], **able: object) -> None:
        self.inner = emulator
        self.levels = levels
        self.rounding = 0.0
        self.made: set[float] = set()
        self.moves = 0
        self._able = dataclasses.replace(
            emulator.capabilities,
            nudge_levels=levels,
            complex_nudge=False,
            **able,  # type: ignore[arg-type]  # fields of Capabilities
        )

    @property
    @override
    def network(self) -> Network:
        return self.inner.network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._able

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        if field is None:
            self.inner.apply_nudge(None)
            return
        if complex(beta).imag:
            raise CapabilityError("no complex nudge")
        asked = field * complex(beta).real
        amplitude = np.abs(asked)
        exist = np.array([0.0, *self.levels])
        made = exist[np.abs(exist - amplitude[..., None]).argmin(axis=-1)]
        self.inner.apply_nudge(made * np.exp(1j * np.angle(asked)))
        on = amplitude > 0
        if on.any():
            change = np.abs(made[on] / amplitude[on] - 1)
            self.rounding = max(self.rounding, float(change.max()))
        self.made |= {float(level) for level in made.ravel() if level}

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        return self.inner.write_parameters(parameters)

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self.inner.set_inputs(phases)

    @override
    def reset(self, seed: int) -> None:
        self.inner.reset(seed)

    @override
    def settle(self) -> SettleOutcome:
        self.moves += 1
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
    def self_test(self) -> list[SelfTestStep]:
        return self.inner.self_test()

    @override
    def safe(self) -> None:
        self.inner.safe()

    @override
    def close(self) -> None:
        self.inner.close()
