"""CSV files: read right, and refused with line and column."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.data.dataset import Dataset
from eqp_hw.data.registry import load_dataset
from eqp_hw.data.sources.csv_file import parse_csv
from eqp_hw.errors import DataError

GOOD = "width,height,kind\n1,2.5,round\n\n-3e-1, 4 ,square\n5,6,round\n"


def parse(text: str, **options: Any) -> Dataset:
    return parse_csv(text, Path("toy.csv"), **({"label": "kind"} | options))


def test_a_plain_file() -> None:
    data = parse(GOOD)
    assert data.name == "toy"
    assert data.features.tolist() == [[1, 2.5], [-0.3, 4], [5, 6]]
    assert data.feature_names == ("width", "height")
    assert data.class_names == ("round", "square")
    assert data.labels.tolist() == [0, 1, 0]
    assert data.feature_range is None


def test_chosen_columns_in_the_order_asked_for() -> None:
    data = parse(GOOD, features=["height"], feature_range=(0, 10))
    assert data.features.tolist() == [[2.5], [4], [6]]
    assert data.feature_range is not None
    assert list(data.feature_range) == [0, 10]
    assert parse(GOOD, features=["height", "width"]).features[0].tolist() == [2.5, 1]


def test_number_labels_are_ordered_by_value() -> None:
    data = parse("x,kind\n0,10\n0,2\n0,2.0\n0,-1\n0,2.5\n")
    assert data.class_names == ("-1", "2", "2.5", "10")
    assert data.labels.tolist() == [3, 1, 1, 0, 2]


def test_text_labels_among_numbers_are_text() -> None:
    assert parse("x,kind\n0,10\n0,2\n0,none\n").class_names == ("10", "2", "none")


def test_file_with_byte_order_mark_semicolons_quotes_and_dos_line_ends(tmp_path: Path) -> None:
    text = '\ufeffa;"b ""2""";kind\r\n1;2;"x;y"\r\n3;4;z\r\n'
    (tmp_path / "dos.csv").write_bytes(text.encode())
    options = {"path": "dos.csv", "label": "kind", "delimiter": ";"}
    data = load_dataset("csv", options, tmp_path)
    assert data.feature_names == ("a", 'b "2"')
    assert data.class_names == ("x;y", "z")
    assert data.features.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,kind\n", "has 0 rows"),
        ("a,kind\n1,u\n", "has 1 rows"),
        ("a,b\n1,2\n", r"label = 'kind': there is no such column \(allowed: a, b;"),
        ("kind\nu\nv\n", "no feature column"),
        ("a,a,kind\n1,2,u\n", "line 1 = 'a': a column name stands twice"),
        ("a,,kind\n1,2,u\n", "column 2 has no name"),
        ("a,kind\n1,u\n2\n", "line 3: has 1 cells, the header has 2"),
        ("a,kind\n1,u\n\n2,v,w\n", "line 4: has 3 cells, the header has 2"),
        ("a,kind\n1,u\nx2,v\n", r"line 3, column 'a' = 'x2': not a number"),
        ("a,kind\n1,u\n,v\n", r"line 3, column 'a' = '': not a number"),
        ("a,kind\n1,u\n1_0,v\n", r"line 3, column 'a' = '1_0': not a number"),
        ("a,kind\nnan,u\n2,v\n", r"line 2, column 'a' = 'nan': not finite"),
        ("a,kind\n1,u\n1e999,v\n", r"line 3, column 'a' = '1e999': not finite"),
        ("a,kind\n1,u\n2,\n", r"line 3, column 'kind' = '': the label is missing"),
        ("a,kind\n1,1\n2,NaN\n", r"line 3, column 'kind' = 'NaN': the label is missing"),
        ("a,kind\n1,u\n2,u\n", "all 2 rows have the same label"),
        ('a,kind\n1,"u\n2,v\n', "is not CSV"),
    ],
)
def test_bad_files_are_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse(text)
    assert str(caught.value).startswith("toy.csv: ")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["depth"], "features = 'depth': there is no such column.*width, height, kind"),
        (["width", "width"], "listed twice"),
        (["width", "kind"], "the label is also a feature"),
    ],
)
def test_bad_choices_of_columns(features: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(GOOD, features=features)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    for path, message in (
        ("missing.csv", r"missing\.csv: path: cannot be read: No such file"),
        (".", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            load_dataset("csv", {"path": path, "label": "y"}, tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"a,y\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"binary\.csv: is not UTF-8 text \(byte 4\)"):
        load_dataset("csv", {"path": "binary.csv", "label": "y"}, tmp_path)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        min_size=2,
        max_size=12,
    ),
    delimiter=st.sampled_from(",;\t|"),
)
def test_numbers_come_back_bit_by_bit(rows: list[tuple[float, float]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["a", "kind", "b"])
    for i, (a, b) in enumerate(rows):
        writer.writerow([repr(a), f"class {i % 2}", repr(b)])
    data = parse(text.getvalue(), delimiter=delimiter)
    assert data.features.tobytes() == np.array(rows).tobytes()
    assert data.labels.tolist() == [i % 2 for i in range(len(rows))]


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from('ab,\n\r"kind01.e-\0 é_'), max_size=60))
def test_any_text_gives_data_or_a_data_error(text: str) -> None:
    for start in ("", "a,kind\n1,u\n2,v\n"):
        try:
            data = parse(start + text)
        except DataError:
            continue
        assert data.n_samples >= 2
