"""What a rig itself knows of what it makes: its ranges, and what it refuses."""

from __future__ import annotations

import math

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ParameterError
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .sources import Drives

__all__ = ["refuse_out_of_range", "twin_capabilities"]


def twin_capabilities(rig: Rig, known: RigCalibration, drives: Drives) -> Capabilities:
    """Return what the rig would state, so that the same experiments run on its twin."""
    able = len(rig.wiring.bias_amplitude) > 0
    highest = float(known.coupling_maximum.min())
    error_W = (drives.highest_V + drives.step_V / 4) * drives.step_V / known.resistance_ohm
    phase_error = np.pi / known.half_wave_power_W * (np.abs(known.crosstalk) @ error_W)
    step = float((known.coupling_maximum * phase_error[: len(known.coupling_maximum)]).max())
    return Capabilities(
        nudge_nodes=tuple(int(node) for node in rig.network.outputs),
        batch_limit=1,
        nudge_maximum=float(known.nudge_maximum.min()),
        state_restore=able,
        coupling_range=(-highest, highest),
        coupling_bits=max(1, math.floor(math.log2(2 * highest / step + 1))),
        bias_control="complex" if able else "none",
        bias_maximum=float(known.bias_maximum.min()) if able else math.inf,
        readout_bits=rig.settings.readout.bits,
        readout_noise=known.readout_noise,
        settle_s=rig.settings.settle.typical_s,
    )


def refuse_out_of_range(network: Network, known: RigCalibration, asked: Parameters) -> None:
    """Refuse what the rig refuses.

    Raises
    ------
    ParameterError
        A coupling that not every coupler can make, or a field beyond its channel.
    """
    highest = float(known.coupling_maximum.min())
    wrong = np.flatnonzero(np.abs(asked.coupling) > highest * (1 + 1e-12))
    if len(wrong):
        raise ParameterError(
            "outside the range of the coupler",
            field=f"coupling[{wrong[0]}]",
            value=float(asked.coupling[wrong[0]]),
            allowed=f"{-highest:.6g} to {highest:.6g}",
        )
    free = network.free
    most = np.broadcast_to(known.bias_maximum if len(known.bias_maximum) else 0.0, free.shape)
    wrong = np.flatnonzero(np.abs(asked.bias[free]) > most)
    if len(wrong):
        node = int(free[wrong[0]])
        raise ParameterError(
            "above what the injection channel can make",
            field=f"bias[{node}]",
            value=complex(asked.bias[node]),
            allowed=f"amplitudes up to {most[wrong[0]]:.6g}",
        )
