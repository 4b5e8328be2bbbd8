"""The substrate kind "twin": a calibrated rig, rehearsed on the emulator."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, final

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import override

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.randomness import RandomStreams
from eqp_hw.registry import SubstrateFactory
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration, refuse_incomplete
from eqp_hw.rig.calibrations import NOMINAL, calibration_tools
from eqp_hw.rig.load import Rig, load_rig
from eqp_hw.rig.matching import refuse_other_network
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.imperfections.drift import DriftOptions
from eqp_hw.sim_backends.imperfections.interface import (
    Damage,
    Imperfection,
    ImperfectionOptions,
    Setup,
)
from eqp_hw.sim_backends.imperfections.readout import PhaseBitsOptions, ReadoutNoiseOptions
from eqp_hw.sim_backends.imperfections.settling import Clock
from eqp_hw.sim_backends.imperfections.substrate import ImperfectSubstrate
from eqp_hw.validation import STRICT, validated

from .errors import StatedErrors
from .heaters import Heaters
from .known import SourceSteps, twin_capabilities
from .sources import drives_of
from .substrate import TwinSubstrate

__all__ = ["TwinFactory", "TwinOptions", "make_twin"]

_log = logging.getLogger("eqp_hw.sim_backends.twin")

DRIFT = "drift_walk"
"""Figure of a step: (n_free,) random walk of phases as read at constant drives, rad/√s."""


@final
class TwinOptions(BaseModel):
    """Options of ``[substrate] kind = "twin"``."""

    model_config = STRICT

    file: str = Field(description="the rig file (TOML)")
    calibration: str | None = Field(
        None, description='a calibration file, "latest" or "nominal", in place of the rig file\'s'
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="seed of the errors drawn; by default they follow the run's seed"
    )


def make_twin(
    rig: Rig,
    known: RigCalibration,
    uncertainties: Mapping[str, FloatArray] | None = None,
    further: Mapping[str, FloatArray] | None = None,
    *,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
) -> TwinSubstrate:
    """Return the emulator behind what is known of a rig.

    Parameters
    ----------
    rig
        Graph, wiring, limits, read-out.
    known
        Its calibration.
    uncertainties, further
        As of `MeasuredCalibration`.
    seed
        Of the errors drawn, and of noise.
    record
        Where the calibration comes from, for run files.

    Raises
    ------
    ConfigurationError
        The calibration has not all figures.
    """
    refuse_incomplete(rig, known)
    drives = drives_of(rig, known)
    able, heaters = twin_capabilities(rig, known, drives), Heaters(rig, known, drives)
    inner = XYEmulator(rig.network, EmulatorOptions(nudge_sites="outputs", threads=1))
    streams, damage, counts = RandomStreams(seed), Damage(), dict[str, int]()

    def setup(kind: str) -> Setup:
        counts[kind] = counts.get(kind, -1) + 1
        address = kind, counts[kind]
        return Setup("substrate.twin", rig.network, inner.capabilities, streams, address, damage)

    errors = StatedErrors(setup("twin"), heaters, known, uncertainties or {}, further or {})
    # The converter comes first on the write path, the network's own errors follow; on the read
    # path the detectors' errors come before noise and conversion.
    imperfections: list[Imperfection] = [
        SourceSteps(setup("source-steps"), heaters, known, able),
        errors,
    ]
    for options in _of_readout(rig, known, further or {}):
        imperfections.append(options.make(setup(options.kind)))
    typical_s = rig.settings.settle.typical_s
    clock = Clock() if typical_s is None else Clock(typical_s, known=True)
    return TwinSubstrate(
        ImperfectSubstrate(inner, imperfections, rig.network, clock),
        rig.settings.rig.name,
        interleave=rig.settings.readout.interleave,
        record=record,
    )


def _of_readout(
    rig: Rig, known: RigCalibration, further: Mapping[str, FloatArray]
) -> Sequence[ImperfectionOptions]:
    found: list[ImperfectionOptions] = []
    walk = np.abs(further.get(DRIFT, np.zeros(1)))
    rate = float(np.sqrt(np.nanmean(walk**2)))
    if rate > 0:
        found.append(DriftOptions(kind="drift", seed=None, shape="random-walk", rate=rate))
    if known.readout_noise > 0:
        found.append(
            ReadoutNoiseOptions(kind="readout-noise", seed=None, sigma=known.readout_noise)
        )
    if rig.settings.readout.bits is not None:
        found.append(PhaseBitsOptions(kind="phase-bits", seed=None, bits=rig.settings.readout.bits))
    return found


@final
class TwinFactory(SubstrateFactory):
    """Rehearses a rig; opens no instrument."""

    description: ClassVar[str] = "rehearsal of a calibrated rig on the emulator, no instruments"

    @override
    def options(self) -> Mapping[str, str]:
        return {k: info.description or "" for k, info in TwinOptions.model_fields.items()}

    @override
    def create(self, network: Network, options: Mapping[str, object]) -> TwinSubstrate:
        return self.create_seeded(network, options, 0)

    @override
    def create_seeded(
        self, network: Network, options: Mapping[str, object], seed: int
    ) -> TwinSubstrate:
        chosen = validated(TwinOptions, options, field="substrate")
        rig = load_rig(chosen.file)
        refuse_other_network(rig, network)
        if chosen.calibration is not None:
            rig = rig.with_calibration(chosen.calibration)
        seed = seed if chosen.seed is None else chosen.seed
        if rig.settings.calibration.file in (None, NOMINAL):
            _log.warning(
                "rehearsal at the nominal figures of %s, as if they were exact", chosen.file
            )
            return make_twin(rig, nominal_calibration(rig), seed=seed)
        found = calibration_tools().load(rig, None)
        rig, _ = rig.with_recommended(found.recommended)
        _log.info("rehearsal with the calibration %s", found.path)
        return make_twin(
            rig,
            found.calibration,
            found.uncertainties,
            found.further,
            seed=seed,
            record=found.record(),
        )
