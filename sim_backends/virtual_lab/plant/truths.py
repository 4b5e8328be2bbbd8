"""The hidden truths of a simulated rig, drawn once around its nominal figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray
from eqp_hw.randomness import RandomStreams
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Channel, Rig, parse_channels

__all__ = ["Truths", "draw_truths"]


@final
@dataclass(frozen=True, eq=False)
class Truths:
    """What a calibration would have to find out.

    Attributes
    ----------
    figures
        True values in the arrays of a calibration.
    reciprocity
        (n_edges,) ln(J_ij/J_ji) of each bond.
    dead
        Source and detector channels that do nothing.
    """

    figures: RigCalibration
    reciprocity: FloatArray
    dead: frozenset[Channel]


def draw_truths(rig: Rig, seed: int) -> Truths:
    """Draw truths from ``[virtual_lab]`` of the rig file; without spreads the nominal figures.

    Seed 0 stands for the rig as its data sheets have it: its spreads are not drawn. (Noise,
    bits, thermal times and dead channels are there all the same.)

    Relative spreads are log-normal, so that no resistance or power is ever negative. Every
    figure has a random stream of its own: another spread changes no other figure.

    Raises
    ------
    ConfigurationError
        A dead channel that is wired nowhere.
    """
    table, nominal = rig.settings.virtual_lab, nominal_calibration(rig)
    streams = RandomStreams(seed)

    def normal(purpose: str, shape: tuple[int, ...], deviation: float) -> FloatArray:
        drawn = deviation * streams.generator(f"truth: {purpose}").standard_normal(shape)
        return drawn if seed else np.zeros(shape)

    def relative(purpose: str, values: FloatArray, deviation: float) -> FloatArray:
        scaled: FloatArray = values * np.exp(normal(purpose, values.shape, deviation))
        return scaled

    crosstalk = relative("crosstalk", nominal.crosstalk, table.crosstalk_spread)
    np.fill_diagonal(crosstalk, 1.0)
    n_free = len(rig.network.free)
    offsets = nominal.readout_offset_V
    figures = replace(
        nominal,
        half_wave_power_W=relative(
            "half-wave power", nominal.half_wave_power_W, table.half_wave_power_spread
        ),
        resistance_ohm=relative("resistance", nominal.resistance_ohm, table.resistance_spread),
        phase_offset=nominal.phase_offset
        + normal("phase offset", nominal.phase_offset.shape, table.phase_offset_spread),
        crosstalk=crosstalk,
        coupling_maximum=relative("coupling", nominal.coupling_maximum, table.coupling_spread),
        bias_maximum=relative("bias", nominal.bias_maximum, table.coupling_spread),
        nudge_maximum=relative("nudge", nominal.nudge_maximum, table.coupling_spread),
        readout_amplitude_V=relative(
            "detector amplitude", nominal.readout_amplitude_V, table.splitting_imbalance
        ),
        readout_offset_V=offsets
        + normal("detector offset", offsets.shape, table.detector_offset_V),
        quadrature_error=nominal.quadrature_error
        + normal("quadrature error", (n_free,), table.quadrature_error),
        source=f"truth of seed {seed}",
    )
    n_edges = len(rig.network.edges)
    return Truths(figures, normal("reciprocity", (n_edges,), table.reciprocity_error), _dead(rig))


def _dead(rig: Rig) -> frozenset[Channel]:
    field = "virtual_lab.dead_channels"
    dead = parse_channels(rig.settings.virtual_lab.dead_channels, field)
    wired = {*rig.wiring.heaters, *rig.wiring.detectors}
    for channel in dead:
        if channel not in wired:
            raise ConfigurationError(
                "drives no phase shifter and reads no detector",
                field=field,
                value=str(channel),
                allowed="channels of [wiring] and [readout]",
            )
    return frozenset(dead)
