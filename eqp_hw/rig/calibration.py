"""What is known of a rig's phase shifters, couplers and detectors, and the formulas on it.

Nominal figures come from ``[calibration]`` of the rig file; a measured calibration fills the
same arrays. The virtual lab holds its hidden truths in an object of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray

from .load import Rig

__all__ = ["RigCalibration", "nominal_calibration", "refuse_incomplete"]


@final
@dataclass(frozen=True, eq=False)
class RigCalibration:
    """Figures of one rig; heaters in the order of `Wiring.heaters`.

    Attributes
    ----------
    half_wave_power_W
        (n_heaters,) P_π: electrical power for a phase of π.
    resistance_ohm
        (n_heaters,) R.
    phase_offset
        (n_heaters,) θ at zero power, rad.
    crosstalk
        (n_heaters, n_heaters) X with unit diagonal:
        θ = phase_offset + π/P_π · (X @ P), row by row.
    coupling_maximum
        (n_couplings,) J at θ = 0.
    bias_maximum
        (n_free,) or empty.
    nudge_maximum
        (n_outputs,).
    readout_amplitude_V, readout_offset_V
        (2, n_free): rows I and Q ("iq"); (1, n_free) for "n-step".
    quadrature_error
        (n_free,) V_Q = offset + amplitude · sin(φ + error), rad.
    readout_noise
        Standard deviation of one phase read, rad.
    source
        Where the figures come from, for records.
    """

    half_wave_power_W: FloatArray
    resistance_ohm: FloatArray
    phase_offset: FloatArray
    crosstalk: FloatArray
    coupling_maximum: FloatArray
    bias_maximum: FloatArray
    nudge_maximum: FloatArray
    readout_amplitude_V: FloatArray
    readout_offset_V: FloatArray
    quadrature_error: FloatArray
    readout_noise: float
    source: str


def nominal_calibration(rig: Rig) -> RigCalibration:
    """Return the calibration that ``[calibration]`` states, the same for every element."""
    table, wiring, network = rig.settings.calibration, rig.wiring, rig.network
    heaters = wiring.heaters
    n, n_free = len(heaters), len(network.free)
    rows = 2 if rig.settings.readout.kind == "iq" else 1
    return RigCalibration(
        half_wave_power_W=np.full(n, table.half_wave_power_W),
        resistance_ohm=np.full(n, table.resistance_ohm),
        phase_offset=np.full(n, table.phase_offset),
        crosstalk=_crosstalk(rig),
        coupling_maximum=np.full(len(wiring.couplings), table.coupling_maximum),
        bias_maximum=np.full(len(wiring.bias_amplitude), table.bias_maximum),
        nudge_maximum=np.full(len(wiring.nudge_amplitude), table.nudge_maximum),
        readout_amplitude_V=np.full((rows, n_free), table.readout_amplitude_V),
        readout_offset_V=np.full((rows, n_free), table.readout_offset_V),
        quadrature_error=np.zeros(n_free),
        readout_noise=table.readout_noise,
        source="nominal figures of the rig file",
    )


def refuse_incomplete(rig: Rig, calibration: RigCalibration) -> None:
    """See that a calibration has finite figures for every element of a rig.

    Raises
    ------
    ConfigurationError
        It has not; names the figure, and the first channel or element without one.
    """
    wanted = nominal_calibration(rig)
    for item in dataclasses.fields(RigCalibration):
        have, want = getattr(calibration, item.name), getattr(wanted, item.name)
        if isinstance(want, str):
            continue
        if np.shape(have) != np.shape(want):
            raise ConfigurationError(
                f"figures of shape {np.shape(have)}: some channels have none",
                field=f"calibration.{item.name}",
                allowed=f"{np.shape(want)} for this wiring",
            )
        missing = np.argwhere(~np.isfinite(have))
        if len(missing):
            row = int(missing[0, 0]) if missing.shape[1] else 0
            per_heater = np.shape(want)[:1] == (len(rig.wiring.heaters),)
            place = f"channel {rig.wiring.heaters[row]}" if per_heater else f"element {row}"
            raise ConfigurationError(
                f"there is no figure of {place}",
                field=f"calibration.{item.name}",
                allowed="finite figures for all that is wired",
            )


def _crosstalk(rig: Rig) -> FloatArray:
    heaters, levels = rig.wiring.heaters, rig.settings.calibration.crosstalk
    names = sorted({channel.instrument for channel in heaters})
    chip = np.array([names.index(channel.instrument) for channel in heaters])
    number = np.array([channel.number for channel in heaters])
    apart = np.abs(number[:, None] - number[None, :])
    same = chip[:, None] == chip[None, :]
    crosstalk = np.eye(len(heaters))
    for distance, level in enumerate(levels, start=1):
        crosstalk[same & (apart == distance)] = level
    return crosstalk
