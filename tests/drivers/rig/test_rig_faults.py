"""Faults of all kinds over a training run: survived, or a clear error; never a wrong value."""

import numpy as np
import pytest
from checked_substrate import CheckedRig
from rig_samples import content

from eqp_hw.drivers.errors import InstrumentError
from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.records.reader import read_run
from eqp_hw.rig.load import make_rig
from eqp_hw.sim_backends.virtual_lab.faults import FaultKind, FaultPlan, FaultTiming
from eqp_hw.sim_backends.virtual_lab.twin import Twin

TIMING = FaultTiming(delay_s=0.15, pause_s=0.002, trickle_s=0.0005, unplugged_s=0.05)
STEPS = 10_000


def robust_rig():
    tables = content()["instruments"]
    heaters = {"verify": True, "readback_tolerance_V": 0.005, "timeout_s": 0.1}
    return make_rig(
        content(
            instruments={
                "heaters": {**tables["heaters"], **heaters},
                "detectors": {**tables["detectors"], "timeout_s": 0.1},
            },
            calibration={"nudge_maximum": 0.8},
        )
    )


def injected(twin):
    return sum(sum(wire.faults.counts.values()) for wire in twin.wires.values())


@pytest.mark.parametrize(
    "wanted", [40, pytest.param(1000, marks=pytest.mark.slow)], ids=["some", "thousand"]
)
def test_no_wrong_phase_or_coupling_is_accepted(tmp_path, wanted):
    plan = FaultPlan(
        probabilities=dict.fromkeys(FaultKind, 0.04 / len(FaultKind)), seed=wanted, timing=TIMING
    )
    path = tmp_path / "run.h5"
    failures = []
    with Twin(robust_rig()) as twin, RigSubstrate.open(twin.rig, guarded=False) as rig:
        for wire in twin.wires.values():
            wire.faults.use(plan)
        checked = CheckedRig(rig, twin)

        def stop():
            return injected(twin) >= wanted

        experiment = Experiment.create(
            task="xor",
            encoding={"input": "bits", "target": "binary"},
            network=rig.network,
            initial={"coupling": "fan", "bias": "uniform"},
            substrate=checked,
            estimator={"kind": "centred", "beta": 0.1},
            optimiser={"kind": "gradient-descent", "learning_rate": 0.05},
            run={"epochs": STEPS, "validate_every": 0, "snapshot_epochs": []},
        )
        from eqp_hw.experiment.listener import RunInterrupted
        from eqp_hw.experiment.run import resume_run, run_experiment

        while True:
            try:
                if path.exists():
                    resume_run(path, experiment=experiment, stop=stop)
                else:
                    run_experiment(experiment, path, stop=stop)
            except RunInterrupted:
                break
            except InstrumentError as error:
                failures.append(str(error))
        assert twin.failures == []
    assert checked.wrong == []
    assert checked.readings > wanted / 2
    assert injected(twin) >= wanted
    assert all(len(text) > 20 for text in failures)
    steps = read_run(path).steps["step"]
    assert steps.tolist() == list(np.arange(1, len(steps) + 1))
    assert len(failures) < 0.05 * wanted, failures
