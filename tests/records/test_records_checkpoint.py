"""Checkpoints and the state of random generators."""

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from eqp_hw.errors import RecordError
from eqp_hw.records.checkpoint import (
    Checkpoint,
    CheckpointFile,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from eqp_hw.records.generators import generator_state, restore_generator

KINDS = [
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.MT19937,
    np.random.Philox,
    np.random.SFC64,
]

numbers = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.complex128, np.int64, np.uint8, np.bool_, ">f8"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(
    arrays=st.dictionaries(st.text(), numbers, max_size=3),
    state=st.dictionaries(st.text(), json_values, max_size=3),
    step=st.integers(0, 2**40),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: dict[str, np.ndarray],
    state: dict[str, Any],
    step: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.checkpoint"
    save_checkpoint(path, Checkpoint(step, 3, arrays, state, "abc"), fsync=step % 2 == 0)
    loaded = load_checkpoint(path, run_id="abc")
    assert (loaded.step, loaded.epoch, loaded.run_id) == (step, 3, "abc")
    assert loaded.state == state
    assert list(loaded.arrays) == list(arrays)
    for name, array in arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].shape == array.shape
        assert loaded.arrays[name].tobytes() == array.tobytes()
        assert loaded.arrays[name].flags.writeable


def test_strided_arrays_are_stored_by_value(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 6)
    save_checkpoint(tmp_path / "c", Checkpoint(1, 0, {"a": array[::2, ::-1].T}))
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "c").arrays["a"], array[::2, ::-1].T)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**128),
    draws=st.integers(0, 700),
    odd=st.booleans(),
    spawns=st.integers(0, 3),
)
def test_a_generator_goes_on_exactly(
    kind: type[np.random.BitGenerator], seed: int, draws: int, odd: bool, spawns: int
) -> None:
    rng = np.random.Generator(kind(np.random.SeedSequence(seed, spawn_key=(3,))))
    rng.normal(size=draws)
    if odd:
        rng.integers(0, 10, dtype=np.uint32)  # leaves half a 64-bit word in the buffer
    rng.spawn(spawns)
    restored = restore_generator(json.loads(json.dumps(generator_state(rng))))
    for _ in range(2):
        np.testing.assert_array_equal(
            restored.integers(0, 2**20, size=9, dtype=np.uint32),
            rng.integers(0, 2**20, size=9, dtype=np.uint32),
        )
        np.testing.assert_array_equal(restored.normal(size=5), rng.normal(size=5))
        np.testing.assert_array_equal(restored.permutation(30), rng.permutation(30))
    child, expected = restored.spawn(1)[0], rng.spawn(1)[0]
    np.testing.assert_array_equal(child.random(3), expected.random(3))


def test_states_that_cannot_be_used_are_refused() -> None:
    class Custom(np.random.PCG64):
        pass

    with pytest.raises(RecordError, match=r"Custom cannot be recorded \(allowed: PCG64"):
        generator_state(np.random.Generator(Custom(1)))
    state = generator_state(np.random.default_rng(0))
    for broken in ({}, {**state, "bit_generator": "Dice"}, {**state, "state": {"state": 1}}):
        with pytest.raises(RecordError, match="state of a random generator is damaged"):
            restore_generator(broken)


PAGE = 4096


def test_no_flipped_byte_and_no_cut_gives_another_state(tmp_path: Path) -> None:
    path = tmp_path / "run.h5.checkpoint"
    saved = Checkpoint(7, 1, {"a": np.arange(3.0)}, {"b": 1}, "id")
    save_checkpoint(path, saved)
    whole = path.read_bytes()
    noticed = []
    # Every byte that holds something, and some of the space that waits for more.
    for place in (*range(60), *range(PAGE, PAGE + 260), *range(300, len(whole), 997)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            loaded = load_checkpoint(path)
        except RecordError:
            noticed.append(place)
        else:
            assert (loaded.step, loaded.epoch, loaded.state) == (7, 1, {"b": 1})
            np.testing.assert_array_equal(loaded.arrays["a"], np.arange(3.0))
    used = (whole.rstrip(b"\0"), whole[:PAGE].rstrip(b"\0"))
    assert set(noticed) >= {*range(len(used[1])), *range(PAGE, len(used[0]))}
    for size in (*range(60), *range(PAGE - 5, PAGE + 260), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(RecordError, match=r"run\.h5\.checkpoint: "):
            load_checkpoint(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(RecordError, match="1 bytes too many"):
        load_checkpoint(path)


@pytest.mark.parametrize("forced", range(5))
def test_a_write_cut_anywhere_leaves_the_one_before_and_the_forced_one(
    tmp_path: Path, forced: int
) -> None:
    """What a kill may leave: a slot of which only the first bytes are new."""
    path = tmp_path / "c"
    states = [Checkpoint(k, 0, {"a": np.full(9, k + 1.0)}) for k in range(6)]
    with CheckpointFile(path) as file:
        for state in states[:5]:
            file.save(state, fsync=state.step == forced)
        before, node = path.read_bytes(), path.stat().st_ino
        file.save(states[5])
    assert path.stat().st_ino == node  # written in place
    after = path.read_bytes()
    changed = [k for k in range(len(after)) if after[k] != before[k]]
    for cut in changed:
        path.write_bytes(after[:cut] + before[cut:])
        loaded = load_checkpoint(path)
        assert loaded.step == 4
        np.testing.assert_array_equal(loaded.arrays["a"], states[4].arrays["a"])
    path.write_bytes(after)
    assert load_checkpoint(path).step == 5
    # Power failure: pages of all that was not forced may be lost. The forced one is still there.
    content = bytearray(after)
    for page in range(PAGE, len(content), PAGE):
        if states[forced].arrays["a"].tobytes() not in content[page : page + PAGE]:
            content[page : page + PAGE] = bytes(PAGE)
    path.write_bytes(content)
    assert load_checkpoint(path).step == forced


def test_a_file_that_is_too_small_or_gone_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with CheckpointFile(path) as file:
        for step in range(1, 300):
            file.save(Checkpoint(step, 0, {"a": np.full(step**2 // 8, float(step))}))
            if step == 150:
                path.rename(tmp_path / "elsewhere")
                file.save(Checkpoint(step, 0, {"a": np.full(step**2 // 8, float(step))}))
            loaded = load_checkpoint(path)
            assert loaded.step == step
            assert (loaded.arrays["a"] == step).all()
    assert load_checkpoint(tmp_path / "elsewhere").step == 150
    with CheckpointFile(path) as file:  # goes on in the file that is there
        file.save(Checkpoint(1000, 1))
        file.save(Checkpoint(999, 1))  # the latest counts, whatever its step
    assert load_checkpoint(path).step == 999
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "elsewhere"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path / "run.h5")
    assert path == tmp_path / "run.h5.checkpoint"
    with pytest.raises(RecordError, match="cannot be read: no such file"):
        load_checkpoint(path)
    save_checkpoint(path, Checkpoint(7, 1, run_id="mine"))
    with pytest.raises(RecordError, match="belongs to another run"):
        load_checkpoint(path, run_id="yours")
    content = bytearray(path.read_bytes())
    content[len(b"eqp_hw checkpoint\n")] = 9
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"version 9; eqp_hw \S+ reads version 2"):
        load_checkpoint(path)
    path.write_text("hello")
    with pytest.raises(RecordError, match="not a checkpoint"):
        load_checkpoint(path)
    with pytest.raises(RecordError, match=r"folder .* does not exist"):
        save_checkpoint(tmp_path / "nowhere" / "c", Checkpoint(1, 0))


def test_a_failed_save_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, Checkpoint(1, 0))
    with pytest.raises(RecordError, match=r"array 'a' of type object \(allowed: numbers"):
        save_checkpoint(path, Checkpoint(2, 0, {"a": np.array([None])}))
    with pytest.raises(RecordError, match="cannot be written as JSON"):
        save_checkpoint(path, Checkpoint(2, 0, state={"a": {1, 2}}))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(RecordError, match="the disk is full; the one before is kept"):
            save_checkpoint(path, Checkpoint(2, 0), fsync=True)
    assert load_checkpoint(path).step == 1
    assert list(tmp_path.iterdir()) == [path]
