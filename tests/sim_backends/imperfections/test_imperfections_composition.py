"""All imperfections together: any order, the same seed, single samples, and a whole run."""

import itertools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from imperfection_bench import (
    INPUTS,
    LAYERED,
    Hardware,
    around,
    imperfect,
    random_parameters,
    ready,
    table,
    wrapped,
)

from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import RunInterrupted
from eqp_hw.experiment.run import resume_run, run_experiment
from eqp_hw.records.reader import read_run
from eqp_hw.substrate import Substrate

FULL = [
    table("coupling-bits", bits=6, low=-1.0, high=1.0),
    table("bias-bits", bits=8, maximum=2.0),
    table("coupling-disorder", relative=0.05, absolute=0.01, bias_relative=0.05),
    table("coupling-crosstalk", strength=0.05),
    table("nonreciprocity", relative=0.05, phase_lag_spread=0.02),
    table("drift", target="coupling", shape="random-walk", rate=1e-3),
    table("drift", target="readout", shape="one-over-f", rate=1e-3),
    table("dead", bond_fraction=0.05),
    table("stuck", bonds=[13], nodes=[6]),
    table("phase-bits", bits=10, where="inputs"),
    table("phase-bits", bits=10, where="nudge"),
    table("incomplete-settling", remaining=0.01),
    table("readout-noise", sigma=0.01, common_mode=0.005),
    table("readout-offset", sigma=0.02),
    table("update-bias", sigma=0.01),
    table("phase-bits", bits=8, dither="uniform"),
    table("clock", settle_s=0.5, read_s=0.1),
]


def everything(substrate, batch=3):
    """All that is read in a few measurements, as one array."""
    ready(substrate, inputs=INPUTS[:batch])
    token, seen = substrate.store_state(), [substrate.read_phases(3)]
    sites = len(substrate.capabilities.nudge_nodes)
    fields = [(np.full((batch, sites), np.exp(0.4j)), 0.05 * sign) for sign in (1, -1)]
    seen += [m.reading for m in substrate.measure_nudged(token, fields, 4)]
    substrate.set_inputs(INPUTS[:batch] + 0.1)
    substrate.reset(12)
    substrate.settle()
    seen.append(substrate.read_phases(2))
    for reading in seen:
        assert np.isfinite(reading.phases).all()
        assert (np.abs(reading.phases) <= np.pi + 1e-12).all()
    return np.array([reading.phases for reading in seen])


def test_any_order_runs_and_orders_differ():
    shuffler, seen = random.Random(4), []
    for _ in range(12):
        tables = FULL.copy()
        shuffler.shuffle(tables)
        with imperfect(*tables) as substrate:
            seen.append(everything(substrate))
            assert substrate.engine_name.endswith("with 16 imperfections")
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(seen))


def test_an_order_that_does_not_matter_changes_nothing():
    tables = [table("coupling-disorder", relative=0.1), table("readout-noise", sigma=0.1)]
    with imperfect(*tables) as one, imperfect(*tables[::-1]) as other:
        np.testing.assert_array_equal(everything(one), everything(other))


SAME_RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from imperfection_bench import imperfect
from test_imperfections_composition import FULL, everything
with imperfect(*FULL, seed=int(sys.argv[2])) as substrate:
    print(json.dumps([float(x).hex() for x in everything(substrate).ravel()]))
"""


def test_one_seed_is_one_run_to_the_bit_in_another_process_as_well():
    from pathlib import Path

    with imperfect(*FULL, seed=5) as substrate:
        here = everything(substrate)
    with imperfect(*FULL, seed=6) as substrate:
        assert not np.array_equal(here, everything(substrate))
    done = subprocess.run(
        [sys.executable, "-P", "-c", SAME_RUN, str(Path(__file__).parent), "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    there = [float.fromhex(x) for x in json.loads(done.stdout)]
    np.testing.assert_array_equal(here.ravel(), there)


def test_a_table_with_a_seed_of_its_own_keeps_its_draws_from_run_to_run():
    draws = {}
    for own, run in itertools.product((1, 2), (5, 6)):
        tables = table("readout-offset", sigma=0.1, seed=own), table("readout-offset", sigma=0.1)
        with imperfect(*tables, seed=run) as substrate:
            draws[own, run] = [one["offset"] for one in substrate.truth().draws]
    np.testing.assert_array_equal(draws[1, 5][0], draws[1, 6][0])
    assert not np.array_equal(draws[1, 5][0], draws[2, 5][0])
    assert not np.array_equal(draws[1, 5][1], draws[1, 6][1])
    assert not np.array_equal(draws[1, 5][0], draws[1, 5][1])


def test_another_imperfection_leaves_the_draws_of_the_first_alone():
    disorder = table("coupling-disorder", relative=0.1)
    with imperfect(disorder) as one, imperfect(table("dead", bonds=[1]), disorder) as other:
        first, second = one.truth().draws[0], other.truth().draws[1]
    np.testing.assert_array_equal(first["factor"], second["factor"])


def test_noise_is_addressed_by_the_reset_and_not_by_what_was_before():
    with imperfect(table("readout-noise", sigma=0.1)) as one:
        ready(one, seed=21)
        expected = one.read_phases(2).phases
        ready(one, seed=22)
        assert not np.array_equal(one.read_phases(2).phases, expected)
    with imperfect(table("readout-noise", sigma=0.1)) as other:
        ready(other, seed=3)
        other.read_phases(5)
        ready(other, seed=21)
        np.testing.assert_array_equal(other.read_phases(2).phases, expected)


def test_fused_and_single_measurements_are_alike_with_everything_that_is_exact():
    exact = [t for t in FULL if not (t["kind"] == "drift" and t["target"] == "coupling")]
    found = []
    for fused in (True, False):
        with imperfect(*exact) as substrate:
            ready(substrate)
            token = substrate.store_state()
            ones = np.ones((3, len(substrate.capabilities.nudge_nodes)), complex)
            call = substrate.measure_nudged if fused else Verbs(substrate).measure_nudged
            measured = call(token, [(ones, 0.02), (ones, -0.02)], 16)
            found.append(measured)
    for one, other in zip(*found, strict=True):
        # The same draws, so but for rounding the same reads; a level of 8 bits may flip.
        difference = np.abs(wrapped(one.reading.phases - other.reading.phases))
        assert difference.max() <= 2 * np.pi / 2**8 / 16 + 1e-9
        assert np.median(difference) < 1e-9
        assert one.reading.count == other.reading.count == 16
        assert one.reading.started_s == other.reading.started_s


class Verbs:
    """A substrate's `measure_nudged` as composed from single verbs."""

    def __init__(self, substrate):
        self._substrate = substrate

    def measure_nudged(self, *arguments):
        return Substrate.measure_nudged(self._substrate, *arguments)


def test_hardware_of_one_sample_can_be_wrapped_as_a_whole():
    hardware_can = [t for t in FULL if t["kind"] != "nonreciprocity"]
    with around(Hardware(), *hardware_can) as substrate:
        able = substrate.capabilities
        assert able.batch_limit == 1
        assert able.coupling_range == (-1.0, 1.0)
        assert able.coupling_bits == 6
        assert able.readout_bits == 8
        assert able.readout_noise == pytest.approx(0.015)
        assert able.settle_s == 0.5
        everything(substrate, batch=1)
        steps = substrate.self_test()
        assert len({step.name for step in steps}) == len(steps) > len(hardware_can)


def test_noise_of_the_hardware_passes_the_imperfections_read_by_read():
    with around(Hardware(noise=0.02), table("phase-bits", bits=7)) as substrate:
        ready(substrate, inputs=INPUTS[:1])
        reading = substrate.read_phases(400)
    # Noise of 0.4 levels dithers: the average is far better than a level, and knows it.
    assert 0.02 / 20 * 0.9 < np.median(reading.standard_error[:, LAYERED.free]) < 0.03 / 20
    with imperfect() as plain:
        ready(plain, random_parameters(), INPUTS[:1])
        error = wrapped(reading.phases - plain.read_phases().phases)
    assert np.abs(error).max() < 5 * 0.03 / 20


XOR = """
[task]
kind = "xor"
[encoding]
input = "bits"
target = "binary"
[network]
kind = "all-to-all"
n_nodes = 5
[network.initial]
coupling = "symmetrised-normal"
scale = 0.5
bias = "uniform"
[substrate]
kind = "emulator"
threads = 1
[[substrate.imperfections]]
kind = "coupling-bits"
low = -3.0
high = 3.0
bits = 8
[[substrate.imperfections]]
kind = "readout-noise"
sigma = 0.01
[[substrate.imperfections]]
kind = "dead"
bonds = [4]
[[substrate.imperfections]]
kind = "drift"
shape = "random-walk"
rate = 1e-3
[[substrate.imperfections]]
kind = "drift"
target = "coupling"
shape = "one-over-f"
rate = 1e-3
[run]
epochs = 3
batch_size = 2
seed = 3
"""


def test_an_experiment_file_reaches_them(tmp_path):
    file = tmp_path / "xor.toml"
    file.write_text(XOR, encoding="utf-8")
    with Experiment.load(file).build() as assembly:
        substrate = assembly.substrate
        assert assembly.engine.endswith("with 5 imperfections")
        assert substrate.capabilities.readout_noise == 0.01
        assert substrate.capabilities.coupling_range == (-3.0, 3.0)
        draws = substrate.truth().draws
        np.testing.assert_array_equal(draws[2]["bonds"], [4])


class StopAfter:
    """Asks for a stop at the n-th time it is asked."""

    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        return self.left <= 0


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path):
    file = tmp_path / "xor.toml"
    file.write_text(XOR, encoding="utf-8")
    whole, broken = tmp_path / "whole.h5", tmp_path / "broken.h5"
    run_experiment(Experiment.load(file), whole)
    with pytest.raises(RunInterrupted):
        run_experiment(Experiment.load(file), broken, stop=StopAfter(3))
    resume_run(broken)
    one, other = read_run(whole), read_run(broken)
    assert one.finished
    assert other.finished
    for column in one.steps:
        if not column.startswith("duration"):
            np.testing.assert_array_equal(one.steps[column], other.steps[column], err_msg=column)
    last = [run.snapshots[-1].master.flatten() for run in (one, other)]
    np.testing.assert_array_equal(*last)
