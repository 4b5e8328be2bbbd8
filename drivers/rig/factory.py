"""The substrate kind "rig": instruments of a rig file, or their simulated twin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Annotated, ClassVar, final

from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import Network
from eqp_hw.registry import SubstrateFactory
from eqp_hw.rig.load import Rig, load_rig
from eqp_hw.rig.matching import refuse_other_network
from eqp_hw.rig.virtual_lab import make_virtual_lab
from eqp_hw.validation import STRICT, validated

from .substrate import RigSubstrate

__all__ = ["RigFactory", "RigOptions"]


@final
class RigOptions(BaseModel):
    """Options of ``[substrate] kind = "rig"``."""

    model_config = STRICT

    file: str = Field(description="the rig file (TOML)")
    virtual_lab: bool = Field(False, description="start the rig's simulated twin for the run")
    calibration: str | None = Field(
        None, description='a calibration file, "latest" or "nominal", in place of the rig file\'s'
    )
    truth_seed: Annotated[int, Field(ge=0)] = Field(
        0, description="seed of the twin's hidden truths"
    )


@final
class RigFactory(SubstrateFactory):
    """Opens the instruments of a rig file."""

    description: ClassVar[str] = "instruments of a rig file (real ones, or their simulated twin)"

    @override
    def options(self) -> Mapping[str, str]:
        return {k: info.description or "" for k, info in RigOptions.model_fields.items()}

    @override
    def create(self, network: Network, options: Mapping[str, object]) -> RigSubstrate:
        chosen = validated(RigOptions, options, field="substrate")
        rig = load_rig(chosen.file)
        refuse_other_network(rig, network)
        if chosen.calibration is not None:
            rig = rig.with_calibration(chosen.calibration)
        if not chosen.virtual_lab:
            if chosen.truth_seed:
                raise ConfigurationError(
                    "only a simulated twin has hidden truths to draw",
                    field="substrate.truth_seed",
                    value=chosen.truth_seed,
                    allowed="together with virtual_lab = true",
                )
            with _said_of(rig):
                return RigSubstrate.open(rig)
        with ExitStack() as stack, _said_of(rig):
            lab = stack.enter_context(make_virtual_lab(rig, truth_seed=chosen.truth_seed))
            # The twin ends with this process, whatever ends it: no guardian is needed.
            substrate = RigSubstrate.open(rig.with_addresses(lab.addresses), guarded=False)
            substrate.close_later(stack.pop_all())
        return substrate


@contextmanager
def _said_of(rig: Rig) -> Iterator[None]:
    """Name the rig file, not the experiment's, in what is wrong with the rig's tables."""
    try:
        yield
    except ConfigurationError as error:
        if error.source is None and rig.path:
            error.with_source(rig.path)
        raise
