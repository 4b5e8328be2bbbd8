"""A substrate that compares every reading of a rig with the plant's truth."""

from __future__ import annotations

import numpy as np
from rig_samples import apart
from typing_extensions import override

from eqp_hw.substrate import SettleStatus, Substrate


class CheckedRig(Substrate):
    """Hands all verbs on; notes where an accepted reading, coupling or field is wrong."""

    def __init__(self, rig, twin, tolerance=0.05):
        self.rig, self.twin, self.tolerance = rig, twin, tolerance
        self.wrong = []
        self.readings = 0
        self.effective = None
        self.nudge = 0.0
        self.settled = False

    @property
    @override
    def network(self):
        return self.rig.network

    @property
    @override
    def capabilities(self):
        return self.rig.capabilities

    @override
    def write_parameters(self, parameters):
        self.effective = self.rig.write_parameters(parameters)
        return self.effective

    @override
    def set_inputs(self, phases):
        self.nudge = 0.0
        self.rig.set_inputs(phases)

    @override
    def apply_nudge(self, field, beta=1.0):
        self.rig.apply_nudge(field, beta)
        self.nudge = 0.0 if field is None else beta * field[0]

    @override
    def reset(self, seed):
        self.nudge = 0.0
        self.rig.reset(seed)

    @override
    def settle(self):
        outcome = self.rig.settle()
        self.settled = bool((outcome.status == SettleStatus.EQUILIBRIUM).all())
        return outcome

    @override
    def store_state(self):
        return self.rig.store_state()

    @override
    def restore_state(self, token):
        returned = self.rig.restore_state(token)
        self.nudge = 0.0
        return returned

    @override
    def read_phases(self, repeats=1):
        reading = self.rig.read_phases(repeats)
        if self.settled:
            self.readings += 1
            plant = self.twin.plant
            errors = {
                "phases": apart(reading.phases[0], plant.phases()),
                "couplings": np.abs(plant.coupling_parameters() - self.effective.coupling).max(),
                "bias": np.abs(plant.bias() - self.effective.bias).max(),
                "nudge": np.abs(plant.nudge() - self.nudge).max(),
            }
            self.wrong += [(k, v) for k, v in errors.items() if not v < self.tolerance]
        return reading

    @override
    def self_test(self):
        return self.rig.self_test()

    @override
    def safe(self):
        self.rig.safe()

    @override
    def close(self):
        self.rig.close()
