"""Whatever is cut off a journal, all rows before it can be read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.calibration.journal import Journal, journal_path, read_journal
from eqp_hw.calibration.step import RawArray
from eqp_hw.errors import RecordError

names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
rows = st.lists(st.tuples(names, st.integers(0, 3), st.integers(0, 2**31)), max_size=6)


def written(folder, entries):
    """Write rows; return the bytes and, after each row, how long the file was."""
    path = folder / "c.h5.journal"
    journal = Journal(path, "sweep")
    ends, width = [path.stat().st_size], {}
    kept = []
    for name, n, seed in entries:
        # All rows of one name have the same shape.
        values = np.random.default_rng(seed).normal(size=width.setdefault(name, n))
        journal.append(name, RawArray(values, "V", f"about {name}"))
        kept.append((name, values))
        ends.append(path.stat().st_size)
    journal.close()
    return path, path.read_bytes(), ends, kept


def expected(kept):
    arrays = {}
    for name, values in kept:
        arrays.setdefault(name, []).append(values)
    return {name: np.stack(values) for name, values in arrays.items()}


@settings(deadline=None, max_examples=60)
@given(rows, st.floats(0, 1))
def test_cut_at_any_byte_leaves_the_rows_before(tmp_path_factory, entries, where):
    path, content, ends, kept = written(tmp_path_factory.mktemp("journal"), entries)
    cut = round(where * len(content))
    path.write_bytes(content[:cut])
    found = read_journal(path)
    step, data = found.step, found.data
    whole = max((k for k, end in enumerate(ends) if end <= cut), default=None)
    wanted = expected(kept[: whole or 0])
    assert step == ("sweep" if whole is not None else "")
    assert list(data.arrays) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(data[name], values)
        assert data.arrays[name].unit == "V"
        assert data.arrays[name].description == f"about {name}"


@settings(deadline=None, max_examples=60)
@given(rows, st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_is_never_taken_for_data(tmp_path_factory, entries, where, flip):
    path, content, ends, kept = written(tmp_path_factory.mktemp("journal"), entries)
    at = int(where * len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    data = read_journal(path).data
    before = sum(end <= at for end in ends) - 1
    wanted = expected(kept[: max(before, 0)])
    assert {name: values.tolist() for name, values in wanted.items()} == {
        name: array.values.tolist() for name, array in data.arrays.items()
    }


def test_texts_truth_values_and_complex_numbers_come_back(tmp_path):
    path = journal_path(tmp_path / "c.h5")
    journal = Journal(path, "sweep")
    for values in (np.array(["heaters:1", "x"]), np.array([True]), np.array(1 + 2j)):
        journal.append(values.dtype.kind, RawArray(values))
    journal.close()
    data = read_journal(path).data
    assert data["U"].tolist() == [["heaters:1", "x"]]
    assert data["b"].tolist() == [[True]]
    assert data["c"].tolist() == [1 + 2j]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), max_size=12), st.floats(0, 1))
def test_whole_rows_are_those_before_the_last_checkpoint(tmp_path_factory, marks, where):
    path = tmp_path_factory.mktemp("journal") / "c.journal"
    journal = Journal(path, "sweep")
    ends, whole = [], []
    for k, mark in enumerate(marks):
        if mark:
            journal.checkpoint()
        else:
            journal.append("k", RawArray(np.array(k)))
        rows = [n for n in range(k + 1) if not marks[n]]
        ends.append(path.stat().st_size)
        whole.append(rows if mark else whole[-1] if whole else [])
    journal.close()
    content = path.read_bytes()
    cut = round(where * len(content))
    path.write_bytes(content[:cut])
    known = [kept for kept, end in zip(whole, ends, strict=True) if end <= cut]
    found = read_journal(path).whole
    assert (found["k"].tolist() if "k" in found else []) == (known[-1] if known else [])


def test_a_continued_journal_begins_with_the_rows_before(tmp_path):
    path = tmp_path / "c.journal"
    one = Journal(path, "sweep")
    one.append("x", RawArray(np.array([1.0, 2.0]), "V", "all"))
    one.append("y", RawArray(np.array("text")))
    one.checkpoint()
    one.append("x", RawArray(np.array([3.0, 4.0]), "V", "all"))
    one.close()
    two = Journal(path, "sweep", read_journal(path).whole)
    two.append("x", RawArray(np.array([5.0, 6.0]), "V", "all"))
    two.close()
    found = read_journal(path)
    assert found.data["x"].tolist() == [[1, 2], [5, 6]]
    assert found.whole["x"].tolist() == [[1, 2]]
    assert found.whole["y"].tolist() == ["text"]
    assert found.whole.arrays["x"].description == "all"
    assert [p.name for p in tmp_path.iterdir()] == ["c.journal"]


def test_what_cannot_be_written_or_read_is_said(tmp_path):
    with pytest.raises(RecordError, match="nowhere does not exist"):
        Journal(tmp_path / "nowhere" / "c.journal", "sweep")
    with pytest.raises(RecordError, match="cannot be read"):
        read_journal(tmp_path / "none.journal")


def test_discarded_is_gone(tmp_path):
    journal = Journal(tmp_path / "c.journal", "sweep")
    journal.discard()
    assert list(tmp_path.iterdir()) == []
