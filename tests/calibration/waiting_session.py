"""A session in memory that waits as one on wires does: until looks agree, by the plant's clock."""

from __future__ import annotations

from typing import Any

import numpy as np
from memory_session import MemorySession
from typing_extensions import override

from eqp_hw.calibration.session import Settling
from eqp_hw.calibration.settling import NoiseMeter, wait_for_detectors
from eqp_hw.rig.load import Rig


class WaitingSession(MemorySession):
    """`MemorySession`, but for `settle`; knows the true figures from the beginning."""

    def __init__(self, rig: Rig, seed: int = 0, **options: Any) -> None:
        super().__init__(rig, seed, **options)
        self.known = self.plant.truths.figures
        self._meter = NoiseMeter(self.n_detectors)

    @override
    def settle(
        self, *, timeout_s: float | None = None, tolerance_V: float | None = None
    ) -> Settling:
        policy = self.rig.settings.settle
        return wait_for_detectors(
            self.read_detectors,
            self._meter,
            tolerance_V=policy.tolerance * np.abs(self.known.readout_amplitude_V.ravel()),
            agreeing=policy.agreeing,
            samples=4,
            timeout_s=timeout_s or 5.0,
            now=self.now_s,
        )
