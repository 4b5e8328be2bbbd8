"""``kill -9`` at random moments of a real run, in a process of its own."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from experiment_samples import assert_same_run, write_tiny

from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import Listener
from eqp_hw.experiment.run import resume_run, run_experiment
from eqp_hw.records.reader import read_run

N_EVENTS = 1 + 12 + 6  # begin, steps, epochs
N_KILLS = 20


class Beacon(Listener):
    """Sends one byte for each thing that happens."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_begin(self, plan):
        self.pipe.send_bytes(b"b")

    def on_step(self, row, state):
        self.pipe.send_bytes(b"s")

    def on_epoch(self, row, state):
        self.pipe.send_bytes(b"e")


def child(toml, path, resume, pipe):
    if resume:
        resume_run(path, listener=Beacon(pipe))
    else:
        run_experiment(Experiment.load(toml), path, listener=Beacon(pipe))


def run_and_kill(context, toml: Path, path: Path, after: int, *, resume: bool = False) -> None:
    """Start the run, and kill it once it has sent ``after`` bytes (or has ended)."""
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(toml, path, resume, there))
    process.start()
    there.close()
    try:
        for _ in range(after):
            here.recv_bytes()
    except EOFError:
        pass  # it ended before: a kill after the end is one of the moments
    process.kill()
    process.join()
    here.close()


@pytest.fixture(scope="module")
def context():
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["eqp_hw.experiment.run", "eqp_hw.sim_backends.emulator"])
    return made


@pytest.fixture(scope="module")
def toml(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(toml, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    run_experiment(Experiment.load(toml), path)
    return read_run(path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(N_KILLS))
def test_killed_run_is_readable_and_resumes_bit_identically(context, toml, whole, tmp_path, number):
    rng = np.random.default_rng([20, number])
    path = tmp_path / "run.h5"
    after = int(rng.integers(1, N_EVENTS + 1))
    run_and_kill(context, toml, path, after)
    steps = read_run(path).steps["step"]
    # What was reported had been recorded: at most the step in flight is lost.
    assert len(steps) >= after - 1 - after // 3
    if number % 4 == 0:
        run_and_kill(context, toml, path, int(rng.integers(1, 6)), resume=True)
        assert len(read_run(path).steps["step"]) >= len(steps) - 1
    resume_run(path)
    assert_same_run(whole, path)
