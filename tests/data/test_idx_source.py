"""IDX files: round trip through a writer of the format, damage of every kind, MNIST itself."""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eqp_hw.data.registry import load_dataset
from eqp_hw.data.sources.idx import parse_idx, read_idx
from eqp_hw.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write_idx(array: npt.NDArray[Any]) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


any_array = st.sampled_from(list(CODES)).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    )
)


@settings(deadline=None, max_examples=80)
@given(any_array)
def test_arrays_come_back_as_written(array: npt.NDArray[Any]) -> None:
    back = parse_idx(write_idx(array), "x")
    assert back.shape == array.shape
    assert back.astype(array.dtype).tobytes() == array.tobytes()


@settings(deadline=None, max_examples=80)
@given(any_array, st.data())
def test_a_cut_at_any_byte_is_refused(array: npt.NDArray[Any], data: st.DataObject) -> None:
    content = write_idx(array)
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataError, match="broken-file"):
        parse_idx(content[:cut], "broken-file")
    with pytest.raises(DataError, match="goes on after the data"):
        parse_idx(content + b"\0", "broken-file")


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_give_an_array_or_a_data_error(content: bytes, magic: bool) -> None:
    content = b"\0\0" * magic + content
    try:
        array = parse_idx(content, "x")
    except DataError:
        return
    assert len(content) == 4 + 4 * array.ndim + array.nbytes


def test_a_header_that_promises_an_enormous_array_allocates_nothing() -> None:
    with pytest.raises(DataError, match="cut short"):
        parse_idx(struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it starts with nothing"),
        (b"PNG.....", "not an IDX file: it starts with 50 4e 47 2e"),
        (b"\0\0\x0a\1\0\0\0\1x", "IDX type code = 10.*0x08"),
        (b"\0\0\x08\0x", "promises 0 dimensions"),
    ],
)
def test_files_of_another_kind_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_idx(content, "x")


def images(n: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 4), dtype=np.uint8)


def write_folder(folder: Path, changes: dict[str, bytes | None] | None = None) -> None:
    files: dict[str, bytes | None] = {
        "train-images-idx3-ubyte": write_idx(images(6)),
        "train-labels-idx1-ubyte": write_idx(np.array([0, 1, 2, 0, 1, 2], np.uint8)),
        "t10k-images-idx3-ubyte": write_idx(images(4, seed=1)),
        "t10k-labels-idx1-ubyte": write_idx(np.array([2, 1, 0, 0], np.uint8)),
    }
    for name, content in (files | (changes or {})).items():
        if content is not None:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_in_the_format_of_mnist(tmp_path: Path, packed: bool) -> None:
    write_folder(tmp_path)
    if packed:
        for path in list(tmp_path.iterdir()):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    data = load_dataset("idx", {"folder": str(tmp_path)})
    expected = np.concatenate([images(6), images(4, seed=1)]).reshape(10, 12)
    assert np.array_equal(data.features, expected)
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2, 2, 1, 0, 0]
    assert data.image_shape == (3, 4)
    assert data.feature_range == (0.0, 255.0)
    assert data.split is not None
    assert data.split.train.tolist() == list(range(6))
    assert data.split.test.tolist() == [6, 7, 8, 9]


def test_limits_take_the_leading_samples_and_keep_all_classes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    options = {"folder": ".", "train_limit": 2, "test_limit": 1}
    data = load_dataset("idx", options, tmp_path)
    assert data.labels.tolist() == [0, 1, 2]
    assert data.class_names == ("0", "1", "2")
    assert np.array_equal(data.features[2], images(4, seed=1)[0].ravel())
    assert load_dataset("idx", options | {"train_limit": 99}, tmp_path).n_samples == 7


def test_labels_that_start_at_one_are_numbered_from_zero(tmp_path: Path) -> None:
    changes: dict[str, bytes | None] = {
        "train-labels-idx1-ubyte": write_idx(np.array([1, 2, 3, 1, 2, 3], np.uint8)),
        "t10k-labels-idx1-ubyte": write_idx(np.array([3, 3, 1, 2], np.uint8)),
    }
    write_folder(tmp_path, changes)
    data = load_dataset("idx", {"folder": "."}, tmp_path)
    assert data.class_names == ("1", "2", "3")
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2, 2, 2, 0, 1]


def test_an_unpacked_file_goes_before_its_packed_copy(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train-images-idx3-ubyte.gz": b"damaged"})
    assert load_dataset("idx", {"folder": "."}, tmp_path).n_samples == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train-labels-idx1-ubyte": None}, "there is no file train-labels-idx1-ubyte"),
        ({"t10k-images-idx3-ubyte": None}, "there is no file t10k-images-idx3-ubyte"),
        ({"fashion-train-images-idx3-ubyte": b""}, "one data set a folder"),
        (
            {"train-labels-idx1-ubyte": write_idx(np.zeros(5, np.uint8))},
            "train-labels-idx1-ubyte: holds 5 labels for the 6 images",
        ),
        (
            {"train-labels-idx1-ubyte": write_idx(np.zeros(6, np.int32))},
            "train-labels-idx1-ubyte: holds int32 values",
        ),
        (
            {"train-images-idx3-ubyte": write_idx(np.zeros((6, 12), np.uint8))},
            r"train-images-idx3-ubyte: holds uint8 values of shape \(6, 12\)",
        ),
        (
            {"train-images-idx3-ubyte": write_idx(np.zeros((0, 3, 4), np.uint8))},
            "not empty",
        ),
        (
            {"t10k-images-idx3-ubyte": write_idx(np.zeros((4, 3, 3), np.uint8))},
            r"training images are \(3, 4\) pixels, test images \(3, 3\)",
        ),
        (
            {"t10k-images-idx3-ubyte": write_idx(images(4))[:-1]},
            "t10k-images-idx3-ubyte: is cut short",
        ),
        (
            {"t10k-labels-idx1-ubyte": gzip.compress(write_idx(np.zeros(4, np.uint8)))[:-9]},
            "t10k-labels-idx1-ubyte: the gzip packing is damaged",
        ),
        (
            {"t10k-labels-idx1-ubyte": b"\x1f\x8b" + b"\xff" * 30},
            "t10k-labels-idx1-ubyte: the gzip packing is damaged",
        ),
    ],
)
def test_inconsistent_folders_are_refused(
    tmp_path: Path, changes: dict[str, bytes | None], message: str
) -> None:
    write_folder(tmp_path, changes)
    with pytest.raises(DataError, match=message):
        load_dataset("idx", {"folder": "."}, tmp_path)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_damaged_gzip_is_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    packed = bytearray(gzip.compress(write_idx(images(6)), mtime=0))
    position = data.draw(st.integers(0, len(packed) - 1))
    packed[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("gz") / "file.gz"
    path.write_bytes(packed)
    with contextlib.suppress(DataError):  # harmless where it hits a time stamp or the like
        assert np.array_equal(read_idx(path), images(6))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: folder: cannot be read: No such file"):
        load_dataset("idx", {"folder": "nowhere"}, tmp_path)


@pytest.mark.skipif(
    "EQP_HW_MNIST" not in os.environ,
    reason="set EQP_HW_MNIST to a folder with the four MNIST files",
)
def test_mnist_itself() -> None:
    data = load_dataset("idx", {"folder": os.environ["EQP_HW_MNIST"]})
    assert data.split is not None
    assert (len(data.split.train), len(data.split.test)) == (60_000, 10_000)
    assert data.image_shape == (28, 28)
    assert data.class_names == tuple("0123456789")
    assert data.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.labels[60_000:60_005].tolist() == [7, 2, 1, 0, 4]
    # Mean and deviation of the training pixels, as quoted everywhere: .1307 and .3081.
    pixels = data.features[:60_000] / 255
    assert pixels.mean() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std() == pytest.approx(0.3081, abs=5e-5)
