"""Read-out noise, static offsets, and converters of phases."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import ComplexArray

from .interface import (
    Count,
    Draws,
    Imperfection,
    ImperfectionOptions,
    Magnitude,
    RawReads,
    Setup,
    option,
)

__all__ = ["PhaseBitsOptions", "ReadoutNoiseOptions", "ReadoutOffsetOptions"]


@final
class ReadoutNoiseOptions(ImperfectionOptions):
    """``kind = "readout-noise"``: white noise on every raw read."""

    description = "white noise on every raw read of the phases"

    sigma: Magnitude = option(0.0, "standard deviation at each node, independent, rad")
    common_mode: Magnitude = option(
        0.0, "standard deviation of what all nodes of one read share, rad"
    )

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _ReadoutNoise(setup, self)


@final
class _ReadoutNoise(Imperfection):
    def __init__(self, setup: Setup, options: ReadoutNoiseOptions) -> None:
        super().__init__(setup)
        self._options = options

    @property
    @override
    def draws_reads(self) -> bool:
        return self._total > 0

    @property
    def _total(self) -> float:
        return math.hypot(self._options.sigma, self._options.common_mode)

    @property
    @override
    def imaginary_noise(self) -> float | None:
        return self._total

    @override
    def capabilities(self, inner: Capabilities) -> Capabilities:
        noise = math.hypot(inner.readout_noise, self._total)
        return dataclasses.replace(inner, readout_noise=noise)

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        if self._options.sigma:
            phases += self._options.sigma * self.rng.standard_normal(phases.shape)
        if self._options.common_mode:
            shared = self.rng.standard_normal((*phases.shape[:2], 1))
            phases += self._options.common_mode * shared
        return phases

    @override
    def truth(self) -> Draws:
        return {}


@final
class ReadoutOffsetOptions(ImperfectionOptions):
    """``kind = "readout-offset"``: a constant error of each node's phase."""

    description = "constant offset of each node's read phase, hidden"

    sigma: Magnitude = option(0.0, "standard deviation over nodes, rad")

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _ReadoutOffset(setup, self)


@final
class _ReadoutOffset(Imperfection):
    def __init__(self, setup: Setup, options: ReadoutOffsetOptions) -> None:
        super().__init__(setup)
        rng = setup.generator("static")
        self._offset = options.sigma * rng.standard_normal(setup.network.n_nodes)

    @property
    @override
    def imaginary_noise(self) -> float | None:
        return 0.0

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        phases += self._offset
        return phases

    @override
    def truth(self) -> Draws:
        return {"offset": self._offset}


@final
class PhaseBitsOptions(ImperfectionOptions):
    """``kind = "phase-bits"``: a converter with 2^bits levels over 2π, 0 among them."""

    description = "analog-digital conversion of phases, optionally dithered"

    bits: Count = option(..., "resolution: 2^bits levels over 2π (1 to 32)")
    where: Literal["readout", "inputs", "nudge"] = option(
        "readout", "what is converted: phases read, input phases, or angles of nudge fields"
    )
    dither: Literal["none", "uniform"] = option(
        "none", "uniform: ± half a level of noise before each conversion (raw reads only)"
    )

    @property
    @override
    def only_one_of(self) -> str | None:
        return f"converter of phases at the {self.where}"

    @override
    def check(self, field: str) -> None:
        if self.dither != "none" and self.where != "readout":
            raise ConfigurationError(
                "a phase that is set is converted once, so that no average removes the dither",
                field=f"{field}.dither",
                value=self.dither,
                allowed='"none", or where = "readout"',
            )

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _PhaseBits(setup, self)


@final
class _PhaseBits(Imperfection):
    known = True

    def __init__(self, setup: Setup, options: PhaseBitsOptions) -> None:
        super().__init__(setup)
        self._options = options
        self._step = 2 * np.pi / 2**options.bits

    @property
    @override
    def draws_reads(self) -> bool:
        return self._options.dither == "uniform"

    @property
    @override
    def changes_reads(self) -> bool:
        return self._options.where == "readout"

    @override
    def capabilities(self, inner: Capabilities) -> Capabilities:
        if not self.changes_reads:
            return inner
        bits = self._options.bits
        if inner.readout_bits is not None:
            bits = min(bits, inner.readout_bits)
        return dataclasses.replace(inner, readout_bits=bits)

    def _converted(self, phases: FloatArray) -> FloatArray:
        level: FloatArray = np.rint(phases / self._step) * self._step
        return level

    @override
    def inputs(self, phases: FloatArray) -> FloatArray:
        return wrap(self._converted(phases)) if self._options.where == "inputs" else phases

    @override
    def nudge(self, field: ComplexArray) -> ComplexArray:
        if self._options.where != "nudge":
            return field
        turned: ComplexArray = np.abs(field) * np.exp(1j * self._converted(np.angle(field)))
        return turned

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        if not self.changes_reads:
            return phases
        if self._options.dither == "uniform":
            phases += self._step * self.rng.uniform(-0.5, 0.5, phases.shape)
        return self._converted(phases)

    @override
    def truth(self) -> Draws:
        return {}
