"""An ideal rig ends where the emulator does; one that is wrong about itself is found out."""

from dataclasses import replace

import numpy as np
import pytest
from rig_samples import apart, content, parameters_of

from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import make_rig
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.virtual_lab.twin import Twin

INPUTS = np.array([[0.4, -1.1]])
RESOLUTION = 1.5e-3
"""rad: a step of the 16-bit sources is 0.5 mrad of one heater, of the 14-bit read-out 0.4 mrad;
a phase hangs on several heaters."""


def distances_from_the_emulator(substrate, seeds):
    """Return for each seed how far the rig's phases are from the nearest exact equilibrium, rad.

    The emulator gets what the rig calls its effective parameters; both have the same few
    equilibria to choose from.
    """
    found = []
    for seed in seeds:
        effective = substrate.write_parameters(parameters_of(substrate.network, seed, 2.0))
        substrate.set_inputs(INPUTS)
        substrate.reset(0)
        assert substrate.settle().settled.all()
        phases = substrate.read_phases(4).phases[0]
        with XYEmulator(substrate.network) as emulator:
            emulator.write_parameters(effective)
            emulator.set_inputs(np.repeat(INPUTS, 64, axis=0))
            emulator.reset(seed)
            emulator.settle()
            exact = emulator.read_phases().phases
        found.append(min(apart(phases, row) for row in exact))
    return np.array(found)


def violations(calibration_of, seeds=range(6)):
    """Return the seeds for which a rig of that calibration is not where the emulator is."""
    with Twin(make_rig(content())) as twin:
        calibration = calibration_of(nominal_calibration(twin.rig))
        with RigSubstrate.open(twin.rig, calibration, guarded=False) as substrate:
            apart_by = distances_from_the_emulator(substrate, seeds)
    return np.flatnonzero(apart_by > RESOLUTION).tolist()


def test_an_ideal_rig_ends_where_the_emulator_does():
    assert violations(lambda true: true) == []


@pytest.mark.parametrize(
    "mistake",
    [
        lambda true: replace(true, crosstalk=np.eye(len(true.crosstalk))),
        lambda true: replace(true, half_wave_power_W=1.05 * true.half_wave_power_W),
        lambda true: replace(true, half_wave_power_W=0.95 * true.half_wave_power_W),
        lambda true: replace(true, half_wave_power_W=1.002 * true.half_wave_power_W),
    ],
    ids=["no crosstalk correction", "half-wave power +5 %", "-5 %", "+0.2 %"],
)
def test_the_check_finds_a_rig_that_is_wrong_about_itself(mistake):
    assert violations(mistake) == list(range(6))
