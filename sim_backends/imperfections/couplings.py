"""Converters and ranges of couplings and bias fields, and their static disorder."""

from __future__ import annotations

import dataclasses
from typing import Annotated, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError, ParameterError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .interface import (
    Count,
    Draws,
    Imperfection,
    ImperfectionOptions,
    Magnitude,
    Setup,
    Signal,
    option,
)

__all__ = ["BiasBitsOptions", "CouplingBitsOptions", "CouplingDisorderOptions"]

_ROUNDING = 1e-12


@final
class CouplingBitsOptions(ImperfectionOptions):
    """``kind = "coupling-bits"``: range of the couplings, and levels within it."""

    description = "range of the couplings, out of which they are refused, and levels within it"

    low: float = option(-1.0, "lowest coupling")
    high: float = option(1.0, "highest coupling")
    bits: Count | None = option(
        None, "resolution: 2^bits levels, both ends among them (1 to 32); left out: a continuum"
    )

    @property
    @override
    def only_one_of(self) -> str | None:
        return "converter of couplings"

    @override
    def check(self, field: str) -> None:
        if self.low >= self.high:
            raise ConfigurationError(
                "the range of couplings is empty",
                field=f"{field}.high",
                value=self.high,
                allowed=f"> low = {self.low:g}",
            )

    @override
    def make(self, setup: Setup) -> Imperfection:
        low, high = setup.capabilities.coupling_range
        if max(low, self.low) >= min(high, self.high):
            raise setup.refuse(
                "no coupling lies within this range and that of the substrate",
                "low",
                self.low,
                f"a range that overlaps {low:g} to {high:g}",
            )
        if self.bits is not None:
            self._refuse_levels_out_of_reach(setup, low, high)
        return _CouplingBits(setup, self)

    def _refuse_levels_out_of_reach(self, setup: Setup, low: float, high: float) -> None:
        """Refuse levels that the substrate inside cannot make.

        The levels that are left would be no whole range of 2^bits of them: `Capabilities` could
        not say where they are, and stochastic rounding would go to others.
        """
        slack = _ROUNDING * (self.high - self.low)
        for name, value, beyond in (
            ("low", self.low, self.low < low - slack),
            ("high", self.high, self.high > high + slack),
        ):
            if beyond:
                raise setup.refuse(
                    "the converter's levels go beyond the range of the substrate",
                    name,
                    value,
                    f"{low:g} to {high:g}, or no bits",
                )


@final
class _CouplingBits(Imperfection):
    known = True

    def __init__(self, setup: Setup, options: CouplingBitsOptions) -> None:
        super().__init__(setup)
        self._options = options

    @override
    def capabilities(self, inner: Capabilities) -> Capabilities:
        low, high = inner.coupling_range
        within = max(low, self._options.low), min(high, self._options.high)
        bits = [b for b in (_bits_within(inner, *within), self._options.bits) if b is not None]
        return dataclasses.replace(
            inner, coupling_range=within, coupling_bits=min(bits, default=None)
        )

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        if asked:
            group = self._setup.network.coupling_group
            for name, values in (
                ("coupling", signal.forward),
                ("coupling_reverse", signal.reverse),
            ):
                self._refuse(name, values, group)
        return signal.with_couplings(
            self._converted(signal.forward), self._converted(signal.reverse)
        )

    def _refuse(self, name: str, values: FloatArray, group: np.ndarray) -> None:
        low, high = self._options.low, self._options.high
        slack = _ROUNDING * (high - low)
        wrong = np.flatnonzero((values < low - slack) | (values > high + slack))
        if len(wrong):
            raise ParameterError(
                "outside the range of couplings",
                field=f"{name}[{group[wrong[0]]}]",
                value=float(values[wrong[0]]),
                allowed=f"{low:g} to {high:g}",
            )

    def _converted(self, values: FloatArray) -> FloatArray:
        low, high, bits = self._options.low, self._options.high, self._options.bits
        inside = np.clip(values, low, high)
        if bits is None:
            return inside
        steps = 2**bits - 1
        # Written so that both ends of the range come out exactly.
        share = np.rint((inside - low) / (high - low) * steps) / steps
        level: FloatArray = low * (1 - share) + high * share
        return level

    @override
    def truth(self) -> Draws:
        return {}


def _bits_within(inner: Capabilities, low: float, high: float) -> int | None:
    """Return the bits over a part of the range whose steps are no finer than those over all."""
    if inner.coupling_bits is None:
        return None
    first, last = inner.coupling_range
    if not np.isfinite(last - first):
        return inner.coupling_bits
    levels = (high - low) / (last - first) * (2**inner.coupling_bits - 1) + 1
    return max(1, int(np.floor(np.log2(levels) + _ROUNDING)))


@final
class BiasBitsOptions(ImperfectionOptions):
    """``kind = "bias-bits"``: range of bias fields, and levels within it."""

    description = "largest Re and Im of bias fields, beyond which they are refused, and levels"

    maximum: Annotated[float, Field(gt=0)] = option(1.0, "largest |Re b| and |Im b|")
    bits: Annotated[int, Field(ge=2, le=32)] | None = option(
        None,
        "resolution of Re and Im, sign included: 2^bits − 1 levels, 0 among them (2 to 32); "
        "left out: a continuum",
    )

    @property
    @override
    def only_one_of(self) -> str | None:
        return "converter of bias fields"

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _BiasBits(setup, self)


@final
class _BiasBits(Imperfection):
    known = True

    def __init__(self, setup: Setup, options: BiasBitsOptions) -> None:
        super().__init__(setup)
        self._options = options

    @override
    def capabilities(self, inner: Capabilities) -> Capabilities:
        most = min(inner.bias_maximum, self._options.maximum)
        return dataclasses.replace(inner, bias_maximum=most)

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        limit = self._options.maximum
        largest = np.maximum(np.abs(signal.bias.real), np.abs(signal.bias.imag))
        wrong = np.flatnonzero(largest > limit * (1 + _ROUNDING))
        if asked and len(wrong):
            raise ParameterError(
                "outside the range of bias fields",
                field=f"bias[{wrong[0]}]",
                value=complex(signal.bias[wrong[0]]),
                allowed=f"real and imaginary part from {-limit:g} to {limit:g}",
            )
        return signal.with_bias(
            self._converted(signal.bias.real) + 1j * self._converted(signal.bias.imag)
        )

    def _converted(self, values: FloatArray) -> FloatArray:
        limit, bits = self._options.maximum, self._options.bits
        inside: FloatArray = np.clip(values, -limit, limit)
        if bits is None:
            return inside
        steps = 2 ** (bits - 1) - 1
        level: FloatArray = np.rint(inside / limit * steps) / steps * limit
        return level

    @override
    def truth(self) -> Draws:
        return {}


@final
class CouplingDisorderOptions(ImperfectionOptions):
    """``kind = "coupling-disorder"``: J' = J(1 + relative·ξ) + absolute·ξ', b likewise."""

    description = "static hidden errors: J' = J(1 + relative·ξ) + absolute·ξ', bias likewise"

    relative: Magnitude = option(0.0, "standard deviation of the relative error of couplings")
    absolute: Magnitude = option(0.0, "standard deviation of the additive error of couplings")
    bias_relative: Magnitude = option(
        0.0, "standard deviation of the relative error of bias amplitudes"
    )
    bias_absolute: Magnitude = option(
        0.0, "standard deviation of the additive error of Re b and Im b"
    )

    @property
    @override
    def per_bond(self) -> bool:
        return self.relative > 0 or self.absolute > 0

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _CouplingDisorder(setup, self)


@final
class _CouplingDisorder(Imperfection):
    """One coupler makes J_ij and J_ji: both have the same error."""

    def __init__(self, setup: Setup, options: CouplingDisorderOptions) -> None:
        super().__init__(setup)
        rng, network = setup.generator("static"), setup.network
        self._factor = 1 + options.relative * rng.standard_normal(network.n_edges)
        self._offset = options.absolute * rng.standard_normal(network.n_edges)
        self._bias_factor = 1 + options.bias_relative * rng.standard_normal(network.n_nodes)
        self._bias_offset: ComplexArray = np.zeros(network.n_nodes, dtype=np.complex128)
        if options.bias_absolute:
            noise = setup.bias_noise(rng, "bias_absolute", options.bias_absolute)
            self._bias_offset = options.bias_absolute * noise

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        return signal.with_couplings(
            signal.forward * self._factor + self._offset,
            signal.reverse * self._factor + self._offset,
        ).with_bias(signal.bias * self._bias_factor + self._bias_offset)

    @override
    def truth(self) -> Draws:
        return {
            "factor": self._factor,
            "offset": self._offset,
            "bias_factor": self._bias_factor,
            "bias_offset": self._bias_offset,
        }
