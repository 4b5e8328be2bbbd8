"""The program as a process: signals, a terminal, a full disk, a closed pipe."""

import os
import pty
import resource
import signal
import subprocess
import sys

import pytest

from eqp_hw.records.checkpoint import checkpoint_path
from eqp_hw.records.reader import read_run

COMMAND = [sys.executable, "-m", "eqp_hw"]
TOML = """
[task]
kind = "xor"
[encoding]
input = "bits"
target = "binary"
[network]
kind = "all-to-all"
n_nodes = 4
[network.initial]
bias = "uniform"
[run]
epochs = 1000000
batch_size = 2
snapshot_epochs = []
validate_every = 0
"""


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "endless.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def read_terminal(terminal, until=None):
    """Read what a process writes to its terminal: up to a text, or to its end."""
    seen = b""
    while until is None or until not in seen:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux says EIO when the other side has closed
            break
        if not chunk:
            break
        seen += chunk
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_between_two_steps(toml, tmp_path, number):
    path = tmp_path / "run.h5"
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "run", str(toml), "-o", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=end,
        env={**os.environ, "COLUMNS": "300", "TERM": "xterm"},
    )
    os.close(end)
    # The title is printed when training is about to start, the bar when steps are done.
    begun = read_terminal(terminal, b"C_sim")
    process.send_signal(number)
    said = read_terminal(terminal).decode()
    out, _ = process.communicate()
    os.close(terminal)
    assert process.returncode == 130
    assert out == b""
    assert b"record:" in begun
    assert "eqp-hw resume" in said
    assert "Traceback" not in said
    data = read_run(path)
    assert not data.finished
    assert len(data.steps["step"]) > 0
    assert checkpoint_path(path).exists()


def limited(size):
    """Return what makes a process fail to write files larger than ``size``, like a full disk."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [4_000, 170_000])
def test_full_disk_is_a_message_and_loses_nothing(toml, tmp_path, size):
    path = tmp_path / "run.h5"
    done = subprocess.run(
        [*COMMAND, "run", str(toml), "-o", str(path), "--json"],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=limited(size),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "run.h5" in done.stderr
    assert "file size limit" in done.stderr
    if size < 10_000:
        assert not path.exists()
        return
    steps = read_run(path).steps["step"]
    assert f"steps up to {len(steps)} are safe" in " ".join(done.stderr.split())
    assert len(steps) >= 512
    resumed = subprocess.run(
        [*COMMAND, "resume", str(path), "--json"],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=limited(size),
    )
    assert resumed.returncode == 2, resumed.stderr
    assert len(read_run(path).steps["step"]) == len(steps)


def test_reader_that_leaves_early_is_no_error_of_ours():
    process = subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()
