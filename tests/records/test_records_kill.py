"""kill -9 at any moment: the file is readable, and at most the step in flight is lost."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from records_samples import (
    assert_parameters,
    assert_rows,
    create_run,
    epoch_row,
    parameters,
    step_row,
)

from eqp_hw.records.checkpoint import checkpoint_path, load_checkpoint
from eqp_hw.records.reader import read_run
from eqp_hw.records.run_file import RunWriter

HERE = Path(__file__).parent

# Trains nothing, but records as a training run does, as fast as it can. A step is announced
# once its row and its checkpoint are written; every fifth step ends an epoch.
CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from records_samples import epoch_row, parameters, step_row
from eqp_hw.records.checkpoint import Checkpoint, CheckpointFile, checkpoint_path
from eqp_hw.records.generators import generator_state
from eqp_hw.records.run_file import RunWriter
path = Path(sys.argv[2])
beside = checkpoint_path(path)
rng = np.random.default_rng(0)
with RunWriter.reopen(path) as writer, CheckpointFile(beside) as checkpoints:
    for step in range(1, 1_000_000):
        writer.record_step(step_row(step))
        epoch = step // 5
        if step % 5 == 0:
            writer.record_epoch(epoch_row(epoch, step))
            writer.record_parameters(epoch, step, parameters(step), parameters(step + 1))
        checkpoints.save(
            Checkpoint(
                step,
                epoch,
                # Grows, so that some kills hit the moments at which the file is replaced.
                {"draws": rng.normal(size=step % 50 + 5 * step), "step": np.array(step)},
                {"rng": generator_state(rng)},
                writer.run_id,
            )
        )
        os.write(1, b"%d\\n" % step)
"""


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_random_moment(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "run.h5"
    create_run(path).close()
    rng = random.Random(seed)
    # Some kills hit the first steps, some the moments at which the file grows.
    until = rng.choice([rng.randrange(1, 30), rng.randrange(30, 700)])
    bytes_more = rng.randrange(4)  # also kill between the bytes of an announcement
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(HERE), str(path)], stdout=subprocess.PIPE, bufsize=0
    )
    assert child.stdout is not None
    received = b""
    while received.count(b"\n") < until:
        received += child.stdout.read(1)
    received += child.stdout.read(bytes_more)
    child.kill()
    received += child.stdout.read()
    child.wait()
    child.stdout.close()
    announced = int(received.split(b"\n")[-2])
    assert announced >= until

    run = read_run(path)
    count = len(run.steps["step"])
    assert count in (announced, announced + 1)
    assert_rows(run.steps, [step_row(step) for step in range(1, count + 1)])
    checkpoint = load_checkpoint(checkpoint_path(path), run_id=run.run_id)
    assert announced <= checkpoint.step <= count
    assert checkpoint.arrays["step"] == checkpoint.step
    epochs = len(run.epochs["epoch"])
    assert checkpoint.epoch <= epochs <= count // 5
    assert checkpoint.epoch <= len(run.snapshots) <= epochs
    for entry in run.snapshots:
        assert_parameters(entry.master, parameters(entry.step))
        assert_parameters(entry.effective, parameters(entry.step + 1))

    step, epoch = checkpoint.step, checkpoint.epoch
    with RunWriter.reopen(path, provenance={"resumed": seed}) as writer:
        writer.truncate(step, epoch=epoch)
        assert writer.last_step == step
        writer.record_step(step_row(step + 1))
    run = read_run(path)
    assert_rows(run.steps, [step_row(number) for number in range(1, step + 2)])
    assert_rows(run.epochs, [epoch_row(number, 5 * number) for number in range(1, epoch + 1)])
    assert [entry.epoch for entry in run.snapshots] == list(range(1, epoch + 1))
    leftover = {p.name for p in tmp_path.iterdir()} - {"run.h5.checkpoint.partial"}
    assert leftover == {"run.h5", "run.h5.checkpoint"}


STOP_BEFORE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from records_samples import step_row
from eqp_hw.records.run_file import RunWriter
count, remaining = int(sys.argv[3]), int(sys.argv[4])

def watch(event, arguments):
    global remaining
    if event in ("os.rename", "os.remove", "os.link"):
        remaining -= 1
        if remaining < 0:
            os.kill(os.getpid(), signal.SIGKILL)

with RunWriter.reopen(Path(sys.argv[2])) as writer:
    for step in range(count):
        writer.record_step(step_row(step))
    sys.addaudithook(watch)
    writer.record_step(step_row(count))
    writer.finish({"done": True})
print("survived")
"""


def test_killed_around_the_replacement_of_the_file(tmp_path: Path) -> None:
    """Killed just before each change of a name while the file grows and is finished."""
    outcomes = []
    for moment in range(10):
        path = tmp_path / f"run{moment}.h5"
        create_run(path).close()
        done = subprocess.run(
            [sys.executable, "-c", STOP_BEFORE, str(HERE), str(path), "512", str(moment)],
            capture_output=True,
            check=False,
        )
        run = read_run(path)
        outcomes.append((len(run.steps["step"]), run.finished))
        assert_rows(run.steps, [step_row(step) for step in range(outcomes[-1][0])])
        with RunWriter.reopen(path) as writer:
            writer.truncate(600)
            writer.record_step(step_row(600))
        assert read_run(path).steps["step"][-1] == 600
        if done.stdout:
            break
    assert outcomes[0] == (512, False)
    assert outcomes[-1] == (513, True)
    assert outcomes == sorted(outcomes)
    assert (513, False) in outcomes
