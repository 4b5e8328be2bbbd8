"""A tiny experiment, and what 'the same run' means."""

from pathlib import Path

import numpy as np

from eqp_hw.records.reader import RunData, read_run

TINY = """
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
bias = "uniform"

[optimiser]
kind = "adam"
learning_rate = 0.1

[run]
epochs = 6
batch_size = 3
seed = 3
"""


def write_tiny(folder: Path) -> Path:
    path = folder / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


def assert_same_run(one: RunData | Path, other: RunData | Path) -> None:
    """All that was recorded is the same to the bit, but for wall times."""
    a = one if isinstance(one, RunData) else read_run(one)
    b = other if isinstance(other, RunData) else read_run(other)
    assert a.finished
    assert b.finished
    for name in ("steps", "epochs"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.keys() == right.keys()
        for column in left:
            if not column.startswith("duration"):
                np.testing.assert_array_equal(left[column], right[column], err_msg=column)
    assert [s.epoch for s in a.snapshots] == [s.epoch for s in b.snapshots]
    for s, t in zip(a.snapshots, b.snapshots, strict=True):
        assert s.step == t.step
        np.testing.assert_array_equal(s.master.flatten(), t.master.flatten())
        np.testing.assert_array_equal(s.effective.flatten(), t.effective.flatten())
    for s, t in zip(a.responses, b.responses, strict=True):
        assert (s.epoch, s.step) == (t.epoch, t.step)
        np.testing.assert_array_equal(s.chi, t.chi)
    for s, t in zip(a.phases, b.phases, strict=True):
        assert (s.epoch, s.step) == (t.epoch, t.step)
        np.testing.assert_array_equal(s.phases, t.phases)
        np.testing.assert_array_equal(s.labels, t.labels)
    assert {k: v for k, v in a.result.summary.items() if k != "seconds"} == {
        k: v for k, v in b.result.summary.items() if k != "seconds"
    }
    for name in ("confusion", "predictions", "labels", "scores"):
        np.testing.assert_array_equal(getattr(a.result, name), getattr(b.result, name))
