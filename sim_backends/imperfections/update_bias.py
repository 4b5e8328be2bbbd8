"""A constant skew between the two channels that nudged states are read on."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from eqp_hw.network.graph import FloatArray

from .interface import (
    Draws,
    Imperfection,
    ImperfectionOptions,
    Magnitude,
    RawReads,
    Setup,
    option,
)

__all__ = ["UpdateBiasOptions"]


@final
class UpdateBiasOptions(ImperfectionOptions):
    """``kind = "update-bias"``: nudged reads alternate between channels at ± half a skew.

    A contrast of two nudged states thus has a constant error, which the same contrast at
    β = 0 shows alone (null contrast). Free reads are between the channels.
    """

    description = "constant skew between the channels that nudged reads alternate between, hidden"

    sigma: Magnitude = option(
        0.0, "standard deviation over nodes of the difference of the channels, rad"
    )

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _UpdateBias(setup, self)


@final
class _UpdateBias(Imperfection):
    def __init__(self, setup: Setup, options: UpdateBiasOptions) -> None:
        super().__init__(setup)
        rng = setup.generator("static")
        self._skew = options.sigma * rng.standard_normal(setup.network.n_nodes)

    @property
    @override
    def imaginary_noise(self) -> float | None:
        return 0.0

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        phases += 0.5 * reads.channel * self._skew
        return phases

    @override
    def truth(self) -> Draws:
        return {"skew": self._skew}
