"""What ``rig.toml`` may say: one class a table, one field a key.

A rig is a set of instruments, the wiring of the network's couplings, bias fields, inputs and
nudges to their channels, a read-out, limits, a settle policy and a calibration. A channel is
written ``"name:number"``, a run of channels ``"name:first-last"``, both ends included.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CalibrationSettings",
    "InstrumentSettings",
    "LimitSettings",
    "ReadoutSettings",
    "RigHeader",
    "RigNetworkSettings",
    "RigSettings",
    "SettleSettings",
    "VirtualLabSettings",
    "WiringSettings",
]

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
_OPEN = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Channels = list[str]
ADDRESS = r"^(serial|tcp|visa):.+"


class _Table(BaseModel):
    model_config = _STRICT


class _OpenTable(BaseModel):
    model_config = _OPEN

    @property
    def options(self) -> dict[str, Any]:
        """The keys that the table itself does not know."""
        return dict(self.model_extra or {})


@final
class RigHeader(_Table):
    """``[rig]``."""

    name: str
    description: str = ""


@final
class RigNetworkSettings(_OpenTable):
    """``[network]``: the graph that the hardware is; ``kind`` and options of a builder.

    An experiment that runs on the rig must have the same nodes, roles and bonds.
    """

    kind: str


@final
class LimitSettings(_Table):
    """``[instruments.NAME.limits]``: refused before the first byte; never clipped to."""

    voltage_V: Positive | None = None
    """Largest drive of a channel; the instrument's own full scale where left out."""
    current_A: Positive | None = None
    """Largest current of a channel, programmed as compliance where the instrument can."""
    power_W: Positive | None = None
    """Largest electrical power of a channel, from the calibrated resistance."""
    total_power_W: Positive | None = None
    """Largest sum over the instrument."""
    slew_V_per_s: Positive | None = None
    """Fastest change of a channel; a larger step goes out as a ramp."""


@final
class InstrumentSettings(_OpenTable):
    """``[instruments.NAME]``: one instrument; further keys are options of its kind."""

    kind: str
    """Name of a driver: ``eqp-hw list instruments``."""
    address: Annotated[
        str, Field(pattern=ADDRESS, description="serial:PORT, tcp:HOST:PORT, visa:RESOURCE")
    ]
    """``serial:/dev/ttyUSB0``, ``tcp:host:5025`` or ``visa:RESOURCE``."""
    identity: str | None = None
    """What the identity answer must contain; refused else, before anything is written."""
    timeout_s: Positive = 2.0
    baud_rate: Count | None = None
    """Speed of a serial line; that of the kind (115200) where left out."""
    limits: LimitSettings = LimitSettings()


@final
class WiringSettings(_Table):
    """``[wiring]``: which source channel drives which phase shifter.

    Every list has one channel for each element, in the network's order: couplings in the order
    of the parameter groups, bias fields in that of the free nodes, inputs and nudge nodes in
    that of the inputs and outputs.
    """

    couplings: Channels
    inputs: Channels
    bias_amplitude: Channels = []
    bias_phase: Channels = []
    nudge_amplitude: Channels
    nudge_phase: Channels
    gain_switch: str | None = None
    """Channel that switches the oscillators off and on: they start with fresh random phases."""
    gain_off_V: Positive = 3.0
    """Drive of the gain switch that turns the oscillators off; 0 V turns them on."""


@final
class ReadoutSettings(_Table):
    """``[readout]``: how phases of the free nodes are seen, in the order of the free nodes."""

    kind: Literal["iq", "n-step"] = "iq"
    in_phase: Channels = []
    """Detector channels of cos φ ("iq")."""
    quadrature: Channels = []
    """Detector channels of sin φ ("iq")."""
    intensity: Channels = []
    """Detector channels of the interference signal ("n-step")."""
    step_shifter: str | None = None
    """Source channel of the reference arm's phase shifter ("n-step")."""
    steps: Annotated[int, Field(ge=3)] = 4
    samples: Count = 1
    """Conversions averaged for one read."""
    bits: Annotated[int, Field(ge=4, le=32)] | None = None
    """Resolution of one phase read over 2π, as stated to the controller; None: fine enough."""
    interleave: bool = False
    """Nudges of one estimate are measured to and fro (+ − − +), which cancels linear drift."""


@final
class SettleSettings(_Table):
    """``[settle]``: settled is what no longer moves, not what has waited long enough."""

    tolerance: Positive = 0.01
    """Largest phase change between successive looks, rad (beside the read-out's noise)."""
    agreeing: Annotated[int, Field(ge=2)] = 2
    """Successive looks that must agree; more of them where the read-out is noisy."""
    timeout_s: Positive = 2.0
    return_tolerance: Positive = 0.1
    """Phases within it of the stored ones are back in the same basin, rad (beside the noise)."""
    typical_s: Positive | None = None
    """Time to rest after a change, which is waited at least, and stated to the controller; by
    default what a measured calibration recommends."""


@final
class CalibrationSettings(_Table):
    """``[calibration]``: nominal figures of the data sheets, or a measured file.

    A heater of resistance R under voltage V dissipates P = V²/R. The phase of shifter i is
    θ_i = phase_offset + π/half_wave_power · Σ_j X_ij P_j, with X_ii = 1 and the crosstalk of
    neighbours off the diagonal. Elements over it: a coupler has J = coupling_maximum · cos θ; an
    injection amplitude is maximum · sin(θ/2); an injection phase and an input phase are θ.
    Detectors: V_I = readout_offset_V + readout_amplitude_V · cos φ, V_Q likewise with sin φ.
    """

    file: str | None = None
    """Measured calibration that replaces the nominal figures: a path, "latest" or "nominal"."""
    folder: str = "calibrations"
    """Where calibrations are kept and "latest" is looked for; from the rig file's folder."""
    max_age_h: Positive | None = None
    """A measured calibration whose oldest step is older is refused."""
    max_drift: Positive | None = None
    """One whose phases have drifted farther by now is refused, rad; by the drift it measured."""
    half_wave_power_W: Positive = 0.025
    resistance_ohm: Positive = 500.0
    phase_offset: float = 0.0
    crosstalk: list[NonNegative] = []
    """X of channels of one instrument that are 1, 2, … channel numbers apart."""
    coupling_maximum: Positive = 3.0
    bias_maximum: Positive = 3.0
    nudge_maximum: Positive = 0.5
    readout_amplitude_V: Positive = 1.0
    readout_offset_V: float = 0.0
    readout_noise: NonNegative = 0.0
    """Standard deviation of one phase read, rad, as stated to the controller."""


@final
class VirtualLabSettings(_Table):
    """``[virtual_lab]``: hidden truths of the simulated twin; all zero is the ideal rig.

    Spreads are relative standard deviations (rad, V where the name says so) around the
    calibration's nominal figures, drawn once from the truth seed.
    """

    half_wave_power_spread: NonNegative = 0.0
    resistance_spread: NonNegative = 0.0
    phase_offset_spread: NonNegative = 0.0
    crosstalk_spread: NonNegative = 0.0
    coupling_spread: NonNegative = 0.0
    reciprocity_error: NonNegative = 0.0
    """Relative standard deviation of J_ij/J_ji − 1."""
    splitting_imbalance: NonNegative = 0.0
    """Relative spread of detector amplitudes."""
    quadrature_error: NonNegative = 0.0
    """Standard deviation of the angle by which I and Q miss 90°, rad."""
    detector_offset_V: NonNegative = 0.0
    detector_noise_V: NonNegative = 0.0
    """Of one conversion."""
    detector_bits: Annotated[int, Field(ge=4, le=32)] | None = None
    detector_range_V: Positive = 2.0
    source_bits: Annotated[int, Field(ge=4, le=32)] | None = 16
    thermal_time_s: NonNegative = 1e-3
    drift_per_sqrt_s: NonNegative = 0.0
    """Random walk of every shifter's offset, rad/√s."""
    dead_channels: list[str] = []
    clock: Literal["real", "transaction"] = "transaction"
    """"transaction": each transaction advances the plant's time by what it would take."""
    speed: Positive = 1.0
    """Multiple of real time (clock "real")."""


@final
class RigSettings(_Table):
    """A whole ``rig.toml``."""

    rig: RigHeader
    network: RigNetworkSettings
    instruments: dict[str, InstrumentSettings]
    wiring: WiringSettings
    readout: ReadoutSettings
    settle: SettleSettings = SettleSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    virtual_lab: VirtualLabSettings = VirtualLabSettings()
