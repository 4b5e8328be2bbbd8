"""The substrate kind "twin": a calibrated rig, rehearsed on the emulator."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, final

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
from eqp_hw.sim_backends.imperfections.interface import Damage, Imperfection, Setup
from eqp_hw.sim_backends.imperfections.readout import PhaseBitsOptions
from eqp_hw.sim_backends.imperfections.settling import Clock
from eqp_hw.sim_backends.imperfections.substrate import ImperfectSubstrate
from eqp_hw.validation import STRICT, validated

from .chain import Chain
from .detectors import DetectorErrors, MeasuredNoise, read_noise
from .errors import drawn_rig, log_reciprocity
from .faults import dead_heaters, refuse_faults
from .known import twin_capabilities
from .optics import TrueOptics
from .sensitivity import offset_walk
from .sources import drives_of
from .substrate import TwinSubstrate
from .unmeasured import standard_errors
from .walk import OffsetWalk

__all__ = ["TwinFactory", "TwinOptions", "make_twin"]

_log = logging.getLogger("eqp_hw.sim_backends.twin")


@final
class TwinOptions(BaseModel):
    """Options of ``[substrate] kind = "twin"``."""

    model_config = STRICT

    file: str = Field(description="the rig file (TOML)")
    calibration: str | None = Field(
        None, description='a calibration file, "latest" or "nominal", in place of the rig file\'s'
    )
    faults: Literal["refuse", "accept"] = Field(
        "refuse",
        description='a calibration that has found something broken: "refuse" it, or "accept" '
        "it (docs/fidelity.md says what of it the twin has)",
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
    further = further or {}
    drives, streams, damage = drives_of(rig, known), RandomStreams(seed), Damage()
    errors = standard_errors(rig, known, uncertainties or {})
    drawn = drawn_rig(known, errors, streams)
    log_ratio = log_reciprocity(further, known.coupling_maximum[rig.network.coupling_group])
    n = len(rig.wiring.heaters)
    optics = TrueOptics(rig, drawn, log_ratio, dead_heaters(n, further))
    emulator = XYEmulator(optics.network, EmulatorOptions(threads=1))

    def setup(kind: str) -> Setup:
        able = emulator.capabilities
        return Setup("substrate.twin", emulator.network, able, streams, (kind, 0), damage)

    detectors = DetectorErrors(setup("detectors"), known, drawn)
    read_path: list[Imperfection] = [detectors]
    noise = read_noise(rig, known, further)
    if noise.white.any() or noise.floor.any():
        read_path.append(MeasuredNoise(setup("measured-noise"), noise))
    if rig.settings.readout.bits is not None:
        bits = PhaseBitsOptions(kind="phase-bits", seed=None, bits=rig.settings.readout.bits)
        read_path.append(bits.make(setup("phase-bits")))
    typical_s = rig.settings.settle.typical_s
    clock = Clock() if typical_s is None else Clock(typical_s, known=True)
    return TwinSubstrate(
        ImperfectSubstrate(emulator, read_path, None, clock),
        rig,
        known,
        drawn,
        chain=Chain(rig, known, drives),
        optics=optics,
        walk=OffsetWalk(n, offset_walk(rig, known, optics, further), streams),
        detectors=detectors,
        capabilities=twin_capabilities(rig, known, drives),
        settle_s=clock.settle_s,
        record=record,
    )


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
        refuse_faults(found, accept=chosen.faults == "accept")
        rig, _ = rig.with_recommended(found.recommended)
        _log.info(
            "rehearsal of the rig %r with the calibration %s, measured %s",
            rig.settings.rig.name,
            found.path,
            found.measured.isoformat(timespec="seconds"),
        )
        return make_twin(
            rig,
            found.calibration,
            found.uncertainties,
            found.further,
            seed=seed,
            record=found.record(),
        )
