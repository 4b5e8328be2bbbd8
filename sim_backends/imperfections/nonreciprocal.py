"""Couplings that act differently in the two directions."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.network.graph import FloatArray

from .interface import (
    Draws,
    Imperfection,
    ImperfectionOptions,
    Magnitude,
    Setup,
    Signal,
    option,
)

__all__ = ["NonreciprocityOptions"]


@final
class NonreciprocityOptions(ImperfectionOptions):
    """``kind = "nonreciprocity"``: J_ij = J + a, J_ji = J − a, and phase lags (ep_methods §3)."""

    description = "antisymmetric part of the couplings (J + a, J − a) and phase lags, hidden"

    relative: Magnitude = option(
        0.0, "standard deviation of a as a share of the rms of all couplings"
    )
    absolute: Magnitude = option(0.0, "standard deviation of a, in units of couplings")
    phase_lag_mean: float = option(0.0, "mean lag of couplings, the same in both directions, rad")
    phase_lag_spread: Magnitude = option(
        0.0, "standard deviation of the lags about it, drawn for each direction apart, rad"
    )

    @property
    def antisymmetric(self) -> bool:
        """Whether J_ij and J_ji differ."""
        return self.relative > 0 or self.absolute > 0

    @property
    def lagging(self) -> bool:
        """Whether there are phase lags."""
        return self.phase_lag_mean != 0 or self.phase_lag_spread > 0

    @property
    @override
    def per_bond(self) -> bool:
        return self.antisymmetric

    @override
    def make(self, setup: Setup) -> Imperfection:
        able = setup.capabilities
        if self.antisymmetric and not able.directed_couplings:
            name = "relative" if self.relative else "absolute"
            raise setup.refuse(
                "the substrate's couplings act the same both ways",
                name,
                getattr(self, name),
                "0, or a substrate with directed couplings",
            )
        if self.lagging and not able.coupling_lag:
            name = "phase_lag_mean" if self.phase_lag_mean else "phase_lag_spread"
            raise setup.refuse(
                "the substrate cannot give its couplings a phase lag",
                name,
                getattr(self, name),
                "0, or a substrate that can (emulators)",
            )
        return _Nonreciprocity(setup, self)


@final
class _Nonreciprocity(Imperfection):
    def __init__(self, setup: Setup, options: NonreciprocityOptions) -> None:
        super().__init__(setup)
        self._options = options
        rng, n = setup.generator("static"), setup.network.n_edges
        self._relative = options.relative * rng.standard_normal(n)
        self._absolute = options.absolute * rng.standard_normal(n)
        self._lag = options.phase_lag_mean + options.phase_lag_spread * rng.standard_normal((n, 2))

    @override
    def capabilities(self, inner: Capabilities) -> Capabilities:
        if not (self._options.antisymmetric or self._options.lagging):
            return inner
        # Analytic continuation needs an energy.
        return dataclasses.replace(inner, complex_nudge=False)

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        if not self._options.antisymmetric:
            return signal
        scale = np.sqrt((signal.forward**2 + signal.reverse**2).mean() / 2)
        a = self._relative * scale + self._absolute
        return signal.with_couplings(signal.forward + a, signal.reverse - a)

    @override
    def coupling_lag(self) -> FloatArray | None:
        return self._lag if self._options.lagging else None

    @override
    def truth(self) -> Draws:
        return {"relative": self._relative, "absolute": self._absolute, "lag": self._lag}
