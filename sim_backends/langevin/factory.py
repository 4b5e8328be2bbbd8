"""Makes the Langevin substrate from the ``[substrate]`` table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from typing_extensions import override

from eqp_hw.network.graph import Network
from eqp_hw.registry import SubstrateFactory
from eqp_hw.validation import validated

from .options import LangevinOptions
from .substrate import LangevinSubstrate

__all__ = ["LangevinFactory"]


@final
class LangevinFactory(SubstrateFactory):
    """Makes `LangevinSubstrate` from the ``[substrate]`` table."""

    description = "XY network in thermal motion, or settling for a finite time, on this computer"

    @override
    def options(self) -> Mapping[str, str]:
        fields = LangevinOptions.model_fields
        return {name: f"default {info.default!r}" for name, info in fields.items()}

    @override
    def create(self, network: Network, options: Mapping[str, object]) -> LangevinSubstrate:
        return self.create_seeded(network, options, 0)

    @override
    def create_seeded(
        self, network: Network, options: Mapping[str, object], seed: int
    ) -> LangevinSubstrate:
        checked = validated(LangevinOptions, options, field="substrate").checked()
        return LangevinSubstrate(network, checked, noise_seed=seed)
