"""What a rig can do, from its wiring, its calibration and its instruments."""

from __future__ import annotations

import math

from eqp_hw.capabilities import Capabilities
from eqp_hw.rig.load import Rig

from .optics import Optics

__all__ = ["rig_capabilities"]


def rig_capabilities(rig: Rig, optics: Optics) -> Capabilities:
    """Return the capabilities; the coupling's bits follow from the sources' resolution."""
    able_to_pull = len(rig.wiring.bias_amplitude) > 0
    highest = float(optics.coupling_maximum.min())
    step = optics.coupling_error
    return Capabilities(
        nudge_nodes=tuple(int(node) for node in rig.network.outputs),
        batch_limit=1,
        nudge_maximum=float(optics.nudge_maximum.min()),
        state_restore=able_to_pull,
        coupling_range=(-highest, highest),
        coupling_bits=max(1, math.floor(math.log2(2 * highest / step + 1))),
        bias_control="complex" if able_to_pull else "none",
        bias_maximum=float(optics.bias_maximum.min()) if able_to_pull else math.inf,
        readout_bits=rig.settings.readout.bits,
        readout_noise=optics.noise,
        settle_s=rig.settings.settle.typical_s,
    )
